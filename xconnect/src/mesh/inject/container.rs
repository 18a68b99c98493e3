//! One container as the mesh holds it: which process, which root, which threads.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use tokio::io::Interest;

use super::error::Place;
use super::pool::{Owner, Pool, PoolError};
use super::{Error, LIMITER};
use crate::graph::ProcessId;
use crate::ids::InsidePath;
use crate::mesh::limiter::limited;
use crate::sys::fs::Polled;
use crate::sys::pidfd::{PidFd, has_exited};
use crate::sys::procfs::{IdMap, ProcDir};

/// How long a container's file system is given to answer.
const DEADLINE: Duration = Duration::from_secs(5);

/// What tells one container from another that has its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ContainerIdentity {
    /// Number in the host's PID namespace.
    pub pid: u32,
    /// Start time in clock ticks since boot.
    pub start: u64,
    /// Inode of the mount namespace.
    pub mnt_ns: u64,
    /// Device of that inode.
    pub mnt_dev: u64,
}

/// A running container: pidfd, `/proc/PID`, root directory and the threads that touch its files.
///
/// It keeps the container's root mounted: drop it when the container has exited.
pub struct Container {
    identity: ContainerIdentity,
    /// `None` for the host, which does not exit.
    pidfd: Option<Polled>,
    proc_dir: ProcDir,
    root: Arc<OwnedFd>,
    uid_map: IdMap,
    gid_map: IdMap,
    pool: Pool,
    deadline: Duration,
}

impl Container {
    /// Takes hold of the container of this process. To be called within a tokio runtime.
    ///
    /// # Errors
    /// [`Error::Exited`] where the process is gone, [`Error::Recycled`] where its number was given to
    /// another one, [`Error::NoIdMap`] while its user namespace is not set up, [`Error::Stuck`]
    /// where its root does not answer, [`Error::Process`] for the rest.
    pub async fn open(process: ProcessId) -> Result<Arc<Self>, Error> {
        Self::open_with(process, DEADLINE).await
    }

    /// As [`Container::open`]; `deadline`: how long the container's file systems are given to answer.
    pub(super) async fn open_with(process: ProcessId, deadline: Duration) -> Result<Arc<Self>, Error> {
        let pid = process.pid;
        let failed = |what| move |source| process_error(pid, what, source);
        let pidfd = PidFd::open(pid).map_err(failed("pidfd_open"))?;
        let proc_dir = ProcDir::open(pid).map_err(failed("open its directory in /proc"))?;
        // Alive after the directory was opened: the directory is this process's, for both name the
        // one that had the number throughout.
        if pidfd.has_exited().map_err(failed("poll its pidfd"))? {
            return Err(Error::Exited { pid });
        }
        let start = proc_dir.start_time().map_err(failed("read stat"))?;
        if let Some(expected) = process.start
            && expected != start
        {
            return Err(Error::Recycled { pid, expected, found: start });
        }
        let (mnt_dev, mnt_ns) = proc_dir.namespace("mnt").map_err(failed("stat ns/mnt"))?;
        let identity = ContainerIdentity { pid, start, mnt_ns, mnt_dev };
        let own = ProcDir::own().map_err(failed("open /proc/self"))?;
        if own.namespace("mnt").map_err(failed("stat own ns/mnt"))? == (mnt_dev, mnt_ns) {
            limited!(warn, LIMITER, "shared", pid, "the container shares the mount namespace of the mesh");
        }
        let (uid_map, gid_map) = id_maps(&proc_dir, &own).map_err(failed("read its id maps"))?;
        let pool = Pool::new(file_system_owner(&uid_map, &gid_map).ok_or(Error::NoIdMap { pid })?);
        // Only this may wait for the container's file system.
        let (proc_dir, root) = pool
            .run(deadline, move || {
                let root = proc_dir.root();
                (proc_dir, root)
            })
            .await
            .map_err(|error| match error {
                PoolError::Stuck => process_error(pid, "open its root", io::ErrorKind::TimedOut.into()),
                PoolError::Thread(source) => process_error(pid, "start a thread", source),
            })?;
        let root = Arc::new(root.map_err(failed("open its root"))?);
        let pidfd = Polled::new(pidfd.into(), Interest::READABLE).map_err(failed("poll its pidfd"))?;
        let pidfd = Some(pidfd);
        Ok(Arc::new(Self { identity, pidfd, proc_dir, root, uid_map, gid_map, pool, deadline }))
    }

