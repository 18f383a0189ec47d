use super::*;
use crate::boot::LOWEST;

const HEADER: usize = 64;
const PROGRAM_HEADER: usize = 56;
const MEMORY: usize = 0x20_0000;

struct Segment {
    kind: u32,
    offset: u64,
    address: u64,
    filesz: u64,
    memsz: u64,
}

const CODE: Segment = Segment { kind: PT_LOAD, offset: 0x100, address: 0x10000, filesz: 8, memsz: 16 };

/// An ELF64 file with these segments and the bytes 1, 2, 3, ... from offset 0x100 on.
fn file(entry: u64, segments: &[Segment]) -> Vec<u8> {
    let mut bytes = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    bytes.extend(2u16.to_le_bytes());
    bytes.extend(62u16.to_le_bytes());
    bytes.extend(1u32.to_le_bytes());
    bytes.extend(entry.to_le_bytes());
    bytes.extend((HEADER as u64).to_le_bytes());
    bytes.extend(0u64.to_le_bytes());
    bytes.extend(0u32.to_le_bytes());
    for half in [HEADER, PROGRAM_HEADER, segments.len(), 64, 0, 0] {
        bytes.extend(u16::try_from(half).expect("small").to_le_bytes());
    }
    for s in segments {
        bytes.extend(s.kind.to_le_bytes());
        bytes.extend(5u32.to_le_bytes());
        for word in [s.offset, s.address, s.address, s.filesz, s.memsz, 0x1000] {
            bytes.extend(word.to_le_bytes());
        }
    }
    bytes.resize(0x100, 0);
    bytes.extend(1..=32u8);
    bytes
}

/// A good file, for the tests of the loader.
pub fn plain() -> Vec<u8> {
    file(0x10_0000, &[Segment { address: 0x10_0000, ..CODE }])
}

fn ram() -> Ram {
    Ram::new(MEMORY).expect("enough")
}

/// The entry point of a program that is not refused.
fn try_load(file: &[u8]) -> Result<u64, ElfError> {
    Program::parse(file, ram(), LOWEST).map(|program| program.entry())
}

/// A file with this many headers, by ELF's number of 16 bits and by its extension (gABI, "ELF header", `PN_XNUM`).
fn with_headers(count: usize, extended: bool) -> Vec<u8> {
    let mut bytes = file(0x10000, &[CODE]);
    let table = bytes.len().next_multiple_of(8);
    bytes.resize(table, 0);
    let one = bytes[HEADER..HEADER + PROGRAM_HEADER].to_vec();
    (0..count).for_each(|_| bytes.extend(&one));
    bytes[32..40].copy_from_slice(&(table as u64).to_le_bytes());
    let half = if extended { u16::MAX } else { u16::try_from(count).expect("16 bits") };
    bytes[56..58].copy_from_slice(&half.to_le_bytes());
    if extended {
        // The first section header has the number in `sh_info`.
        let section = bytes.len() as u64;
        bytes.extend([0; 64]);
        let info = usize::try_from(section).expect("small") + 44;
        bytes[info..info + 4].copy_from_slice(&u32::try_from(count).expect("32 bits").to_le_bytes());
        bytes[40..48].copy_from_slice(&section.to_le_bytes());
        bytes[60..62].copy_from_slice(&1u16.to_le_bytes());
    }
    bytes
}

/// The segments overlap, which is found where they are compared.
#[test]
fn a_file_of_very_many_headers_is_refused_before_they_are_compared() {
    let overlap = Err(ElfError::Overlap { address: 0x10000 });
    assert_eq!(try_load(&with_headers(MOST_HEADERS, false)), overlap);
    for (count, extended) in [(MOST_HEADERS + 1, false), (70_000, true)] {
        assert_eq!(try_load(&with_headers(count, extended)), Err(ElfError::Headers { count }));
    }
}

#[test]
fn a_segment_is_copied_and_its_rest_zeroed() {
    let mut memory = vec![0xaa; MEMORY];
    let file = file(0x10004, &[CODE]);
    let program = Program::parse(&file, ram(), LOWEST).expect("good");
    program.copy(&mut memory);
    assert_eq!((program.entry(), program.end(), program.class()), (0x10004, 0x10010, Class::ELF64));
    assert_eq!(memory[0x10000..0x10012], [1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0xaa, 0xaa]);
    assert_eq!(memory[0xffff], 0xaa);
}

#[test]
fn other_files_are_refused() {
    assert_eq!(try_load(b""), Err(ElfError::NotElf));
    assert_eq!(try_load(b"#!/bin/sh\n"), Err(ElfError::NotElf));
    let good = file(0x10000, &[CODE]);
    for (offset, value, error) in [
        (4, 1, ElfError::NotElf),
        (5, 2, ElfError::OtherMachine),
        (16, 3, ElfError::NotExecutable),
        (18, 183, ElfError::OtherMachine),
    ] {
        let mut bad = good.clone();
        bad[offset] = value;
        assert_eq!(try_load(&bad), Err(error), "byte {offset}");
    }
}

#[test]
fn every_truncation_is_refused() {
    let good = file(0x10000, &[CODE]);
    for length in 0..0x108 {
        assert!(try_load(&good[..length]).is_err(), "{length} bytes");
    }
    assert!(try_load(&good[..0x108]).is_ok());
}

#[test]
fn bad_segments_are_refused() {
    let at = |address, memsz| Segment { address, memsz, ..CODE };
    let end = MEMORY as u64;
    let outside = |address, size| Err(ElfError::OutsideMemory { address, size, lowest: LOWEST, end });
    assert_eq!(try_load(&file(0x8000, &[at(0x8000, 16)])), outside(0x8000, 16));
    assert_eq!(try_load(&file(0x10000, &[at(0x10000, 0x9_0001)])), outside(0x10000, 0x9_0001));
    assert_eq!(try_load(&file(0xf_fff0, &[at(0xf_fff0, 32)])), outside(0xf_fff0, 32));
    assert_eq!(try_load(&file(0x10_0000, &[at(0x10_0000, 0x10_0001)])), outside(0x10_0000, 0x10_0001));
    assert!(try_load(&file(0x10_0000, &[at(0x10_0000, 0x10_0000)])).is_ok());
    assert_eq!(try_load(&file(0x10000, &[at(u64::MAX, 16)])), outside(u64::MAX, 16));
    assert_eq!(try_load(&file(0x10000, &[at(0x10000, 7)])), Err(ElfError::Oversized { address: 0x10000 }));
    let far = Segment { offset: u64::MAX, ..CODE };
    assert_eq!(try_load(&file(0x10000, &[far])), Err(ElfError::Truncated { address: 0x10000 }));
    let twice = [CODE, at(0x1000f, 16)];
    assert_eq!(try_load(&file(0x10000, &twice)), Err(ElfError::Overlap { address: 0x1000f }));
    assert_eq!(try_load(&file(0x10010, &[CODE])), Err(ElfError::Entry { address: 0x10010 }));
    let note = Segment { kind: 4, ..CODE };
    assert_eq!(try_load(&file(0x10000, &[note])), Err(ElfError::Empty));
    assert_eq!(try_load(&file(0x10000, &[])), Err(ElfError::Empty));
}

/// Any single byte changed: an answer, never a panic.
#[test]
fn every_changed_byte_gives_an_answer() {
    let good = file(0x10000, &[CODE, Segment { address: 0x20000, ..CODE }]);
    for offset in 0..HEADER + 2 * PROGRAM_HEADER {
        for value in [0, 1, 0x7f, 0x80, 0xff] {
            let mut bad = good.clone();
            bad[offset] = value;
            let _ = try_load(&bad);
        }
    }
}
