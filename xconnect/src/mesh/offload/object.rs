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
