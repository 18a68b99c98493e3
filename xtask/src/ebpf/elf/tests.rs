//! Objects made here, whole and broken.

use object::write::{Object, StandardSection, Symbol, SymbolSection};
use object::{Architecture, BinaryFormat, SymbolFlags, SymbolScope};

use super::*;

/// An object with these sections beside programs and maps.
fn object(architecture: Architecture, sections: &[(&str, &[u8])], maps: &[&str]) -> Vec<u8> {
    let mut object = Object::new(BinaryFormat::Elf, architecture, Endianness::Little);
    for (name, data) in sections {
        let section = object.add_section(Vec::new(), (*name).into(), SectionKind::ReadOnlyData);
        object.append_section_data(section, data, 8);
    }
    let symbol = |object: &mut Object<'_>, name: &str, kind, section, size| {
        object.add_symbol(Symbol {
            name: name.into(),
            value: 0,
            size,
            kind,
            scope: SymbolScope::Dynamic,
            weak: false,
            section: SymbolSection::Section(section),
            flags: SymbolFlags::None,
        });
    };
    let text = object.section_id(StandardSection::Text);
    symbol(&mut object, "memcpy", SymbolKind::Text, text, 8);
    for (section, name) in expected::PROGRAMS {
        let section = object.add_section(Vec::new(), section.into(), SectionKind::Text);
        object.append_section_data(section, &[0; 16], 8);
        symbol(&mut object, name, SymbolKind::Text, section, 16);
    }
    let section = object.add_section(Vec::new(), "maps".into(), SectionKind::Data);
    for name in maps {
        symbol(&mut object, name, SymbolKind::Data, section, 28);
    }
    object.write().unwrap()
}

const BTF: &[u8] = &[0x9f, 0xeb, 1, 0];
const SECTIONS: [(&str, &[u8]); 3] = [(".BTF", BTF), (".BTF.ext", BTF), ("license", b"Dual MIT/GPL\0")];

#[test]
fn a_whole_object_is_taken() {
    let contents = check(&object(Architecture::Bpf, &SECTIONS, &expected::MAPS)).unwrap();
    assert_eq!(contents.maps, expected::MAPS);
    assert_eq!(contents.programs.len(), expected::PROGRAMS.len());
    assert!(contents.programs.iter().all(|code| code.instructions == 2), "{contents:?}");
}

#[test]
fn every_fault_is_told_at_once() {
    let sections: [(&str, &[u8]); 2] = [(".BTF", b"\0\0"), ("license", b"Proprietary\0")];
    let faults = check(&object(Architecture::Bpf, &sections, &["OTHER"])).unwrap_err().join("\n");
    let missing = format!("no map {}", expected::MAPS[0]);
    for part in
        [".BTF is no BTF", "no section .BTF.ext", "Proprietary", &missing, "map OTHER is not in the list"]
    {
        assert!(faults.contains(part), "{part}: {faults}");
    }
}

#[test]
fn another_machines_object_is_refused() {
    let faults = check(&object(Architecture::X86_64, &SECTIONS, &expected::MAPS)).unwrap_err();
    assert_eq!(faults, ["for machine 62, not for BPF"]);
}

#[test]
fn what_is_no_object_is_refused() {
    for bytes in [&b""[..], b"\x7fELF", b"#!/bin/sh\nexit 0\n"] {
        assert!(check(bytes).is_err());
    }
    // Cut anywhere: refused or taken, but never a panic.
    let whole = object(Architecture::Bpf, &SECTIONS, &expected::MAPS);
    for length in 0..whole.len() {
        check(&whole[..length]).unwrap_err();
    }
}
