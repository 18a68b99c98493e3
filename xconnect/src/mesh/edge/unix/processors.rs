//! Which processors the two peers of a connection may run on.

use std::os::fd::{AsFd, OwnedFd};

use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_getaffinity};

use super::auto::Processors;
use crate::sys::peer;

/// Looks at the processes that connected and that listens, as they are now. What cannot be seen counts as several:
/// a process that is gone, or in a PID namespace that is not below ours; more processors than a mask has.
///
/// It is the first thread's mask that is seen. A process whose threads are spread differently is misjudged: slower,
/// not wrong.
pub(super) fn of_peers(sockets: &[OwnedFd; 2]) -> Processors {
    let masks = [&sockets[0], &sockets[1]].map(mask);
    match masks {
        [Some(one), Some(other)] => union(&one, &other),
        _ => Processors::Several,
    }
}

fn mask(socket: &OwnedFd) -> Option<CpuSet> {
    let pid = peer::credentials(socket.as_fd()).ok()?.pid?;
    let pid = Pid::from_raw(i32::try_from(pid).ok()?)?;
    sched_getaffinity(Some(pid)).ok()
}

fn union(one: &CpuSet, other: &CpuSet) -> Processors {
    let count = (0..CpuSet::MAX_CPU).filter(|cpu| one.is_set(*cpu) || other.is_set(*cpu)).take(2).count();
    if count == 1 { Processors::One } else { Processors::Several }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    fn set(cpus: &[usize]) -> CpuSet {
        let mut set = CpuSet::new();
        cpus.iter().for_each(|cpu| set.set(*cpu));
        set
    }

    #[test]
    fn only_one_for_both_is_one() {
        assert_eq!(union(&set(&[3]), &set(&[3])), Processors::One);
        assert_eq!(union(&set(&[3]), &set(&[4])), Processors::Several);
        assert_eq!(union(&set(&[3]), &set(&[3, 4])), Processors::Several);
        assert_eq!(union(&set(&[]), &set(&[])), Processors::Several);
    }

    #[test]
    fn a_process_is_seen_through_its_socket() {
        let (one, other) = UnixStream::pair().unwrap();
        let sockets = [OwnedFd::from(one), OwnedFd::from(other)];
        // The first thread's, which a test does not run on.
        let own = sched_getaffinity(Some(rustix::process::getpid())).unwrap();
        assert_eq!(of_peers(&sockets), union(&own, &own));
    }
}
