//! Control groups on any layout: version 1 controllers, version 2, or both (cgroups(7)).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::sys::process;

/// The group of the shims: outside the engine's own, so that a service manager that ends the engine's
/// group leaves them alone. The underscore keeps it apart from containers, see [`folder`].
const SHIMS: &str = "_shims";

/// How long the kernel may take to let go of the last process of a group.
const PATIENCE: Duration = Duration::from_secs(2);

/// Whether a hierarchy carries controllers that the runtime puts containers into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Version 1 with controllers.
    Controllers,
    /// Version 1 without, like `name=systemd`.
    Named,
    /// Version 2 beside version 1.
    Hybrid,
    /// Version 2 alone.
    Unified,
}

/// The folder of a container's cgroup, below the folder of all. Names that the kernel itself puts into
/// every cgroup get a prefix.
pub(crate) fn folder(root: &str, name: &str) -> String {
    let kernel = ["tasks", "notify_on_release", "release_agent"].contains(&name)
        || name.contains('.') && fs_prefixes().any(|prefix| name.starts_with(prefix));
    let prefix = if kernel || name.starts_with('_') { "_" } else { "" };
    format!("/{}/{prefix}{name}", root.trim_matches('/'))
}

fn fs_prefixes() -> impl Iterator<Item = &'static str> {
    "cgroup. cpu. cpuacct. cpuset. devices. freezer. blkio. hugetlb. io. irq. memory. misc. net_cls. net_prio. \
     perf_event. pids. rdma."
        .split(' ')
        .filter(|prefix| !prefix.is_empty())
}

fn hierarchies() -> io::Result<Vec<(PathBuf, Kind)>> {
    let text = fs::read_to_string("/proc/self/mountinfo")?;
    let mut found: Vec<(PathBuf, Kind)> = text
        .lines()
        .filter_map(|line| {
            let (front, back) = line.split_once(" - ")?;
            let path = Path::new(front.split(' ').nth(4)?);
            if !path.starts_with("/sys/fs/cgroup") {
                return None;
            }
            let mut back = back.split(' ');
            let kind = match back.next()? {
                "cgroup2" => Kind::Unified,
                "cgroup" if back.nth(1)?.split(',').any(|option| option.starts_with("name=")) => Kind::Named,
                "cgroup" => Kind::Controllers,
                _ => return None,
            };
            Some((path.to_owned(), kind))
        })
        .collect();
    if found.iter().any(|(_, kind)| matches!(kind, Kind::Controllers | Kind::Named)) {
        for (_, kind) in &mut found {
            if *kind == Kind::Unified {
                *kind = Kind::Hybrid;
            }
        }
    }
    Ok(found)
}

/// Moves the calling process into the group of the shims, where that is of use.
pub(crate) fn join_shims(root: &str) -> io::Result<()> {
    for (mount, kind) in hierarchies()? {
        if kind != Kind::Controllers {
            let group = mount.join(root.trim_matches('/')).join(SHIMS);
            fs::create_dir_all(&group)?;
            fs::write(group.join("cgroup.procs"), "0")?;
        }
    }
    Ok(())
}

/// The folders of one container's cgroup.
fn groups(folder: &str) -> io::Result<Vec<PathBuf>> {
    let containers =
        hierarchies()?.into_iter().filter(|(_, kind)| matches!(kind, Kind::Controllers | Kind::Unified));
    Ok(containers
        .map(|(mount, _)| mount.join(folder.trim_start_matches('/')))
        .filter(|path| path.is_dir())
        .collect())
}

/// Kills every process of a container's cgroup.
///
/// # Errors
/// The cgroup cannot be read.
pub(crate) fn kill(folder: &str) -> io::Result<()> {
    for group in groups(folder)? {
        kill_group(&group)?;
    }
    Ok(())
}

fn kill_group(group: &Path) -> io::Result<()> {
    if fs::write(group.join("cgroup.kill"), "1").is_ok() {
        return Ok(());
    }
    for below in subgroups(group) {
        kill_group(&below)?;
    }
    kill_listed(|| match fs::read_to_string(group.join("cgroup.procs")) {
        Err(error) if is_removed(&error) => Ok(String::new()),
        other => other,
    })
}