    /// The host itself, as the mesh sees it.
    ///
    /// # Errors
    /// [`Error::Process`] where /proc or the root cannot be opened.
    pub fn host() -> Result<Arc<Self>, Error> {
        let pid = std::process::id();
        let failed = |what| move |source| process_error(pid, what, source);
        let proc_dir = ProcDir::own().map_err(failed("open /proc/self"))?;
        let start = proc_dir.start_time().map_err(failed("read stat"))?;
        let (mnt_dev, mnt_ns) = proc_dir.namespace("mnt").map_err(failed("stat ns/mnt"))?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open("/", flags, Mode::empty());
        let root = Arc::new(root.map_err(|e| process_error(pid, "open its root", e.into()))?);
        let identity = ContainerIdentity { pid, start, mnt_ns, mnt_dev };
        let (uid_map, gid_map) = (IdMap::identity(), IdMap::identity());
        let pool = Pool::new(None);
        Ok(Arc::new(Self {
            identity,
            pidfd: None,
            proc_dir,
            root,
            uid_map,
            gid_map,
            pool,
            deadline: DEADLINE,
        }))
    }

    /// Which container this is.
    #[must_use]
    pub fn identity(&self) -> &ContainerIdentity {
        &self.identity
    }

    /// Waits until the process has exited; for ever on the host.
    pub async fn exited(&self) {
        let Some(pidfd) = &self.pidfd else { return std::future::pending().await };
        // A pidfd stays readable once its process has exited. An error means that the runtime is
        // shutting down.
        while let Ok(mut ready) = pidfd.readable().await {
            if has_exited(pidfd.get_ref()).unwrap_or(true) {
                return;
            }
            ready.clear_ready();
        }
    }

    /// True once the process has exited.
    #[must_use]
    pub fn has_exited(&self) -> bool {
        self.pidfd.as_ref().is_some_and(|pidfd| has_exited(pidfd.get_ref()).unwrap_or(true))
    }

    /// A new descriptor that polls when a mount of the container changes.
    pub(super) fn mountinfo(&self) -> io::Result<OwnedFd> {
        self.proc_dir.mountinfo()
    }

    /// Runs `work` on the container's threads, with the root directory.
    pub(super) async fn run<T, F>(&self, path: &InsidePath, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(Place<'_>, &OwnedFd) -> Result<T, Error> + Send + 'static,
    {
        let pid = self.identity.pid;
        if self.has_exited() {
            return Err(Error::Exited { pid });
        }
        let root = Arc::clone(&self.root);
        let inside = path.clone();
        let ran = self.pool.run(self.deadline, move || work(Place { pid, path: &inside }, &root)).await;
        match ran {
            Ok(result) => result,
            Err(PoolError::Stuck) => Err(Error::Stuck { pid, path: path.clone(), after: self.deadline }),
            Err(PoolError::Thread(source)) => {
                Err(Error::Call { pid, path: path.clone(), call: "start a thread", source })
            }
        }
    }

    /// Runs `work` on the container's threads with nobody waiting for it.
    pub(super) fn detach(&self, work: impl FnOnce() + Send + 'static) {
        if let Err(error) = self.pool.detach(work) {
            limited!(warn, LIMITER, "clean", pid = self.identity.pid, %error, "cannot start a thread to clean up");
        }
    }

    /// An owner in the container's numbers, translated into the host's.
    pub(super) fn outside_ids(
        &self,
        path: &InsidePath,
        uid: Option<u32>,
        gid: Option<u32>,
    ) -> Result<(Option<u32>, Option<u32>), Error> {
        let translate = |kind, map: &IdMap, id: Option<u32>| match id {
            None => Ok(None),
            Some(id) => map.outside(id).map(Some).ok_or_else(|| Error::UnmappedOwner {
                pid: self.identity.pid,
                path: path.clone(),
                kind,
                id,
            }),
        };
        Ok((translate("uid", &self.uid_map, uid)?, translate("gid", &self.gid_map, gid)?))
    }
}

impl std::fmt::Debug for Container {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Container").field("identity", &self.identity).finish_non_exhaustive()
    }
}

impl AsFd for Container {
    /// The root directory.
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.root.as_fd()
    }
}

/// The maps of the process's user namespace into ours. Where that is the same one, the kernel shows
/// the map into the *parent*, which says nothing here (user_namespaces(7)).
fn id_maps(process: &ProcDir, own: &ProcDir) -> io::Result<(IdMap, IdMap)> {
    if process.namespace("user")? == own.namespace("user")? {
        return Ok((IdMap::identity(), IdMap::identity()));
    }
    Ok((process.uid_map()?, process.gid_map()?))
}

/// Who must create inodes so that the container's file systems take them (`EOVERFLOW` otherwise: our
/// root is not mapped there). `Some(None)`: our own ids do. `None`: nobody is mapped.
#[expect(clippy::option_option, reason = "the two Nones differ: nobody, and no change")]
fn file_system_owner(uid_map: &IdMap, gid_map: &IdMap) -> Option<Option<Owner>> {
    let owner = Owner { uid: uid_map.root()?, gid: gid_map.root()? };
    Some(if owner == (Owner { uid: 0, gid: 0 }) { None } else { Some(owner) })
}

fn process_error(pid: u32, what: &'static str, source: io::Error) -> Error {
    match source.raw_os_error() {
        // ENOENT is what a zombie's root and namespaces give.
        Some(libc::ESRCH | libc::ENOENT) => Error::Exited { pid },
        _ => Error::Process { pid, what, source },
    }
}
