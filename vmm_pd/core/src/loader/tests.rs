//! Images that load, and one for each that is refused.

use super::*;
use crate::boot::Mode;
use crate::registers::Gpr;
use container::ALIGNMENT;

const MEMORY: usize = 0x40_0000;
const ENTRY: u32 = 0x10_0010;
const MAGIC: u32 = 0x1bad_b002;
const FLAGS: u32 = 3;

/// An ELF32 file of one segment at 1 MiB, which holds these bytes.
fn elf32(bytes: &[u8]) -> Vec<u8> {
    let size = u32::try_from(bytes.len()).expect("small");
    let mut file = b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    file.extend([2, 0, 3, 0]);
    [1, ENTRY, 52, 0, 0].iter().for_each(|word: &u32| file.extend(word.to_le_bytes()));
    [52, 32, 1, 40, 0, 0].iter().for_each(|half: &u16| file.extend(half.to_le_bytes()));
    [1, 84, 0x10_0000, 0x10_0000, size, size + 0x1000, 7, 4]
        .iter()
        .for_each(|word: &u32| file.extend(word.to_le_bytes()));
    file.extend(bytes);
    file
}

fn header(flags: u32) -> Vec<u8> {
    let sum = 0u32.wrapping_sub(MAGIC).wrapping_sub(flags);
    let words = [MAGIC, flags, sum, 0, 0, 0, 0, 0];
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn multiboot_kernel() -> Vec<u8> {
    elf32(&header(FLAGS))
}

fn file(container: &Container<'_>) -> Vec<u8> {
    let mut file = container.header().to_vec();
    for part in container.parts() {
        file.extend_from_slice(part);
        file.resize(file.len().next_multiple_of(ALIGNMENT), 0);
    }
    file
}

/// Loads; what is refused must leave memory as it is.
fn try_load(image: &[u8]) -> Result<(Start, Vec<u8>), LoadError> {
    let mut memory = vec![0xaa; MEMORY];
    let result = load(image, &mut memory);
    assert!(result.is_ok() || memory == vec![0xaa; MEMORY], "memory changed by a refused image");
    result.map(|start| (start, memory))
}

fn with(kernel: &[u8], command_line: &[u8], initrd: &[u8]) -> Result<(Start, Vec<u8>), LoadError> {
    try_load(&file(&Container { kernel, command_line, initrd }))
}

fn word(memory: &[u8], address: u32) -> u32 {
    u32::from_le_bytes(memory[address as usize..][..4].try_into().expect("four bytes"))
}

fn text(memory: &[u8], address: u32) -> &[u8] {
    memory[address as usize..].split(|byte| *byte == 0).next().expect("a string")
}

/// The Multiboot Specification 0.6.96, 3.2 and 3.3.
#[test]
fn a_multiboot_kernel_finds_its_information() {
    let initrd = vec![0x5a; 0x1801];
    let (start, memory) = with(&multiboot_kernel(), b"a \"b c\"", &initrd).expect("loads");
    assert_eq!((start.mode, start.rip, start.memory), (Mode::Protected, ENTRY.into(), MEMORY as u64));
    assert_eq!(start.registers.get(Gpr::Rax), 0x2bad_b002);
    let information = start.registers.low(Gpr::Rbx);
    let at = |offset| word(&memory, information + offset);
    assert_eq!(at(0), 1 | 1 << 2 | 1 << 3 | 1 << 6 | 1 << 9);
    assert_eq!((at(4), at(8)), (640, 3072));
    assert_eq!(text(&memory, at(16)), b"kernel a \"b c\"");
    assert_eq!(at(20), 1);
    let (from, to) = (word(&memory, at(24)), word(&memory, at(24) + 4));
    assert_eq!((from, to), (0x3f_e000, 0x3f_e000 + 0x1801));
    assert_eq!(memory[from as usize..to as usize], initrd);
    assert_eq!(text(&memory, word(&memory, at(24) + 8)), b"initrd");
    assert_eq!(text(&memory, at(64)), b"sel4-vpmu");
    let (mut map, end) = (at(48), at(48) + at(44));
    let mut regions = Vec::new();
    while map < end {
        regions.push((word(&memory, map + 4), word(&memory, map + 12), word(&memory, map + 20)));
        map += 4 + word(&memory, map);
    }
    assert_eq!(regions, [(0, 0xa_0000, 1), (0xa_0000, 0x6_0000, 2), (0x10_0000, 0x30_0000, 1)]);
    assert_eq!(memory[0x10_0000..0x10_0020], header(FLAGS), "the segment");
    assert!(memory[0x10_0020..0x10_1020].iter().all(|byte| *byte == 0), "what the file has not");
    assert_eq!(memory[0x10000], 0xaa);
}

#[test]
fn without_an_initrd_there_is_no_module() {
    let (start, memory) = with(&multiboot_kernel(), b"", b"").expect("loads");
    let information = start.registers.low(Gpr::Rbx);
    assert_eq!(word(&memory, information + 20), 0);
    assert_eq!(text(&memory, word(&memory, information + 16)), b"kernel ");
    assert_eq!(try_load(&multiboot_kernel()).expect("a file alone").1, memory);
}

#[test]
fn the_header_is_found_within_8192_bytes_only() {
    // The file's own headers have 84 bytes.
    for (before, found) in [(8192 - 84 - 12, true), (8192 - 84 - 8, false), (2, false)] {
        let mut bytes = vec![0; before];
        bytes.extend(header(0));
        bytes.resize(9000, 0);
        let result = try_load(&elf32(&bytes)).map(|_| ());
        assert_eq!(result, if found { Ok(()) } else { Err(LoadError::NoMultibootHeader) }, "{before}");
    }
    let mut wrong_sum = multiboot_kernel();
    wrong_sum[84 + 8] ^= 1;
    assert_eq!(try_load(&wrong_sum).map(|_| ()), Err(LoadError::NoMultibootHeader));
}

/// 3.1.1: bits 15:0 are requests, bits 31:16 may be ignored; bit 16 would change what is loaded.
#[test]
fn requests_that_cannot_be_met_are_refused_by_name() {
    let flags = |flags| try_load(&elf32(&header(flags))).map(|_| ());
    for met in [0, 1, 2, 3, 1 << 17, 1 << 31] {
        assert_eq!(flags(met), Ok(()), "{met:#x}");
    }
    for bit in 2..=16 {
        assert_eq!(flags(1 << bit | 3), Err(LoadError::Multiboot(HeaderError::Flag(bit))));
    }
    assert!(flags(4).expect_err("refused").to_string().contains("video mode"));
    assert!(flags(1 << 16).expect_err("refused").to_string().contains("addresses"));
    assert!(flags(8).expect_err("refused").to_string().contains("flag 3"));
}

#[test]
fn an_initrd_that_does_not_fit_is_refused() {
    let kernel = multiboot_kernel();
    // The kernel ends at 0x10_1020, so that pages from 0x10_2000 on are free.
    let free = MEMORY - 0x10_2000;
    let (_, memory) = with(&kernel, b"", &vec![1; free]).expect("fits");
    assert_eq!((memory[0x10_1fff], memory[0x10_2000]), (0xaa, 1));
    let refused = with(&kernel, b"", &vec![1; free + 1]).map(|_| ());
    assert_eq!(refused, Err(LoadError::Initrd { size: free as u64 + 1, free: free as u64 }));
}

#[test]
fn a_command_line_that_is_too_long_or_holds_a_zero_is_refused() {
    let kernel = multiboot_kernel();
    let longest = vec![b'a'; LONGEST_COMMAND_LINE];
    let (start, memory) = with(&kernel, &longest, b"").expect("fits");
    let line = text(&memory, word(&memory, start.registers.low(Gpr::Rbx) + 16));
    assert_eq!(line.len(), b"kernel ".len() + LONGEST_COMMAND_LINE);
    let length = LONGEST_COMMAND_LINE + 1;
    let refused = with(&kernel, &vec![b'a'; length], b"").map(|_| ());
    assert_eq!(refused, Err(LoadError::CommandLine { length }));
    assert_eq!(with(&kernel, b"a\0b", b"").map(|_| ()), Err(LoadError::CommandLineZero));
}

#[test]
fn a_plain_64_bit_file_takes_neither_command_line_nor_initrd() {
    let kernel = super::elf::tests::plain();
    let (start, memory) = try_load(&kernel).expect("loads");
    assert_eq!(start, Start::long(0x10_0000, MEMORY as u64));
    assert_eq!(memory[0x1000..0x1008], [3, 0x20, 0, 0, 0, 0, 0, 0], "the first page table");
    assert_eq!(with(&kernel, b"", b"").map(|(start, _)| start), Ok(start));
    assert_eq!(with(&kernel, b"a", b"").map(|_| ()), Err(LoadError::NoCommandLine));
    assert_eq!(with(&kernel, b"", b"a").map(|_| ()), Err(LoadError::NoInitrd));
}

#[test]
fn too_little_memory_is_refused() {
    let size = LEAST_MEMORY - 1;
    let mut memory = vec![0xaa; usize::try_from(size).expect("small")];
    assert_eq!(load(&multiboot_kernel(), &mut memory), Err(LoadError::Memory { size }));
    assert!(memory.iter().all(|byte| *byte == 0xaa));
    memory.push(0);
    assert!(load(&multiboot_kernel(), &mut memory).is_ok());
}

#[test]
fn a_container_that_is_cut_off_is_refused() {
    let kernel = multiboot_kernel();
    let whole = file(&Container { kernel: &kernel, command_line: b"args", initrd: b"sixteen bytes ok" });
    assert!(try_load(&whole).is_ok());
    for length in 8..whole.len() {
        assert_eq!(try_load(&whole[..length]).map(|_| ()), Err(LoadError::Container), "{length}");
    }
    for (word, size) in [(1, u64::MAX), (2, u64::MAX - 7), (3, 17)] {
        let mut wrong = whole.clone();
        wrong[word * 8..][..8].copy_from_slice(&u64::to_le_bytes(size));
        assert_eq!(try_load(&wrong).map(|_| ()), Err(LoadError::Container), "{word} {size:#x}");
    }
}

/// Any byte of a container's or kernel's headers changed: an answer, never a panic.
#[test]
fn every_changed_byte_gives_an_answer() {
    let kernel = multiboot_kernel();
    let good = file(&Container { kernel: &kernel, command_line: b"args", initrd: b"disk" });
    let mut memory = vec![0; MEMORY];
    for offset in 0..container::HEADER + 84 + 12 {
        for value in [0, 1, 0x7f, 0x80, 0xff] {
            let mut bad = good.clone();
            bad[offset] = value;
            let _ = load(&bad, &mut memory);
        }
    }
}

/// A bzImage whose protected-mode kernel is these bytes, with a header as Linux 6.1 has it.
fn bzimage(kernel: &[u8]) -> Vec<u8> {
    let mut file = vec![0; 1024];
    let paragraphs = u32::try_from(kernel.len().div_ceil(16)).expect("small");
    file[0x1f1] = 1;
    file[0x1f4..0x1f8].copy_from_slice(&paragraphs.to_le_bytes());
    file[0x1fe..0x208].copy_from_slice(&[0x55, 0xaa, 0xeb, 0x6a, b'H', b'd', b'r', b'S', 0x0f, 0x02]);
    file[0x211] = 1;
    file[0x22c..0x230].copy_from_slice(&0x7fff_ffff_u32.to_le_bytes());
    file[0x236] = 1;
    file[0x238..0x23c].copy_from_slice(&2047_u32.to_le_bytes());
    file[0x258..0x25c].copy_from_slice(&0x100_0000_u32.to_le_bytes());
    file[0x260..0x264].copy_from_slice(&0x200_0000_u32.to_le_bytes());
    file.extend(kernel);
    file
}

fn linux(
    kernel: &[u8],
    command_line: &[u8],
    initrd: &[u8],
    size: usize,
) -> Result<(Start, Vec<u8>), LoadError> {
    let mut memory = vec![0; size];
    let image = file(&Container { kernel, command_line, initrd });
    let result = load(&image, &mut memory);
    assert!(result.is_ok() || memory == vec![0; size], "memory changed by a refused image");
    result.map(|start| (start, memory))
}

const LINUX_MEMORY: usize = 128 << 20;

/// The Linux/x86 Boot Protocol, "64-bit Boot Protocol".
#[test]
fn linux_is_entered_at_its_64_bit_entry_with_its_parameters() {
    let kernel = vec![0x90; 0x1000];
    let (start, memory) =
        linux(&bzimage(&kernel), b"console=ttyS0 x=\"a b\"", b"initrd!", LINUX_MEMORY).expect("loads");
    assert_eq!((start.mode, start.rip), (Mode::Long, 0x100_0200));
    let parameters = u32::try_from(start.registers.get(Gpr::Rsi)).expect("low");
    assert_eq!(memory[0x100_0000..0x100_1000], kernel);
    let at = |offset| word(&memory, parameters + offset);
    assert_eq!(at(0x202), u32::from_le_bytes(*b"HdrS"));
    assert_eq!(memory[parameters as usize + 0x210], 0xff, "the loader's type");
    let command_line = at(0x228) as usize;
    assert!(memory[command_line..].starts_with(b"console=ttyS0 x=\"a b\"\0"));
    let (initrd, size) = (at(0x218) as usize, at(0x21c) as usize);
    assert_eq!(&memory[initrd..initrd + size], b"initrd!");
    assert!(initrd >= 0x100_0000 + 0x200_0000, "the initrd is above what the kernel unpacks into");
    // The memory map: 640 KiB, reserved to 1 MiB, the rest.
    assert_eq!(memory[parameters as usize + 0x1e8], 3);
    let entry = |i: u32| [0, 8, 16].map(|offset| at(0x2d0 + 20 * i + offset));
    assert_eq!(entry(0), [0, 0xa_0000, 1]);
    assert_eq!(entry(1), [0xa_0000, 0x6_0000, 2]);
    assert_eq!(entry(2), [0x10_0000, 0x7f0_0000, 1]);
    assert_eq!(word(&memory, at(0x70)), u32::from_le_bytes(*b"RSD "));
}

#[test]
fn a_linux_kernel_that_cannot_be_started_is_refused() {
    let good = bzimage(&vec![0x90; 0x1000]);
    let changed = |at: usize, byte: u8| {
        let mut file = good.clone();
        file[at] = byte;
        linux(&file, b"", b"", LINUX_MEMORY).map(drop)
    };
    assert_eq!(changed(0x236, 0), Err(LinuxError::No64BitEntry.into()), "no 64-bit entry");
    assert_eq!(changed(0x206, 0x0b), Err(LinuxError::No64BitEntry.into()), "version 2.11 has no such flag");
    assert_eq!(changed(0x211, 0), Err(LinuxError::Low.into()));
    assert_eq!(changed(0x1f5, 0x10), Err(LinuxError::Truncated.into()));
    assert_eq!(changed(0x1f1, 200), Err(LinuxError::Truncated.into()));
    assert_eq!(changed(0x263, 0x10), Err(LinuxError::DoesNotFit { end: 0x1100_0000 }.into()));
    assert_eq!(changed(0x25b, 0xff), Err(LinuxError::DoesNotFit { end: 0x1_0100_0000 }.into()));
    let cut = linux(&good[..good.len() - 0x800], b"", b"", LINUX_MEMORY);
    assert_eq!(cut.map(drop), Err(LinuxError::Truncated.into()));
    let small = linux(&good, b"", b"", LINUX_MEMORY - (2 << 20));
    assert_eq!(small.map(drop), Err(LinuxError::Memory { size: 126 << 20 }.into()));
    let initrd = vec![0; 90 << 20];
    let large = linux(&good, b"", &initrd, LINUX_MEMORY);
    assert_eq!(large.map(drop), Err(LoadError::Initrd { size: 90 << 20, free: 80 << 20 }));
    let mut short = good.clone();
    short[0x238..0x23c].copy_from_slice(&8_u32.to_le_bytes());
    assert_eq!(
        linux(&short, b"nine byte", b"", LINUX_MEMORY).map(drop),
        Err(LinuxError::CommandLine { longest: 8 }.into())
    );
    // Not a bzImage at all: the magic is missing.
    assert!(matches!(changed(0x202, b'X'), Err(LoadError::Elf(_))));
}

/// [`elf32`] with its segment of this size in memory at this address.
fn elf32_at(address: u32, size: u32) -> Vec<u8> {
    let mut file = multiboot_kernel();
    for (at, value) in [(24, address), (52 + 12, address), (52 + 20, size)] {
        file[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }
    file
}

/// A kernel below 1 MiB has the information where none of its segments is.
#[test]
fn a_low_kernel_gets_the_information_elsewhere() {
    for (address, size, place) in [
        (0x1000, 0x7000, 0x8000),
        (0x8000, 0x1000, 0x9_e000),
        (0x9fff, 0x9000, 0x9_e000),
        (0x4000, 0x9_a001, 0x2000),
        (0x3000, 0x9_d000, 0x1000),
    ] {
        let (start, memory) = with(&elf32_at(address, size), b"line", b"initrd").expect("loads");
        let information = start.registers.low(Gpr::Rbx);
        assert_eq!(information, place, "{address:#x}");
        assert_eq!(text(&memory, word(&memory, information + 16)), b"kernel line");
        let segment = &memory[address as usize..][..size as usize];
        assert_eq!(segment[..32], header(FLAGS));
        assert!(segment[32..].iter().all(|byte| *byte == 0), "nothing of ours is in the kernel");
    }
    let refused = |address, size| with(&elf32_at(address, size), b"", b"").map(|_| ());
    assert_eq!(refused(0x2000, 0x9_e000), Err(LoadError::Information));
    assert!(matches!(
        refused(0xff0, 0x1000),
        Err(LoadError::Elf(ElfError::OutsideMemory { lowest: 0x1000, .. }))
    ));
}

/// A kernel that resets itself finds what it left in low memory, and at first nothing.
#[test]
fn low_memory_of_a_multiboot_kernel_is_left_alone() {
    let (_, memory) = try_load(&multiboot_kernel()).expect("loads");
    assert!(memory[..0x7000].iter().all(|byte| *byte == 0xaa));
}
