//! Memory from mmap(2): what the kernel and we both change, and what goes back to the kernel once it was read.
#![expect(
    unsafe_code,
    reason = "mmap(2) gives raw memory, and a type must promise that any bytes are its value"
)]

use std::fs::File;
use std::io::{self, Read};
use std::marker::PhantomData;
use std::ops::Deref;
use std::os::fd::{AsFd, AsRawFd};
use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;

/// A mapping; unmapped when dropped.
struct Mapping {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: memory of this process, at the same address for all its threads. What may be done with it at the
// same time is up to the types below.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    fn new(len: usize, flags: libc::c_int, fd: libc::c_int) -> io::Result<Self> {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping, at an address that the kernel chooses: no memory of anybody's changes.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), len, access, flags, fd, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { start, len })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own, and nothing borrowed from it outlives it.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
    }
}

/// What may lie in memory that the kernel changes at any time.
///
/// # Safety
/// Made of atomic words alone, without padding: any bytes are a value, and it is never written but atomically.
pub unsafe trait Shared: Sync {}

// SAFETY: an atomic word.
unsafe impl Shared for AtomicU64 {}
// SAFETY: an array has no padding that its elements do not have.
unsafe impl<T: Shared, const N: usize> Shared for [T; N] {}

/// Declares a structure for a [`SharedArray`]: `repr(C)`, of fields that may be shared.
macro_rules! shared_struct {
    (
        $(#[$meta:meta])* align($align:literal) $visible:vis struct $name:ident {
            $($(#[$field_meta:meta])* $field_visible:vis $field:ident: $type:ty,)+
        }
    ) => {
        $(#[$meta])*
        #[repr(C, align($align))]
        $visible struct $name {
            $($(#[$field_meta])* $field_visible $field: $type,)+
        }

        // No padding: as long as its fields together.
        const _: () = assert!(size_of::<$name>() == 0 $(+ size_of::<$type>())+);

        #[expect(unsafe_code, reason = "the macro makes sure of what the trait promises")]
        const _: () = {
            const fn shared<T: $crate::sys::memory::Shared>() {}
            $(shared::<$type>();)+
            // SAFETY: every field may be shared, and there is no padding: both are checked above.
            unsafe impl $crate::sys::memory::Shared for $name {}
        };
    };
}
pub(crate) use shared_struct;

/// An array that others have mapped too, such as the kernel's side of a `BPF_F_MMAPABLE` array.
pub struct SharedArray<T: Shared> {
    mapping: Mapping,
    count: usize,
    elements: PhantomData<T>,
}

impl<T: Shared> SharedArray<T> {
    /// Maps the first `count` elements of a file.
    ///
    /// # Errors
    /// Those of mmap(2); `EINVAL` where a BPF map is smaller than that (`array_map_mmap`,
    /// kernel/bpf/arraymap.c), or `count` is 0.
    pub fn map(file: impl AsFd, count: usize) -> io::Result<Self> {
        let len = count.checked_mul(size_of::<T>()).ok_or(io::ErrorKind::InvalidInput)?;
        let mapping = Mapping::new(len, libc::MAP_SHARED, file.as_fd().as_raw_fd())?;
        if !mapping.start.cast::<T>().is_aligned() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        Ok(Self { mapping, count, elements: PhantomData })
    }
}

impl<T: Shared> Deref for SharedArray<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: mapped for so many elements and aligned, as long as `self` lives; any bytes are a value, and
        // whoever else writes does so atomically.
        unsafe { std::slice::from_raw_parts(self.mapping.start.cast::<T>().as_ptr(), self.count) }
    }
}

impl<T: Shared> std::fmt::Debug for SharedArray<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SharedArray").field("count", &self.count).finish_non_exhaustive()
    }
}

/// The contents of a file for a while: in memory of their own, which the kernel gets back on drop. (Freeing
/// as much on the heap would teach malloc(3) to keep such blocks, see `M_MMAP_THRESHOLD` in mallopt(3).)
pub struct Contents {
    mapping: Option<Mapping>,
    len: usize,
}

impl Contents {
    /// Reads a file.
    ///
    /// # Errors
    /// Those of read(2) and mmap(2); `FileTooLarge` above `limit` bytes.
    pub fn read(file: &mut File, limit: usize) -> io::Result<Self> {
        let size = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
        if size > limit {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        if size == 0 {
            return Ok(Self { mapping: None, len: 0 });
        }
        let mapping = Mapping::new(size, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1)?;
        // SAFETY: `size` bytes of zeroes, which nobody else knows of yet.
        let buffer = unsafe { std::slice::from_raw_parts_mut(mapping.start.as_ptr(), size) };
        let mut len = 0;
        while len < size {
            match file.read(&mut buffer[len..]) {
                Ok(0) => break,
                Ok(read) => len += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Self { mapping: Some(mapping), len })
    }
}

impl Deref for Contents {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.mapping.as_ref().map_or(&[], |mapping| {
            // SAFETY: at least `len` bytes, written before, private to us, and not changed any more.
            unsafe { std::slice::from_raw_parts(mapping.start.as_ptr(), self.len) }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, Write};
    use std::sync::atomic::Ordering;

    use super::*;

    shared_struct! {
        align(16) struct Pair {
            one: AtomicU64,
            other: [AtomicU64; 1],
        }
    }

    #[test]
    fn both_mappings_see_what_one_changes() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(64).unwrap();
        let [a, b] = [(); 2].map(|()| SharedArray::<Pair>::map(&file, 4).unwrap());
        a[3].one.store(7, Ordering::SeqCst);
        a[0].other[0].store(8, Ordering::SeqCst);
        assert_eq!((b[3].one.load(Ordering::SeqCst), b[0].other[0].load(Ordering::SeqCst)), (7, 8));
        assert_eq!(b.len(), 4);
        assert!(SharedArray::<Pair>::map(&file, 0).is_err());
        assert!(SharedArray::<Pair>::map(&file, usize::MAX).is_err());
    }

    #[test]
    fn a_file_is_read_whole_or_not_at_all() {
        let mut file = tempfile::tempfile().unwrap();
        assert!(Contents::read(&mut file, 10).unwrap().is_empty());
        file.write_all(b"0123456789").unwrap();
        file.rewind().unwrap();
        assert_eq!(&*Contents::read(&mut file, 10).unwrap(), b"0123456789");
        file.rewind().unwrap();
        assert!(Contents::read(&mut file, 9).is_err());
    }
}
