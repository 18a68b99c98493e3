//! What a run does: set by the test, or for the long run by the environment.

use std::time::Duration;

use crate::wait::OrFail;

/// The path that the links ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forward {
    /// User space.
    User,
    /// The kernel.
    Kernel,
    /// What the mesh thinks best.
    Auto,
}

impl Forward {
    /// As in a manifest.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Kernel => "kernel",
            Self::Auto => "auto",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::User, Self::Kernel, Self::Auto].into_iter().find(|forward| forward.as_str() == text)
    }
}

/// Options of a run. Each scenario is played at least once, whatever the limits are.
#[derive(Debug, Clone)]
pub struct Options {
    /// The name of its report.
    pub name: String,
    /// The path that the links ask for.
    pub forward: Forward,
    /// Ends after so long.
    pub time: Option<Duration>,
    /// Ends once there were so many connections, and
    pub connections: u64,
    /// so many bytes; with neither, the time ends it.
    pub bytes: u64,
    /// Only this scenario.
    pub scenario: Option<String>,
    /// What all chances are made of.
    pub seed: u64,
    /// Pairs of containers, and connections (or crowds) at the same time.
    pub lanes: usize,
}

/// Connections of a long run.
const CONNECTIONS: u64 = 50_000;
/// Bytes of a long run.
const BYTES: u64 = 20_000_000_000;

impl Options {
    /// A run of so many seconds.
    #[must_use]
    pub fn seconds(forward: Forward, seconds: u64) -> Self {
        Self {
            name: format!("short-{}", forward.as_str()),
            forward,
            time: Some(Duration::from_secs(seconds)),
            connections: u64::MAX,
            bytes: u64::MAX,
            scenario: None,
            seed: 1,
            lanes: 3,
        }
    }

    /// What `XCONNECT_TORTURE_…` asks for; a long run with defaults otherwise.
    ///
    /// # Panics
    /// Where a variable has no value that can be used.
    #[must_use]
    pub fn from_env() -> Self {
        let var = |name: &str| std::env::var(format!("XCONNECT_TORTURE_{name}")).ok();
        let number = |name: &str| var(name).map(|text| text.parse::<u64>().or_fail(name));
        let forward = var("FORWARD").map_or(Forward::Kernel, |text| Forward::parse(&text).or_fail("FORWARD"));
        let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Self {
            name: format!("long-{}", forward.as_str()),
            time: number("SECONDS").map(Duration::from_secs),
            connections: number("CONNECTIONS").unwrap_or(CONNECTIONS),
            bytes: number("BYTES").unwrap_or(BYTES),
            scenario: var("SCENARIO"),
            seed: number("SEED").unwrap_or_else(|| clock.map_or(1, |time| time.as_secs())),
            ..Self::seconds(forward, 0)
        }
    }
}
