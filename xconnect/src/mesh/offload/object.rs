//! The eBPF object that was embedded when this program was built; the crate's build script says which.

/// ELF is read in place, as structures with fields of 64 bits.
#[repr(C, align(8))]
struct Aligned<T: ?Sized>(T);

#[cfg(xconnect_bpf_object)]
static OBJECT: Option<&Aligned<[u8]>> =
    Some(&Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/xconnect.bpf.o"))));
#[cfg(not(xconnect_bpf_object))]
static OBJECT: Option<&Aligned<[u8]>> = None;

/// The object; `None` in a program that was built without.
pub(crate) fn embedded() -> Option<&'static [u8]> {
    OBJECT.map(|object| &object.0)
}

/// The object, where a test of the kernel that runs can be made: as root, with the embedded one or that of
/// `XCONNECT_TEST_BPF_OBJECT`.
#[cfg(test)]
pub(in crate::mesh) fn for_tests() -> Option<Vec<u8>> {
    let named = std::env::var_os("XCONNECT_TEST_BPF_OBJECT").map(|path| std::fs::read(path).unwrap());
    let object = named.or_else(|| embedded().map(<[u8]>::to_vec));
    if object.is_none() || !rustix::process::geteuid().is_root() {
        assert!(std::env::var_os("CI").is_none(), "needs root and the object of `cargo xtask build-ebpf`");
        eprintln!("SKIP: it needs root and the object of `cargo xtask build-ebpf`");
        return None;
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_object_is_embedded_where_it_was_built() {
        assert_eq!(embedded().is_some(), cfg!(xconnect_bpf_object));
        if let Some(object) = embedded() {
            assert!(object.starts_with(b"\x7fELF"));
            assert!(object.as_ptr().cast::<u64>().is_aligned());
        }
    }
}
