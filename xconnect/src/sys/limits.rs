//! What a daemon sets up for its own process before anything else runs.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit of open files to the hard one (pidfds, listeners, connections), and makes the
/// umask the usual one, whoever started us: what we write ourselves is for others to read at the most.
/// (Threads that plant sockets, whose modes are exactly those asked for, have a umask of their own.)
/// Call it before any thread exists.
///
/// # Errors
/// Where the limit cannot be raised (getrlimit(2)).
pub fn prepare_process() -> io::Result<()> {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    /// Not a test: sets up a process of its own.
    #[test]
    #[ignore = "changes its process, and is started by another test"]
    fn prepared() {
        super::prepare_process().unwrap();
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        assert_eq!(limit.current, limit.maximum);
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        assert!(status.contains("Umask:\t0022\n"), "{status}");
    }

    #[test]
    fn a_process_is_the_same_whoever_starts_it() {
        let output = Command::new("/bin/sh")
            .args([
                "-c",
                "umask 0; ulimit -Sn 256; exec \"$0\" --ignored --exact sys::limits::tests::prepared",
            ])
            .arg(std::env::current_exe().unwrap())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains("1 passed"), "{text}");
    }
}
