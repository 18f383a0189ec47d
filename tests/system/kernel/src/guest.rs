//! The state that a guest starts with.

use crate::memory::{write_guest, write_guest_word};
use crate::root::Root;
use crate::vmcs;
use sel4_abi::CPtr;

/// Guest-physical addresses.
pub const CODE: usize = 0x1000;
const PML4: usize = 0x2000;
const PDPT: usize = 0x3000;
const PAGE_DIRECTORY: usize = 0x4000;
/// Words that a program reads or writes.
pub const DATA: usize = 0x5000;
const STACK_TOP: u64 = 0x6800;
const IDT: usize = 0x7000;
const GDT: usize = 0x8000;
/// The vector that the tests inject for a PMI.
pub const PMI_VECTOR: u64 = 0x30;
/// The code selector of 64-bit and 32-bit guests.
const CODE_SELECTOR: u64 = 8;
const DATA_SELECTOR: u64 = 16;

/// Present and writable.
const TABLE: u64 = 3;
/// Present, writable, a large page.
const LARGE_PAGE: u64 = 0x83;

const CR0_PE: u64 = 1;
const CR0_NE: u64 = 1 << 5;
const CR0_ET: u64 = 1 << 4;
const CR0_PG: u64 = 1 << 31;
const CR4_PAE: u64 = 1 << 5;
const CR4_OSFXSR: u64 = 1 << 9;
const CR4_PCE: u64 = 1 << 8;
const EFER_LME_LMA: u64 = 0x500;
/// RFLAGS: the bit that is always set.
const RFLAGS: u64 = 2;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    Real,
    Protected,
    Long,
}

/// Code selector, limit, access rights; the same for data; the base of all.
type Segments = ((u64, u64, u64), (u64, u64, u64));

impl Mode {
    fn segments(self) -> Segments {
        match self {
            Mode::Real => ((0, 0xffff, 0x9b), (0, 0xffff, 0x93)),
            Mode::Protected => ((CODE_SELECTOR, 0xffff_ffff, 0xc09b), (DATA_SELECTOR, 0xffff_ffff, 0xc093)),
            Mode::Long => ((CODE_SELECTOR, 0xffff_ffff, 0xa09b), (DATA_SELECTOR, 0xffff_ffff, 0xc093)),
        }
    }

    fn cr0(self) -> u64 {
        CR0_NE
            | CR0_ET
            | match self {
                Mode::Real => 0,
                Mode::Protected => CR0_PE,
                Mode::Long => CR0_PE | CR0_PG,
            }
    }
}

/// Fills the tables that all guests share: page tables that map 2 MiB one to one, a GDT.
pub fn fill_tables() {
    write_guest_word(PML4, PDPT as u64 | TABLE);
    write_guest_word(PDPT, PAGE_DIRECTORY as u64 | TABLE);
    write_guest_word(PAGE_DIRECTORY, LARGE_PAGE);
    write_guest_word(GDT + 8, 0x00af_9b00_0000_ffff);
    write_guest_word(GDT + 16, 0x00cf_9300_0000_ffff);
}

/// Puts a handler at `address` and into the IDT as the PMI's.
pub fn install_handler(address: usize, code: &[u8]) {
    write_guest(address, code);
    let offset = address as u64;
    let gate = IDT + usize::try_from(PMI_VECTOR).unwrap_or_default() * 16;
    // An interrupt gate (SDM 6.14.1).
    write_guest_word(gate, offset & 0xffff | CODE_SELECTOR << 16 | 0x8e00 << 32 | (offset >> 16) << 48);
    write_guest_word(gate + 8, 0);
}

/// Writes the state of a guest that is about to start in `mode`.
pub fn initialise(root: &mut Root, vcpu: CPtr, mode: Mode, stack_offset: u64) {
    let long = mode == Mode::Long;
    let mut write = |field, value| {
        let written = root.ipc.vcpu_write_vmcs(vcpu, field, value);
        written.unwrap_or_else(|error| panic!("VMCS field {field:#x}: {error}"))
    };
    let (code, data) = mode.segments();
    for i in 0..8 {
        let (selector, limit, rights) = match i {
            1 => code,
            6 => (0, 0xffff, 0x1_0000),
            7 => (0, 0xffff, 0x8b),
            _ => data,
        };
        write(vmcs::GUEST_ES_SELECTOR + 2 * i, selector);
        write(vmcs::GUEST_ES_LIMIT + 2 * i, limit);
        write(vmcs::GUEST_ES_ACCESS_RIGHTS + 2 * i, rights);
        write(vmcs::GUEST_ES_BASE + 2 * i, 0);
    }
    write(vmcs::GUEST_GDTR_LIMIT, 0x1f);
    write(vmcs::GUEST_GDTR_BASE, GDT as u64);
    write(vmcs::GUEST_IDTR_LIMIT, 0xfff);
    write(vmcs::GUEST_IDTR_BASE, IDT as u64);
    write(vmcs::GUEST_DR7, 0x400);
    write(vmcs::GUEST_RSP, STACK_TOP - stack_offset);
    write(vmcs::GUEST_RFLAGS, RFLAGS);
    write(vmcs::GUEST_INTERRUPTIBILITY, 0);
    write(vmcs::GUEST_ACTIVITY, 0);
    write(vmcs::SECONDARY_CONTROLS, vmcs::SECONDARY_EPT | vmcs::SECONDARY_UNRESTRICTED_GUEST);
    write(vmcs::PIN_CONTROLS, 0);
    write(vmcs::EXIT_CONTROLS, 0);
    write(vmcs::ENTRY_CONTROLS, vmcs::ENTRY_LOAD_EFER | if long { vmcs::ENTRY_IA32E } else { 0 });
    write(vmcs::GUEST_EFER, if long { EFER_LME_LMA } else { 0 });
    write(vmcs::GUEST_CR0, mode.cr0());
    write(vmcs::GUEST_CR4, CR4_OSFXSR | CR4_PCE | if long { CR4_PAE } else { 0 });
    write(vmcs::GUEST_CR3, if long { PML4 as u64 } else { 0 });
}
