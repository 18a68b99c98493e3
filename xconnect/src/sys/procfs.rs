//! Facts from /proc: start times, namespaces, id maps (proc(5)).

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Mode, OFlags, openat, statat};

/// Longest file of /proc that is read here, in bytes.
const LONGEST: u64 = 64 * 1024;

/// A process's directory in /proc. It stays that process's directory when the number is given to
/// another one: every access then fails with `ESRCH`.
#[derive(Debug)]
pub struct ProcDir(OwnedFd);

impl ProcDir {
    /// Opens `/proc/PID`.
    ///
    /// # Errors
    /// `ENOENT` where there is no such process.
    pub fn open(pid: u32) -> io::Result<Self> {
        Self::at(&format!("/proc/{pid}"))
    }

    /// Opens `/proc/self`.
    ///
    /// # Errors
    /// Those of open(2): /proc is not mounted.
    pub fn own() -> io::Result<Self> {
        Self::at("/proc/self")
    }

    fn at(path: &str) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self(rustix::fs::open(path, flags, Mode::empty())?))
    }

    /// Opens the process's root directory (`O_PATH`). May block where that file system does.
    ///
    /// # Errors
    /// Those of open(2); `ENOENT` for a zombie, `EACCES` where ptrace access is denied.
    pub fn root(&self) -> io::Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(openat(&self.0, "root", flags, Mode::empty())?)
    }

    /// Opens `mountinfo`, which polls `EPOLLPRI | EPOLLERR` when a mount of that namespace changes.
    ///
    /// # Errors
    /// Those of open(2).
    pub fn mountinfo(&self) -> io::Result<OwnedFd> {
        Ok(openat(&self.0, "mountinfo", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
    }

    /// The start time in clock ticks since boot (field 22 of `stat`).
    ///
    /// # Errors
    /// `ESRCH` where the process is gone; `InvalidData` for a file that is not proc(5)'s.
    pub fn start_time(&self) -> io::Result<u64> {
        start_time(&self.read("stat")?).ok_or_else(|| invalid("stat has no start time"))
    }

    /// The namespace of a kind ("mnt", "user", …) as device and inode of its nsfs file.
    ///
    /// # Errors
    /// Those of stat(2).
    pub fn namespace(&self, kind: &str) -> io::Result<(u64, u64)> {
        let stat = statat(&self.0, format!("ns/{kind}"), AtFlags::empty())?;
        Ok((stat.st_dev, stat.st_ino))
    }

    /// The map of user ids into the reader's user namespace.
    ///
    /// # Errors
    /// Those of read(2); `InvalidData` for a file that is not user_namespaces(7)'s.
    pub fn uid_map(&self) -> io::Result<IdMap> {
        IdMap::parse(&self.read("uid_map")?).ok_or_else(|| invalid("uid_map is malformed"))
    }

    /// The map of group ids into the reader's user namespace.
    ///
    /// # Errors
    /// As [`ProcDir::uid_map`].
    pub fn gid_map(&self) -> io::Result<IdMap> {
        IdMap::parse(&self.read("gid_map")?).ok_or_else(|| invalid("gid_map is malformed"))
    }

    fn read(&self, name: &str) -> io::Result<String> {
        let file = openat(&self.0, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        // The command name inside `stat` is any bytes.
        let mut bytes = Vec::new();
        File::from(file).take(LONGEST).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

impl AsFd for ProcDir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// Field 22 of a `stat` line. Field 2 is the command in parentheses and may itself hold blanks and
/// parentheses, so counting starts after the last one.
fn start_time(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    // The first field after the command is number 3.
    rest.split_ascii_whitespace().nth(22 - 3)?.parse().ok()
}

/// How the ids of a user namespace look from ours (user_namespaces(7)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdMap(Vec<Extent>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Extent {
    inside: u32,
    outside: u32,
    count: u32,
}

impl IdMap {
    /// The map that changes nothing.
    #[must_use]
    pub fn identity() -> Self {
        Self(vec![Extent { inside: 0, outside: 0, count: u32::MAX }])
    }

    /// Parses the lines of `uid_map` or `gid_map`; `None` where they are not such lines. No line at
    /// all is the map of a user namespace that nobody has set up: nothing is mapped.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let extent = |line: &str| {
            let mut numbers = line.split_ascii_whitespace().map(str::parse);
            let mut next = || numbers.next()?.ok();
            Some(Extent { inside: next()?, outside: next()?, count: next()? })
        };
        text.lines().map(extent).collect::<Option<_>>().map(Self)
    }

    /// The id in our namespace for an id inside; `None` where it is not mapped.
    #[must_use]
    pub fn outside(&self, inside: u32) -> Option<u32> {
        self.0.iter().find_map(|extent| {
            let offset = inside.checked_sub(extent.inside)?;
            if offset < extent.count { extent.outside.checked_add(offset) } else { None }
        })
    }

    /// What the namespace's root is in ours; where 0 is not mapped, the first id that is.
    #[must_use]
    pub fn root(&self) -> Option<u32> {
        self.outside(0).or_else(|| self.0.first().map(|extent| extent.outside))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_with_parentheses_does_not_shift_the_fields() {
        let rest = (3..=30).map(|n| n.to_string()).collect::<Vec<_>>().join(" ");
        assert_eq!(start_time(&format!("17 (a) 1 2) {rest}\n")), Some(22));
        assert_eq!(start_time("17 (a) S 1"), None);
        assert_eq!(start_time(""), None);
    }

    #[test]
    fn own_start_time_is_stable() {
        let dir = ProcDir::own().unwrap();
        assert_eq!(
            dir.start_time().unwrap(),
            ProcDir::open(std::process::id()).unwrap().start_time().unwrap()
        );
        assert_eq!(dir.namespace("mnt").unwrap(), ProcDir::own().unwrap().namespace("mnt").unwrap());
    }

    #[test]
    fn id_maps_translate_inside_to_outside() {
        let map = IdMap::parse("         0     100000      10\n        10       5      1\n").unwrap();
        assert_eq!(map.outside(0), Some(100_000));
        assert_eq!(map.outside(9), Some(100_009));
        assert_eq!(map.outside(10), Some(5));
        assert_eq!(map.outside(11), None);
        assert_eq!(map.root(), Some(100_000));
        assert_eq!(IdMap::parse("1000 1000 1\n").unwrap().root(), Some(1000));
        assert_eq!(IdMap::parse("").unwrap().root(), None);
        assert_eq!(IdMap::parse("0 x 1\n"), None);
        assert_eq!(IdMap::identity().outside(u32::MAX - 1), Some(u32::MAX - 1));
    }
}
