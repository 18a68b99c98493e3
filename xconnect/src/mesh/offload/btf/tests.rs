//! BTF made by hand, and that of the kernel that runs.

use proptest::prelude::*;

use super::*;

/// Types by their words, with names that are looked up in the string section.
struct Build {
    types: Vec<u8>,
    strings: Vec<u8>,
}

impl Build {
    fn new() -> Self {
        Self { types: Vec::new(), strings: vec![0] }
    }

    fn name(&mut self, name: &str) -> u32 {
        if name.is_empty() {
            return 0;
        }
        let at = self.strings.len() as u32;
        self.strings.extend_from_slice(name.as_bytes());
        self.strings.push(0);
        at
    }

    fn words(&mut self, words: &[u32]) {
        self.types.extend(words.iter().flat_map(|word| word.to_ne_bytes()));
    }

    /// Members: name, type, offset in bits.
    fn composite(&mut self, kind: u32, name: &str, members: &[(&str, u32, u32)]) {
        let name = self.name(name);
        self.words(&[name, kind << 24 | members.len() as u32, 0]);
        for (member, id, offset) in members {
            let member = self.name(member);
            self.words(&[member, *id, *offset]);
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_ne_bytes().to_vec();
        bytes.extend_from_slice(&[1, 0]);
        let (types, strings) = (self.types.len() as u32, self.strings.len() as u32);
        bytes.extend([24, 0, types, types, strings].iter().flat_map(|word: &u32| word.to_ne_bytes()));
        bytes.extend_from_slice(&self.types);
        bytes.extend_from_slice(&self.strings);
        bytes
    }
}

/// As the kernel's, in small: common part, a queue whose length is in an anonymous structure.
fn sample() -> Vec<u8> {
    let mut build = kernel(&[("sk_socket", 1, 400)]);
    build.composite(STRUCT, "socket", &[("flags", 1, 64)]);
    build.bytes()
}

/// With these fields at the end of `struct sock`.
fn kernel(fields: &[(&str, u32, u32)]) -> Build {
    let mut build = Build::new();
    let int = build.name("int");
    build.words(&[int, 1 << 24, 4, 32]);
    build.composite(STRUCT, "sock_common", &[("first", 1, 0), ("skc_cookie", 1, 64)]);
    build.composite(STRUCT, "", &[("prev", 1, 0), ("sk_data_ready", 1, 32)]);
    build.composite(UNION, "", &[("list", 1, 0), ("", 3, 0)]);
    build.composite(STRUCT, "sk_buff_head", &[("", 4, 64)]);
    let typedef = build.name("queue_t");
    build.words(&[typedef, 8 << 24, 5]);
    // With bit fields: offsets hold their widths, in the highest byte.
    let sock = [&[("__sk_common", 2, 0), ("", 6, 256)], fields].concat();
    build.composite(STRUCT | 0x80, "sock", &sock);
    build.composite(STRUCT, "unix_sock", &[("sk", 7, 0), ("peer", 1, 512), ("oob_skb", 1, 576)]);
    build
}

#[test]
fn fields_are_found_through_anonymous_members_and_synonyms() {
    let mask = 1 << 3 | 1 << 7;
    let found = Offsets {
        cookie: 8,
        data_ready: 32 + 8 + 4,
        peer: 64,
        urgent: 72,
        flags_in: 50,
        flags: 8,
        flags_mask: mask,
    };
    assert_eq!(offsets(&sample()), Ok(found));
}

#[test]
fn flags_are_found_as_bits_of_the_socket_itself() {
    let bit = |name, at: u32| (name, 1, 1 << 24 | at);
    let found =
        offsets(&kernel(&[bit("sk_scm_credentials", 409), bit("sk_scm_pidfd", 411)]).bytes()).unwrap();
    assert_eq!((found.flags_in, found.flags, found.flags_mask), (0, 51, 0b1010));
    let elsewhere =
        offsets(&kernel(&[bit("sk_scm_credentials", 409), bit("sk_scm_pidfd", 425)]).bytes()).unwrap();
    assert_eq!(elsewhere.flags_mask, 0b10);
}

#[test]
fn what_is_not_there_is_named() {
    let mut build = Build::new();
    build.composite(STRUCT, "sock", &[("__sk_common", 1, 0)]);
    assert_eq!(offsets(&build.bytes()), Err(Error::Missing("flags")));
    assert_eq!(offsets(b""), Err(Error::Malformed));
    assert_eq!(offsets(&[0x9f; 64]), Err(Error::Malformed));
}

#[test]
fn a_structure_within_itself_ends_the_search() {
    let mut build = Build::new();
    build.composite(STRUCT, "sock", &[("", 1, 0); 64]);
    assert_eq!(offsets(&build.bytes()), Err(Error::Missing("flags")));
}

#[test]
fn a_field_of_bits_is_refused() {
    let mut build = Build::new();
    build.composite(STRUCT, "sock_common", &[("skc_cookie", 1, 3)]);
    build.composite(STRUCT, "sock", &[("__sk_common", 1, 0), ("sk_socket", 1, 64)]);
    build.composite(STRUCT, "socket", &[("flags", 1, 64)]);
    assert_eq!(offsets(&build.bytes()), Err(Error::Bits("skc_cookie")));
}

#[test]
fn the_running_kernel_has_the_fields() {
    let Ok(bytes) = std::fs::read("/sys/kernel/btf/vmlinux") else {
        eprintln!("SKIP: this kernel shows no BTF");
        return;
    };
    let found = offsets(&bytes).unwrap();
    assert!(found.cookie > 0 && found.cookie.is_multiple_of(8) && found.cookie < 256, "{found:?}");
    assert!(found.data_ready > found.cookie && found.data_ready < 1024, "{found:?}");
    assert!(found.peer > found.data_ready && found.flags > 0 && found.flags_mask > 0, "{found:?}");
}

#[test]
fn what_is_cut_off_is_an_error() {
    let whole = sample();
    for len in 0..whole.len() {
        assert!(offsets(&whole[..len]).is_err(), "{len}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = offsets(&bytes);
    }

    #[test]
    fn any_change_is_read_or_refused(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut bytes = sample();
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        let _ = offsets(&bytes);
    }
}
