//! Files of others: only regular ones, and only so much of them. Nothing in them can make the engine wait
//! or run out of memory.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

/// The largest file, bytes.
pub(super) const MAX: u64 = 4 * 1024 * 1024;

/// A file's bytes and owner; `None` where it is not there.
pub(super) fn read(path: &Path) -> io::Result<Option<(Vec<u8>, u32)>> {
    // Non-blocking: a FIFO in its place must not stop us at its open.
    let file = match File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return match fs::symlink_metadata(path) {
                Ok(_) => Err(io::Error::new(error.kind(), "is a symbolic link to nothing")),
                Err(_) => Ok(None),
            };
        }
        other => other?,
    };
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Err(io::Error::other("must be a regular file"));
    }
    let too_large = || io::Error::other(format!("is larger than {} MiB", MAX / (1024 * 1024)));
    if meta.len() > MAX {
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    // It may grow while it is read.
    file.take(MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX {
        return Err(too_large());
    }
    Ok(Some((bytes, meta.uid())))
}
