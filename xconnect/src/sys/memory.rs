//! Memory from mmap(2): what the kernel and we both change, and what goes back to the kernel once it was read.
#![expect(
    unsafe_code,
    reason = "mmap(2) gives raw memory, and a type must promise that any bytes are its value"
)]

use std::fs::File;
use std::io::{self, Read};
use std::marker::PhantomData;
use std::ops::{Deref, Index};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::OnceLock;
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
    fn new(len: usize, flags: libc::c_int, fd: libc::c_int, offset: usize) -> io::Result<Self> {
        let offset = libc::off_t::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput)?;
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping, at an address that the kernel chooses: no memory of anybody's changes.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), len, access, flags, fd, offset) };
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

/// Bytes that are mapped at a time: whole pages, whatever their size.
const PART: usize = 64 * 1024;

/// An array that others have mapped too, such as the kernel's side of a `BPF_F_MMAPABLE` array.
///
/// It is mapped part by part, when an element there is first used: the pages of such a map count as ours from
/// the moment they are mapped (`remap_vmalloc_range`), used or not.
pub struct SharedArray<T: Shared> {
    file: OwnedFd,
    parts: Box<[OnceLock<Mapping>]>,
    count: usize,
    elements: PhantomData<T>,
}

impl<T: Shared> SharedArray<T> {
    const PER_PART: usize = {
        assert!(PART.is_multiple_of(size_of::<T>()));
        PART / size_of::<T>()
    };

    /// The first `count` elements of a file.
    ///
    /// # Errors
    /// Those of mmap(2), tried with the first element; `EINVAL` where a BPF map is smaller than that
    /// (`array_map_mmap`, kernel/bpf/arraymap.c), or `count` is 0.
    pub fn map(file: impl AsFd, count: usize) -> io::Result<Self> {
        if count.checked_mul(size_of::<T>()).is_none_or(|len| isize::try_from(len).is_err()) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let file = file.as_fd().try_clone_to_owned()?;
        let parts = (0..count.div_ceil(Self::PER_PART)).map(|_| OnceLock::new()).collect();
        let array = Self { file, parts, count, elements: PhantomData };
        array.reach(0)?;
        Ok(array)
    }

    /// An element, mapped now at the latest. Once reached, it can be indexed.
    ///
    /// # Errors
    /// Those of mmap(2), such as `ENOMEM`; `InvalidInput` beyond the end.
    pub fn reach(&self, index: usize) -> io::Result<&T> {
        if index >= self.count {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let number = index / Self::PER_PART;
        let part = match self.parts[number].get() {
            Some(part) => part,
            None => {
                let first = number * Self::PER_PART;
                let len = Self::PER_PART.min(self.count - first) * size_of::<T>();
                let file = self.file.as_raw_fd();
                let part = Mapping::new(len, libc::MAP_SHARED, file, first * size_of::<T>())?;
                // Where another thread was faster, ours is unmapped again.
                self.parts[number].get_or_init(|| part)
            }
        };
        // SAFETY: within the part, which is mapped as long as `self` lives, and aligned, for it begins with a page
        // and `T` divides it; any bytes are a value, and whoever else writes does so atomically.
        Ok(unsafe { part.start.cast::<T>().add(index % Self::PER_PART).as_ref() })
    }

    /// How many elements there are.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "it never is")]
    pub fn len(&self) -> usize {
        self.count
    }
}

impl<T: Shared> Index<usize> for SharedArray<T> {
    type Output = T;

    /// # Panics
    /// Beyond the end, and where an element that nobody has reached cannot be mapped.
    fn index(&self, index: usize) -> &T {
        match self.reach(index) {
            Ok(element) => element,
            Err(error) => panic!("element {index} of {}: {error}", self.count),
        }
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
        let mapping = Mapping::new(size, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0)?;
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
        assert!(a.reach(4).is_err());
        assert!(SharedArray::<Pair>::map(&file, 0).is_err());
        assert!(SharedArray::<Pair>::map(&file, usize::MAX).is_err());
    }

    #[test]
    fn parts_are_mapped_when_they_are_used() {
        let file = tempfile::tempfile().unwrap();
        let count = 2 * SharedArray::<Pair>::PER_PART + 1;
        file.set_len((count * size_of::<Pair>()) as u64).unwrap();
        let [a, b] = [(); 2].map(|()| SharedArray::<Pair>::map(&file, count).unwrap());
        let mapped = || a.parts.iter().filter(|part| part.get().is_some()).count();
        assert_eq!(mapped(), 1);
        for index in [0, SharedArray::<Pair>::PER_PART, count - 1] {
            a[index].one.store(index as u64, Ordering::SeqCst);
            assert_eq!(b.reach(index).unwrap().one.load(Ordering::SeqCst), index as u64);
        }
        assert_eq!(mapped(), 3);
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