/// Somebody else was faster: before the file was opened, or after it (`ENODEV`, fs/kernfs/file.c).
fn is_removed(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ENODEV)
}

/// So many processes are held at once.
const AT_ONCE: usize = 64;

/// Kills the processes of a list. A number in it may be another process's by the time it is used: each is
/// held first (pidfd_open(2)), and killed if its number is in the list even then.
fn kill_listed(list: impl Fn() -> io::Result<String>) -> io::Result<()> {
    let read =
        || -> io::Result<Vec<u32>> { Ok(list()?.lines().filter_map(|line| line.parse().ok()).collect()) };
    let mut result = Ok(());
    for numbers in read()?.chunks(AT_ONCE) {
        let mut held = Vec::new();
        for pid in numbers {
            match process::open_child(*pid) {
                Ok(pidfd) => held.push((pid, pidfd)),
                // Gone already is what is wanted; 0 is in a PID namespace that we do not see.
                Err(error) if error.raw_os_error() == Some(libc::ESRCH) || *pid == 0 => {}
                Err(error) => result = Err(error),
            }
        }
        let still = read()?;
        for (_, pidfd) in held.iter().filter(|(pid, _)| still.contains(pid)) {
            result = process::send_signal(pidfd, libc::SIGKILL).and(result);
        }
    }
    result
}

fn subgroups(group: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(group).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

/// Kills what is left in a container's cgroup and removes it. Blocks up to two seconds.
///
/// # Errors
/// A process would not go.
pub(crate) fn remove(folder: &str) -> io::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    for group in groups(folder)? {
        loop {
            match remove_tree(&group) {
                Ok(()) => break,
                Err(error) if Instant::now() >= deadline => return Err(error),
                Err(_) => {
                    kill_group(&group)?;
                    std::thread::sleep(Duration::from_millis(2));
                }
            }
        }
    }
    Ok(())
}

fn remove_tree(group: &Path) -> io::Result<()> {
    for below in subgroups(group) {
        remove_tree(&below)?;
    }
    match fs::remove_dir(group) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Removes the folder of all cgroups of ours, if nothing is in it any more. Blocks for a moment when the
/// last shim is just leaving.
pub(crate) fn remove_root(root: &str) {
    let deadline = Instant::now() + Duration::from_millis(200);
    for (mount, _) in hierarchies().unwrap_or_default() {
        let group = mount.join(root.trim_matches('/'));
        let is_left =
            |path: &Path| matches!(fs::remove_dir(path), Err(e) if e.kind() == io::ErrorKind::ResourceBusy);
        while is_left(&group.join(SHIMS)) || is_left(&group) {
            if Instant::now() >= deadline {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::process::{Child, Command};

    use super::*;

    fn sleeper() -> Child {
        Command::new("sleep").arg("1000").spawn().unwrap()
    }

    #[test]
    fn a_number_that_left_the_group_is_not_killed() {
        let (mut stays, mut left) = (sleeper(), sleeper());
        let lists =
            RefCell::new(vec![format!("{}\n", stays.id()), format!("{}\n{}\n", left.id(), stays.id())]);
        kill_listed(|| Ok(lists.borrow_mut().pop().unwrap_or_default())).unwrap();
        assert!(!stays.wait().unwrap().success());
        assert!(left.try_wait().unwrap().is_none());
        left.kill().unwrap();
        left.wait().unwrap();
    }

    #[test]
    fn a_group_that_another_one_removes_meanwhile_is_gone() {
        for errno in [libc::ENOENT, libc::ENODEV] {
            assert!(is_removed(&io::Error::from_raw_os_error(errno)));
        }
        assert!(!is_removed(&io::Error::from_raw_os_error(libc::EACCES)));
    }

    #[test]
    fn names_of_kernel_files_are_no_folders() {
        assert_eq!(folder("xconnect", "web"), "/xconnect/web");
        assert_eq!(folder("/a/b/", "org.example"), "/a/b/org.example");
        assert_eq!(folder("xconnect", "tasks"), "/xconnect/_tasks");
        assert_eq!(folder("xconnect", "cgroup.procs"), "/xconnect/_cgroup.procs");
        assert_eq!(folder("xconnect", "_shims"), "/xconnect/__shims");
        assert_ne!(folder("xconnect", "_tasks"), folder("xconnect", "tasks"));
    }
}
