//! Where fields are in the kernel's structures, from its BTF (Documentation/bpf/btf.rst).
//!
//! A pure reader: any bytes give an answer or an error. It keeps nothing but a sparse index.

use xconnect_common::Offsets;

const MAGIC: u16 = 0xeb9f;
/// `BTF_KIND_…`.
const STRUCT: u32 = 4;
const UNION: u32 = 5;
/// Kinds that stand for another type: typedef, volatile, const, restrict, type tag.
const SYNONYMS: [u32; 5] = [8, 9, 10, 11, 18];
/// Every so many types the index knows where one begins.
const STEP: usize = 256;
/// Anonymous structures within each other; the kernel's are three deep at most.
const DEPTH: usize = 8;
/// Types looked at for one field. Structures that contain themselves are not BTF, but bytes can say so.
const PATIENCE: usize = 4096;

/// Why there are no offsets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Error {
    /// It is not BTF, or of another machine.
    #[error("it is not the BTF of this machine")]
    Malformed,
    /// There is no such field.
    #[error("it has no field {0}")]
    Missing(&'static str),
    /// The field does not begin at a byte.
    #[error("its field {0} is none of whole bytes")]
    Bits(&'static str),
}

/// The offsets that the programs need.
pub(super) fn offsets(bytes: &[u8]) -> Result<Offsets, Error> {
    let btf = Btf::new(bytes)?;
    let [flags_in, flags, flags_mask] = pass_flags(&btf)?;
    Ok(Offsets {
        cookie: btf.offset("sock", &["__sk_common", "skc_cookie"])?,
        data_ready: btf.offset("sock", &["sk_data_ready"])?,
        peer: btf.offset("unix_sock", &["peer"])?,
        // Kernels without CONFIG_AF_UNIX_OOB, or before it (5.15).
        urgent: btf.offset("unix_sock", &["oob_skb"]).unwrap_or(0),
        flags_in,
        flags,
        flags_mask,
    })
}

/// Where `SO_PASSCRED` and `SO_PASSPIDFD` are kept: pointer, byte, mask; see [`Offsets`].
fn pass_flags(btf: &Btf<'_>) -> Result<[u64; 3], Error> {
    let bit = |name| btf.bits("sock", &[name]);
    if let Ok(credentials) = bit("sk_scm_credentials") {
        let at = credentials / 8;
        let mask = |bits: u64| 1 << (if cfg!(target_endian = "big") { 7 - bits % 8 } else { bits % 8 });
        let pidfd = bit("sk_scm_pidfd").ok().filter(|bits| bits / 8 == at);
        return Ok([0, at, mask(credentials) | pidfd.map_or(0, mask)]);
    }
    // SOCK_PASSCRED and SOCK_PASSPIDFD, include/linux/net.h: the lowest byte of a long.
    const BITS: u64 = 1 << 3 | 1 << 7;
    let flags = btf.offset("socket", &["flags"])?;
    let lowest = if cfg!(target_endian = "big") { size_of::<std::ffi::c_ulong>() as u64 - 1 } else { 0 };
    Ok([btf.offset("sock", &["sk_socket"])?, flags + lowest, BITS])
}

struct Btf<'a> {
    types: &'a [u8],
    strings: &'a [u8],
    /// Where the types 1, 1 + STEP, … begin.
    index: Vec<u32>,
}

/// A type's head: `struct btf_type`.
#[derive(Clone, Copy)]
struct Type {
    at: usize,
    name: u32,
    info: u32,
    /// Size, or the type that it stands for.
    word: u32,
}

impl Type {
    fn kind(self) -> u32 {
        self.info >> 24 & 0x1f
    }

    fn count(self) -> usize {
        (self.info & 0xffff) as usize
    }

    /// Offsets of members hold the width of a bit field too.
    fn has_bit_fields(self) -> bool {
        self.info >> 31 != 0
    }

    /// Bytes of head and what follows it; `None` for a kind that is not known.
    fn len(self) -> Option<usize> {
        let count = self.count();
        let more = match self.kind() {
            2 | 7..=12 | 16 | 18 => 0,
            1 | 14 | 17 => 4,
            3 => 12,
            4 | 5 | 15 | 19 => 12 * count,
            6 | 13 => 8 * count,
            _ => return None,
        };
        Some(12 + more)
    }
}

