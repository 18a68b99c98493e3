//! A file system that never answers.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, UnmountFlags};

use crate::wait::OrFail;

/// A FUSE mount whose server is silent. When it is dropped, all who wait for it get an error.
#[derive(Debug)]
pub struct Hung {
    dir: PathBuf,
    server: Option<File>,
}

impl Hung {
    /// Mounts it.
    #[track_caller]
    #[must_use]
    pub fn mount(dir: &Path) -> Self {
        let server = File::options().read(true).write(true).open("/dev/fuse").or_fail("/dev/fuse");
        let options = format!("fd={},rootmode=40000,user_id=0,group_id=0,allow_other", server.as_raw_fd());
        let options = std::ffi::CString::new(options).or_fail("options");
        rustix::mount::mount("hung", dir, "fuse", MountFlags::empty(), Some(options.as_c_str()))
            .or_fail("mount of fuse");
        Self { dir: dir.to_owned(), server: Some(server) }
    }
}

impl Drop for Hung {
    fn drop(&mut self) {
        drop(self.server.take());
        let _ = rustix::mount::unmount(&self.dir, UnmountFlags::DETACH);
    }
}
