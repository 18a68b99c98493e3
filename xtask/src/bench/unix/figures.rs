//! What was measured: one sample a round, medians, and ratios within a round.

use serde_json::{Value, json};

use crate::bench::samples::Samples;

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, clap::ValueEnum)]
pub(super) enum Measure {
    /// Throughput and CPU time with writes of 4 KiB, 64 KiB and 1 MiB.
    Bulk,
    /// Round trips of 64 B and 4 KiB.
    Rtt,
    /// Connections: connect, a byte there and back, close.
    Connect,
    /// A reader of 100 MB/s beside one that takes all it can get.
    Paced,
    /// The first 60 ms of fresh connections, and their ends: where hand-over, fence and ticks would be felt.
    Waits,
}

/// What was read off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum What {
    MibPerSecond,
    CpuSecondsPerGib,
    RelayMsPerGib,
    KworkersMsPerGib,
    KernelShare,
    SendBuffersMib,
    P50Us,
    P99Us,
    P999Us,
    MaxUs,
    EndP50Us,
    EndP99Us,
    PerSecond,
    SlowMbPerSecond,
    FastMibPerSecond,
}

impl What {
    /// Its name in JSON.
    fn name(self) -> &'static str {
        match self {
            Self::MibPerSecond => "mib_per_s",
            Self::CpuSecondsPerGib => "cpu_s_per_gib",
            Self::RelayMsPerGib => "relay_cpu_ms_per_gib",
            Self::KworkersMsPerGib => "kworkers_cpu_ms_per_gib",
            Self::KernelShare => "kernel_share",
            Self::SendBuffersMib => "relay_send_buffers_mib",
            Self::P50Us => "p50_us",
            Self::P99Us => "p99_us",
            Self::P999Us => "p999_us",
            Self::MaxUs => "max_us",
            Self::EndP50Us => "end_p50_us",
            Self::EndP99Us => "end_p99_us",
            Self::PerSecond => "per_s",
            Self::SlowMbPerSecond => "slow_mb_per_s",
            Self::FastMibPerSecond => "fast_mib_per_s",
        }
    }
}

/// One figure: of what, with so many bytes a message and so many connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Figure {
    pub(super) measure: Measure,
    pub(super) size: usize,
    pub(super) connections: usize,
    pub(super) what: What,
}

/// The samples of one row.
#[derive(Debug, Default)]
pub(super) struct Figures {
    samples: Samples<Figure>,
    /// A histogram of waits over all rounds: entry N counts those of less than 2^N microseconds that no
    /// entry before it counts; the last one all longer ones.
    waits: [u64; 25],
}

impl Figures {
    pub(super) fn add(&mut self, round: u32, figure: Figure, value: f64) {
        self.samples.add(round, figure, value);
    }

    /// Counts a wait of so many microseconds.
    pub(super) fn count_wait(&mut self, microseconds: f64) {
        let bits = u64::BITS - (microseconds.max(0.0) as u64).leading_zeros();
        self.waits[(bits as usize).min(self.waits.len() - 1)] += 1;
    }

    /// Waits of 2^BITS microseconds and more; with 0, all.
    pub(super) fn waits_from(&self, bits: u32) -> u64 {
        let from = if bits == 0 { 0 } else { bits as usize + 1 };
        self.waits.iter().skip(from).sum()
    }

    /// The histogram, by the upper bound in microseconds.
    pub(super) fn waits_json(&self) -> Value {
        let one = |(bits, count): (usize, &u64)| json!({"below_us": 1_u64 << bits, "count": count});
        self.waits.iter().enumerate().filter(|(_, count)| **count > 0).map(one).collect()
    }

    pub(super) fn median(&self, figure: Figure) -> Option<f64> {
        self.samples.median(figure)
    }

    /// The median of the ratios to another row in the same round.
    pub(super) fn ratio(&self, figure: Figure, to: Option<&Self>) -> Option<f64> {
        self.samples.ratio(figure, to.map(|it| &it.samples))
    }

    pub(super) fn json(&self, direct: Option<&Self>, reference: Option<&Self>) -> Vec<Value> {
        let one = |(figure, samples): (Figure, Vec<f64>)| {
            json!({
                "measure": format!("{:?}", figure.measure).to_lowercase(), "size": figure.size,
                "connections": figure.connections, "what": figure.what.name(),
                "median": self.median(figure), "to_direct": self.ratio(figure, direct),
                "to_reference": self.ratio(figure, reference), "samples": samples,
            })
        };
        self.samples.iter().map(one).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIGURE: Figure =
        Figure { measure: Measure::Bulk, size: 65536, connections: 1, what: What::MibPerSecond };

    fn figures(samples: &[(u32, f64)]) -> Figures {
        let mut figures = Figures::default();
        for (round, value) in samples {
            figures.add(*round, FIGURE, *value);
        }
        figures
    }

    #[test]
    fn waits_are_counted_by_powers_of_two() {
        let mut own = Figures::default();
        for wait in [0.3, 1.0, 255.9, 256.0, 5000.0, 1e12] {
            own.count_wait(wait);
        }
        assert_eq!([0, 8, 10, 12, 14].map(|bits| own.waits_from(bits)), [6, 3, 2, 2, 1]);
        assert_eq!(own.waits_json()[0], json!({"below_us": 1, "count": 1}));
    }

    #[test]
    fn json_names_what_was_measured() {
        let own = figures(&[(0, 4.0)]);
        let json = own.json(Some(&figures(&[(0, 8.0)])), None);
        assert_eq!(json.len(), 1);
        assert_eq!((&json[0]["measure"], &json[0]["what"]), (&json!("bulk"), &json!("mib_per_s")));
        assert_eq!((&json[0]["to_direct"], &json[0]["to_reference"]), (&json!(0.5), &Value::Null));
    }
}