impl<'a> Btf<'a> {
    fn new(bytes: &'a [u8]) -> Result<Self, Error> {
        let magic = bytes.first_chunk().map(|magic| u16::from_ne_bytes(*magic));
        if magic != Some(MAGIC) {
            return Err(Error::Malformed);
        }
        let field = |at| word(bytes, at).map(|word| word as usize).ok_or(Error::Malformed);
        let body = bytes.get(field(4)?..).ok_or(Error::Malformed)?;
        let section = |start: usize, len: usize| {
            start.checked_add(len).and_then(|end| body.get(start..end)).ok_or(Error::Malformed)
        };
        let types = section(field(8)?, field(12)?)?;
        let strings = section(field(16)?, field(20)?)?;
        let mut btf = Self { types, strings, index: Vec::new() };
        let (mut at, mut number) = (0, 0);
        while at < types.len() {
            if number % STEP == 0 {
                btf.index.push(u32::try_from(at).map_err(|_| Error::Malformed)?);
            }
            at += btf.head(at).and_then(Type::len).ok_or(Error::Malformed)?;
            number += 1;
        }
        Ok(btf)
    }

    fn head(&self, at: usize) -> Option<Type> {
        let get = |offset: usize| word(self.types, at.checked_add(offset)?);
        Some(Type { at, name: get(0)?, info: get(4)?, word: get(8)? })
    }

    /// The type with this number, synonyms resolved.
    fn resolve(&self, mut id: u32) -> Option<Type> {
        for _ in 0..DEPTH {
            let number = (id as usize).checked_sub(1)?;
            let mut found = self.head(*self.index.get(number / STEP)? as usize)?;
            for _ in 0..number % STEP {
                found = self.head(found.at.checked_add(found.len()?)?)?;
            }
            if !SYNONYMS.contains(&found.kind()) {
                return Some(found);
            }
            id = found.word;
        }
        None
    }

    fn is_named(&self, name: u32, wanted: &str) -> bool {
        let at = name as usize;
        self.strings
            .get(at..)
            .and_then(|rest| rest.get(..=wanted.len()))
            .is_some_and(|there| there[wanted.len()] == 0 && there[..wanted.len()] == *wanted.as_bytes())
    }

    /// Bytes from the start of `structure` to the last field of the path.
    fn offset(&self, structure: &str, path: &[&'static str]) -> Result<u64, Error> {
        let bits = self.bits(structure, path)?;
        let last = path.last().copied().unwrap_or_default();
        if bits % 8 == 0 { Ok(bits / 8) } else { Err(Error::Bits(last)) }
    }

    /// Bits from there.
    fn bits(&self, structure: &str, path: &[&'static str]) -> Result<u64, Error> {
        let last = path.last().copied().unwrap_or_default();
        let mut at = 0;
        while let Some(found) = self.head(at) {
            if found.kind() == STRUCT && self.is_named(found.name, structure) {
                let mut patience = PATIENCE;
                if let Some(bits) = self.walk(found, path, &mut patience) {
                    return Ok(bits);
                }
            }
            at += found.len().ok_or(Error::Malformed)?;
        }
        Err(Error::Missing(last))
    }

    fn walk(&self, mut within: Type, path: &[&'static str], patience: &mut usize) -> Option<u64> {
        let mut bits = 0;
        for (step, name) in path.iter().enumerate() {
            let (offset, id) = self.member(within, name, DEPTH, patience)?;
            bits += offset;
            if step + 1 < path.len() {
                within = self.resolve(id)?;
            }
        }
        Some(bits)
    }

    /// Offset in bits and type of a member, be it within an anonymous structure or union.
    fn member(&self, within: Type, name: &str, depth: usize, patience: &mut usize) -> Option<(u64, u32)> {
        if !matches!(within.kind(), STRUCT | UNION) {
            return None;
        }
        *patience = patience.checked_sub(1)?;
        for number in 0..within.count() {
            let at = within.at + 12 + 12 * number;
            let (member, id) = (word(self.types, at)?, word(self.types, at + 4)?);
            let offset = word(self.types, at + 8)?;
            let offset = u64::from(if within.has_bit_fields() { offset & 0x00ff_ffff } else { offset });
            if self.is_named(member, name) {
                return Some((offset, id));
            }
            if self.is_named(member, "") && depth > 0 {
                let inside = self.resolve(id).and_then(|it| self.member(it, name, depth - 1, patience));
                if let Some((more, id)) = inside {
                    return Some((offset + more, id));
                }
            }
        }
        None
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|word| u32::from_ne_bytes(*word))
}

#[cfg(test)]
mod tests;
