//! Whether a file is the object that the mesh can load: for BPF, with BTF, licence, and the expected programs and maps.

use object::elf::{EM_BPF, ET_REL, FileHeader64};
use object::read::elf::{ElfFile64, FileHeader as _};
use object::{Endianness, Object as _, ObjectSection as _, ObjectSymbol as _, SectionKind, SymbolKind};

use super::expected;

/// An instruction's size in bytes; a load of 64 bits counts as two.
const INSTRUCTION: u64 = 8;
/// The first bytes of BTF.
const BTF_MAGIC: [u8; 2] = 0xeb9f_u16.to_le_bytes();
/// Licences under which the kernel lends all helpers (`license_is_gpl_compatible`).
const LICENCES: [&str; 6] =
    ["GPL", "GPL v2", "GPL and additional rights", "Dual BSD/GPL", "Dual MIT/GPL", "Dual MPL/GPL"];

/// What an object holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Contents {
    pub(super) programs: Vec<Code>,
    pub(super) maps: Vec<String>,
}

/// One program.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Code {
    pub(super) section: String,
    pub(super) name: String,
    pub(super) instructions: u64,
}

/// What the object holds, or all that is wrong with it.
pub(super) fn check(bytes: &[u8]) -> Result<Contents, Vec<String>> {
    let file =
        ElfFile64::<Endianness>::parse(bytes).map_err(|error| vec![format!("no ELF file: {error}")])?;
    let mut faults = Vec::new();
    header(file.elf_header(), file.endian(), &mut faults);
    if !faults.is_empty() {
        // Of another machine's file nothing else is worth saying.
        return Err(faults);
    }
    for name in [".BTF", ".BTF.ext"] {
        match data(&file, name) {
            None => faults.push(format!("no section {name}")),
            Some(data) if !data.starts_with(&BTF_MAGIC) => faults.push(format!("section {name} is no BTF")),
            Some(_) => {}
        }
    }
    licence(data(&file, "license"), &mut faults);
    let contents = contents(&file);
    let programs: Vec<_> = contents.programs.iter().map(|it| (&*it.section, &*it.name)).collect();
    compare(
        "program",
        &programs,
        &expected::PROGRAMS,
        |(section, name)| format!("{section} {name}"),
        &mut faults,
    );
    let maps: Vec<_> = contents.maps.iter().map(String::as_str).collect();
    compare("map", &maps, &expected::MAPS, |name| (*name).to_owned(), &mut faults);
    if faults.is_empty() { Ok(contents) } else { Err(faults) }
}

fn header(header: &FileHeader64<Endianness>, endian: Endianness, faults: &mut Vec<String>) {
    if header.e_machine(endian) != EM_BPF {
        faults.push(format!("for machine {}, not for BPF", header.e_machine(endian)));
    }
    if endian != Endianness::Little {
        faults.push("not little-endian".to_owned());
    }
    if header.e_type(endian) != ET_REL {
        faults.push("not relocatable".to_owned());
    }
}

fn licence(data: Option<&[u8]>, faults: &mut Vec<String>) {
    let Some(data) = data else { return faults.push("no section license".to_owned()) };
    let text = data.strip_suffix(b"\0").map(String::from_utf8_lossy);
    if !text.as_deref().is_some_and(|text| LICENCES.contains(&text)) {
        faults.push(format!("licence {:?} is not compatible with the GPL", String::from_utf8_lossy(data)));
    }
}

fn data<'a>(file: &ElfFile64<'a, Endianness>, name: &str) -> Option<&'a [u8]> {
    file.section_by_name(name)?.data().ok()
}

/// Programs are the functions outside `.text`, which holds what they call; maps are what lies in the maps' sections.
fn contents(file: &ElfFile64<'_, Endianness>) -> Contents {
    let (mut programs, mut maps) = (Vec::new(), Vec::new());
    for symbol in file.symbols() {
        let section = symbol.section_index().and_then(|index| file.section_by_index(index).ok());
        let Some(section) = section else { continue };
        let (Ok(section_name), Ok(name)) = (section.name(), symbol.name()) else { continue };
        match (section.kind(), symbol.kind(), section_name) {
            (SectionKind::Text, SymbolKind::Text, ".text") => {}
            (SectionKind::Text, SymbolKind::Text, _) => programs.push(Code {
                section: section_name.to_owned(),
                name: name.to_owned(),
                instructions: symbol.size() / INSTRUCTION,
            }),
            (_, SymbolKind::Data, "maps" | ".maps") => maps.push(name.to_owned()),
            _ => {}
        }
    }
    programs.sort_by(|a, b| (&a.section, &a.name).cmp(&(&b.section, &b.name)));
    maps.sort();
    Contents { programs, maps }
}

/// Says what of the expected is missing, and what is there though nobody expects it.
fn compare<T: PartialEq>(
    what: &str,
    there: &[T],
    expected: &[T],
    show: impl Fn(&T) -> String,
    faults: &mut Vec<String>,
) {
    let missing = expected.iter().filter(|it| !there.contains(it));
    faults.extend(missing.map(|it| format!("no {what} {}", show(it))));
    let surplus = there.iter().filter(|it| !expected.contains(it));
    faults.extend(surplus.map(|it| format!("{what} {} is not in the list of expected ones", show(it))));
}

#[cfg(test)]
mod tests;
