//! When a container is started again after it ended, with Pantavisor's names and defaults.

use std::time::Duration;

use super::getters;
use super::reader::Value;

/// What a container is to reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum StatusGoal {
    /// Its file systems are there.
    Mounted,
    /// Its program runs.
    Started,
    /// Its program has said that it is ready.
    Ready,
}

impl StatusGoal {
    const CHOICES: [(&'static str, Self); 3] =
        [("MOUNTED", Self::Mounted), ("STARTED", Self::Started), ("READY", Self::Ready)];

    pub(super) fn read(value: &Value<'_>) -> Option<Self> {
        value.one_of(&Self::CHOICES)
    }

    /// The name in manifests and in the control API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Mounted => "MOUNTED",
            Self::Started => "STARTED",
            Self::Ready => "READY",
        }
    }
}

/// Who may start and stop a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestartPolicy {
    /// Nobody through the API: it belongs to the system.
    System,
    /// Managers, through the API.
    Container,
}

impl RestartPolicy {
    const CHOICES: [(&'static str, Self); 2] = [("system", Self::System), ("container", Self::Container)];

    pub(super) fn read(value: &Value<'_>) -> Option<Self> {
        value.one_of(&Self::CHOICES)
    }

    /// The name in manifests and in the control API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Container => "container",
        }
    }
}

/// Which ends of a container are followed by a start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RecoveryPolicy {
    /// None.
    #[default]
    No,
    /// All.
    Always,
    /// Those with an exit code other than 0, or by a signal.
    OnFailure,
    /// All but a stop through the API.
    UnlessStopped,
}

impl RecoveryPolicy {
    const CHOICES: [(&'static str, Self); 4] = [
        ("no", Self::No),
        ("always", Self::Always),
        ("on-failure", Self::OnFailure),
        ("unless-stopped", Self::UnlessStopped),
    ];

    /// The name in manifests and in the control API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::Always => "always",
            Self::OnFailure => "on-failure",
            Self::UnlessStopped => "unless-stopped",
        }
    }
}

/// What happens when the retries are used up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum BackoffPolicy {
    /// The host is told, and decides.
    #[default]
    Reboot,
    /// The container stays stopped.
    Never,
    /// After this time the retries begin anew.
    After(Duration),
}

impl std::fmt::Display for BackoffPolicy {
    /// As in the manifest: `reboot`, `never`, or a duration as `30s` (`500ms` where it is no whole second).
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Reboot => f.write_str("reboot"),
            Self::Never => f.write_str("never"),
            Self::After(time) if time.subsec_millis() == 0 => write!(f, "{}s", time.as_secs()),
            Self::After(time) => write!(f, "{}ms", time.as_millis()),
        }
    }
}

/// How a container is recovered.
#[derive(Debug, Clone, PartialEq)]
pub struct AutoRecovery {
    policy: RecoveryPolicy,
    max_retries: u32,
    retry_delay: Duration,
    backoff_factor: f64,
    max_delay: Duration,
    reset_window: Duration,
    stable_timeout: Duration,
    backoff_policy: BackoffPolicy,
}

getters! { AutoRecovery:
    /// Which ends are followed by a start.
    copy policy: RecoveryPolicy;
    /// Starts tried; 0: without end.
    copy max_retries: u32;
    /// Wait before the first retry.
    copy retry_delay: Duration;
    /// Factor by which each further wait grows; at least 1.
    copy backoff_factor: f64;
    /// The longest wait.
    copy max_delay: Duration;
    /// An uptime beyond it sets the retries back to 0; zero: never.
    copy reset_window: Duration;
    /// Time at its goal after which the container counts as stable.
    copy stable_timeout: Duration;
    /// What happens when the retries are used up.
    copy backoff_policy: BackoffPolicy;
}

impl Default for AutoRecovery {
    fn default() -> Self {
        Self {
            policy: RecoveryPolicy::No,
            max_retries: 0,
            retry_delay: Duration::ZERO,
            backoff_factor: 1.0,
            max_delay: Duration::from_secs(300),
            reset_window: Duration::ZERO,
            stable_timeout: Duration::ZERO,
            backoff_policy: BackoffPolicy::Reboot,
        }
    }
}

/// Reads an `auto_recovery` object.
pub(super) fn read(value: &Value<'_>) -> Option<AutoRecovery> {
    let object = value.object()?;
    object.only(&[
        "policy",
        "type",
        "max_retries",
        "maximum_retry_count",
        "retry_delay",
        "backoff_factor",
        "max_delay",
        "reset_window",
        "stable_timeout",
        "backoff_policy",
    ]);
    // `type` and `maximum_retry_count` are the names of Pantavisor's first releases.
    let policy = object.get("policy").map(|policy| policy.one_of(&RecoveryPolicy::CHOICES));
    let older = object.get("type").map(|value| (value.one_of(&RecoveryPolicy::CHOICES), value));
    if let (Some(Some(policy)), Some((Some(kind), value))) = (policy, &older)
        && policy != *kind
    {
        value.error("must not differ from \"policy\"");
    }
    let retries = object.get("max_retries").or_else(|| object.get("maximum_retry_count"));
    let default = AutoRecovery::default();
    let duration =
        |key: &str, default: Duration| object.get(key).and_then(|value| value.duration()).unwrap_or(default);
    Some(AutoRecovery {
        policy: policy.or(older.map(|(kind, _)| kind)).flatten().unwrap_or(default.policy),
        max_retries: retries
            .and_then(|value| value.narrow(0..=u64::from(u32::MAX)))
            .unwrap_or(default.max_retries),
        retry_delay: duration("retry_delay", default.retry_delay),
        backoff_factor: object
            .get("backoff_factor")
            .and_then(|value| value.float(1.0..=1000.0))
            .unwrap_or(default.backoff_factor),
        max_delay: duration("max_delay", default.max_delay),
        reset_window: duration("reset_window", default.reset_window),
        stable_timeout: duration("stable_timeout", default.stable_timeout),
        backoff_policy: object
            .get("backoff_policy")
            .and_then(|value| read_backoff_policy(&value))
            .unwrap_or(default.backoff_policy),
    })
}

fn read_backoff_policy(value: &Value<'_>) -> Option<BackoffPolicy> {
    if value.is_string() {
        match value.string()? {
            "reboot" => return Some(BackoffPolicy::Reboot),
            "never" => return Some(BackoffPolicy::Never),
            text if !text.starts_with(|c: char| c.is_ascii_digit()) => {
                value.error(format_args!(
                    "must be \"reboot\", \"never\" or a duration like \"10min\", not {text:?}"
                ));
                return None;
            }
            _ => {}
        }
    }
    value.duration().map(BackoffPolicy::After)
}
