//! A container's root: the user's directory below, a volatile layer above, in a mount namespace that
//! dies with the shim.

use std::fs::{self, File, OpenOptions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};

use super::Error;
use crate::sys::process;

/// Enters a mount namespace that still learns of the host's mounts and unmounts, and shows it none.
pub(crate) fn enter_private_namespace() -> Result<(), Error> {
    process::unshare_mounts().map_err(Error::call("unshare the mount namespace"))?;
    rustix::mount::mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)
        .map_err(Error::call("make / a slave mount"))
}

/// Stacks a volatile layer on `lower` and returns the path of both together. `owner` is the user and
/// group that may create entries in the root itself: the container's root on the host.
pub(crate) fn stack(layers: &Path, lower: &Path, owner: (u32, u32)) -> Result<PathBuf, Error> {
    fs::create_dir_all(layers).map_err(Error::path("create", layers))?;
    rustix::mount::mount("xconnect", layers, "tmpfs", MountFlags::empty(), c"mode=0711")
        .map_err(|error| Error::path("mount a tmpfs at", layers)(error.into()))?;
    let [upper, work, merged] = ["upper", "work", "merged"].map(|name| layers.join(name));
    for path in [&upper, &work, &merged] {
        fs::create_dir(path).map_err(Error::path("create", path.as_path()))?;
    }
    let mode = fs::metadata(lower).map_err(Error::path("look at", lower))?.permissions().mode();
    fs::set_permissions(&upper, fs::Permissions::from_mode(mode & 0o7777 | 0o500))
        .map_err(Error::path("set the mode of", &upper))?;
    std::os::unix::fs::chown(&upper, Some(owner.0), Some(owner.1)).map_err(Error::path("chown", &upper))?;
    // Paths in overlay options end at a colon or a comma, which names of containers may have;
    // descriptors have neither.
    let [lower_fd, upper_fd, work_fd] = [open(lower)?, open(&upper)?, open(&work)?];
    let options = format!(
        "lowerdir=/proc/self/fd/{},upperdir=/proc/self/fd/{},workdir=/proc/self/fd/{}",
        lower_fd.as_raw_fd(),
        upper_fd.as_raw_fd(),
        work_fd.as_raw_fd()
    );
    let options = std::ffi::CString::new(options).map_err(|_| Error::Refused("NUL in a path".to_owned()))?;
    rustix::mount::mount("xconnect", &merged, "overlay", MountFlags::empty(), options.as_c_str())
        .map_err(|error| Error::path("mount an overlay on", lower)(error.into()))?;
    Ok(merged)
}

/// Takes both layers away from this namespace.
pub(crate) fn unstack(layers: &Path) {
    // Not there is as good; the namespace takes the rest along when it dies.
    let _ = rustix::mount::unmount(layers, UnmountFlags::DETACH);
}

fn open(path: &Path) -> Result<File, Error> {
    let flags = i32::try_from(rustix::fs::OFlags::DIRECTORY.bits()).unwrap_or(0);
    OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(Error::path("open directory", path))
}

/// Checks that somebody without rights on the host can walk down to `path`.
pub(crate) fn check_reachable(path: &Path, uid: u32) -> Result<(), Error> {
    for above in path.ancestors().skip(1) {
        let mode = fs::metadata(above).map_err(Error::path("look at", above))?.permissions().mode();
        if mode & 0o001 == 0 {
            return Err(Error::Refused(format!(
                "the container's user namespace (uid {uid} on the host) cannot reach its root: {} has mode {:o}; \
                 give it the search permission (chmod o+x) or choose another run directory",
                above.display(),
                mode & 0o7777
            )));
        }
    }
    Ok(())
}
