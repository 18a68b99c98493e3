//! What the kernel path needs of a kernel: BTF, and BPF with the maps and the program type for Unix sockets.

use std::fs;

use xconnect_tests::{run, sys};

/// Numbers of linux/bpf.h.
const BPF_MAP_TYPE_ARRAY: u32 = 2;
const BPF_MAP_TYPE_SOCKHASH: u32 = 18;

#[test]
fn the_kernel_describes_its_types() {
    let btf = fs::read("/sys/kernel/btf/vmlinux").expect("CONFIG_DEBUG_INFO_BTF");
    // The magic of a BTF section (Documentation/bpf/btf.rst).
    assert_eq!(btf.get(..2), Some(&0xeb9f_u16.to_ne_bytes()[..]));
}

#[test]
fn root_may_make_the_maps_and_load_a_verdict() {
    run(|_| {
        sys::bpf_map(BPF_MAP_TYPE_ARRAY, 4, 8).expect("an array");
        sys::bpf_map(BPF_MAP_TYPE_SOCKHASH, 8, 8).expect("a SOCKHASH");
        sys::bpf_verdict().expect("a verdict that passes everything");
    });
}
