//! The state in which a guest starts: flat segments, interrupts off, no IDT. [`crate::loader`] chooses the mode and
//! the registers.

use crate::arch::{
    DR7_RESET, Field, PAGE, PAT_RESET, PREEMPTION_TIMER_LONGEST, activity, cr0, cr4, efer, entry_control,
    exit_control, pin, primary, rflags, secondary,
};
use crate::control::{CR0_MASK, CR4_MASK};
use crate::registers::{Gpr, Registers};
use crate::vcpu::Vcpu;

/// The mode in which a guest starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// 32-bit protected mode without paging.
    Protected,
    /// 64-bit mode with the first 4 GiB mapped one to one by the tables of [`write_tables`].
    Long,
}

/// How a guest starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Start {
    /// The mode.
    pub mode: Mode,
    /// The first instruction.
    pub rip: u64,
    /// The general-purpose registers; RSP is [`STACK`].
    pub registers: Registers,
    /// The size of the guest's memory in bytes.
    pub memory: u64,
    /// The rate of the time-stamp counter in Hz, which the guest's devices keep time by and CPUID shows. Without it, the
    /// guest does not know it, and the devices take it for 1 GHz.
    pub tsc_hz: Option<u64>,
}

impl Start {
    /// A 64-bit guest of this project: RDI holds the size of its memory.
    pub fn long(rip: u64, memory: u64) -> Self {
        let mut registers = Registers::default();
        registers.set(Gpr::Rdi, memory);
        Self { mode: Mode::Long, rip, registers, memory, tsc_hz: None }
    }
}

/// Top of a small stack.
pub const STACK: u64 = 0x10000;
/// Page tables: one PML4, one PDPT, four page directories of 2 MiB pages.
const PML4: u64 = 0x1000;
const PDPT: u64 = 0x2000;
const DIRECTORIES: u64 = 0x3000;
const GDT: u64 = 0x7000;
/// Guest memory below this address holds what the guest starts with.
pub const LOWEST: u64 = 0x10000;

/// Selectors in our GDT.
const LONG_CODE: u64 = 0x08;
const DATA: u64 = 0x10;
const TSS: u64 = 0x18;
const PROTECTED_CODE: u64 = 0x20;
/// Descriptors (SDM vol. 3A, 3.4.5): 64-bit code; data; room for a TSS; 32-bit code.
const GDT_ENTRIES: [u64; 5] = [0, 0x00af_9b00_0000_ffff, 0x00cf_9300_0000_ffff, 0, 0x00cf_9b00_0000_ffff];
/// Access rights as the VMCS has them (SDM vol. 3C, table 25-2).
const LONG_CODE_RIGHTS: u64 = 0xa09b;
const PROTECTED_CODE_RIGHTS: u64 = 0xc09b;
const DATA_RIGHTS: u64 = 0xc093;
const TSS_RIGHTS: u64 = 0x8b;
const UNUSABLE: u64 = 1 << 16;
/// Page-table entries: present, writable; and a 2 MiB page.
const TABLE: u64 = 3;
const LARGE_PAGE: u64 = 0x83;
const LARGE: u64 = 0x20_0000;

/// Primary controls: everything that reaches the host exits.
pub const PRIMARY: u64 = primary::HLT
    | primary::MWAIT
    | primary::RDPMC
    | primary::CR8_LOAD
    | primary::CR8_STORE
    | primary::MOV_DR
    | primary::UNCONDITIONAL_IO
    | primary::MONITOR
    | primary::SECONDARY;

/// Writes the page tables and the GDT into guest memory.
///
/// # Panics
/// If memory ends below [`LOWEST`].
pub fn write_tables(memory: &mut [u8]) {
    write_gdt(memory);
    let mut put = putter(memory);
    put(PML4, PDPT | TABLE);
    for i in 0..4 {
        put(PDPT + i * 8, (DIRECTORIES + i * PAGE) | TABLE);
    }
    for i in 0..4 * 512 {
        put(DIRECTORIES + i * 8, (i * LARGE) | LARGE_PAGE);
    }
}

/// Writes the GDT alone, which is all that a guest in [`Mode::Protected`] starts with.
///
/// # Panics
/// If memory ends below [`LOWEST`].
pub fn write_gdt(memory: &mut [u8]) {
    let mut put = putter(memory);
    for (i, entry) in (0..).zip(GDT_ENTRIES) {
        put(GDT + i * 8, entry);
    }
}

/// What writes words below [`LOWEST`].
fn putter(memory: &mut [u8]) -> impl FnMut(u64, u64) {
    assert!(memory.len() as u64 >= LOWEST, "guest memory ends below {LOWEST:#x}");
    |address: u64, value: u64| {
        let at = usize::try_from(address).unwrap_or(usize::MAX);
        memory[at..at + 8].copy_from_slice(&value.to_le_bytes());
    }
}

/// Sets the VMCS up. The general-purpose registers and RIP go with the first entry.
pub fn write_vmcs<V: Vcpu>(vcpu: &mut V, mode: Mode) {
    use Field::*;
    let (code, code_rights) = match mode {
        Mode::Protected => (PROTECTED_CODE, PROTECTED_CODE_RIGHTS),
        Mode::Long => (LONG_CODE, LONG_CODE_RIGHTS),
    };
    // SDM vol. 3A, 4.1.1: long mode is paging with PAE and LME; without paging, the rest is as after reset.
    let long = |bits| if mode == Mode::Long { bits } else { 0 };
    // Selector, limit, access rights and base of ES, CS, SS, DS, FS, GS, LDTR, TR.
    let segments = [
        ([GuestEsSelector, GuestEsLimit, GuestEsAccessRights, GuestEsBase], DATA, DATA_RIGHTS),
        ([GuestCsSelector, GuestCsLimit, GuestCsAccessRights, GuestCsBase], code, code_rights),
        ([GuestSsSelector, GuestSsLimit, GuestSsAccessRights, GuestSsBase], DATA, DATA_RIGHTS),
        ([GuestDsSelector, GuestDsLimit, GuestDsAccessRights, GuestDsBase], DATA, DATA_RIGHTS),
        ([GuestFsSelector, GuestFsLimit, GuestFsAccessRights, GuestFsBase], DATA, DATA_RIGHTS),
        ([GuestGsSelector, GuestGsLimit, GuestGsAccessRights, GuestGsBase], DATA, DATA_RIGHTS),
        ([GuestLdtrSelector, GuestLdtrLimit, GuestLdtrAccessRights, GuestLdtrBase], 0, UNUSABLE),
        ([GuestTrSelector, GuestTrLimit, GuestTrAccessRights, GuestTrBase], TSS, TSS_RIGHTS),
    ];
    for ([selector, limit, rights, base], value, access) in segments {
        vcpu.write(selector, value);
        vcpu.write(limit, if access & 0x10 != 0 { u64::from(u32::MAX) } else { 0xffff });
        vcpu.write(rights, access);
        vcpu.write(base, 0);
    }
    let fields = [
        (GuestGdtrBase, GDT),
        // Up to the highest selector in force.
        (GuestGdtrLimit, code.max(DATA) + 7),
        (GuestIdtrBase, 0),
        (GuestIdtrLimit, 0),
        (PinControls, pin::VIRTUAL_NMIS | pin::PREEMPTION_TIMER),
        (PreemptionTimer, PREEMPTION_TIMER_LONGEST),
        (PrimaryControls, PRIMARY),
        (SecondaryControls, SECONDARY),
        (ExitControls, exit_control::SAVE_PREEMPTION_TIMER),
        (
            EntryControls,
            entry_control::LOAD_DEBUG
                | entry_control::LOAD_PAT
                | entry_control::LOAD_EFER
                | long(entry_control::IA32E_GUEST),
        ),
        (ExceptionBitmap, EXCEPTIONS),
        (GuestCr0, cr0::PE | cr0::ET | cr0::NE | long(cr0::WP | cr0::PG)),
        (Cr0Mask, CR0_MASK),
        (Cr0ReadShadow, cr0::PE | cr0::ET | long(cr0::WP | cr0::PG)),
        (GuestCr3, long(PML4)),
        (GuestCr4, cr4::VMXE | long(cr4::PAE | cr4::OSFXSR | cr4::OSXMMEXCPT)),
        (Cr4Mask, CR4_MASK),
        (Cr4ReadShadow, 0),
        (GuestEfer, long(efer::LME | efer::LMA)),
        (GuestPat, PAT_RESET),
        (GuestDebugctl, 0),
        (GuestDr7, DR7_RESET),
        (GuestRflags, rflags::FIXED),
        (GuestRsp, STACK),
        (GuestInterruptibility, 0),
        (GuestActivity, activity::ACTIVE),
        (GuestPendingDebug, 0),
    ];
    for (field, value) in fields {
        vcpu.write(field, value);
    }
}

/// Secondary controls of every guest.
pub const SECONDARY: u64 =
    secondary::EPT | secondary::VPID | secondary::WBINVD | secondary::UNRESTRICTED_GUEST;
/// #AC, which a guest can raise without end while it delivers #AC, and #MC, which is the host's business.
pub const EXCEPTIONS: u64 = 1 << crate::arch::vector::AC | 1 << crate::arch::vector::MC;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vm::tests::double::Playback;
    use std::collections::HashMap;

    fn fields(mode: Mode) -> HashMap<u32, u64> {
        let mut vcpu = Playback::default();
        write_vmcs(&mut vcpu, mode);
        vcpu.fields
    }

    /// The Multiboot Specification 0.6.96, 3.2; SDM vol. 3C, 27.3.1.
    #[test]
    fn protected_mode_is_flat_with_32_bit_code_and_without_paging() {
        let fields = fields(Mode::Protected);
        let field = |field: Field| fields[&(field as u32)];
        assert_eq!(field(Field::GuestCr0) & (cr0::PE | cr0::PG), cr0::PE);
        assert_eq!(
            (field(Field::GuestEfer), field(Field::EntryControls) & entry_control::IA32E_GUEST),
            (0, 0)
        );
        // Granularity, 32 bits, present, code, readable, accessed.
        assert_eq!(field(Field::GuestCsAccessRights), 0xc09b);
        assert_eq!((field(Field::GuestCsLimit), field(Field::GuestCsBase)), (u32::MAX.into(), 0));
        assert_eq!((field(Field::GuestSsLimit), field(Field::GuestDsBase)), (u32::MAX.into(), 0));
        assert_eq!(
            field(Field::GuestRflags) & (rflags::IF | 1 << 17),
            0,
            "no interrupts, no virtual-8086 mode"
        );
    }

    #[test]
    fn long_mode_has_its_controls() {
        let fields = fields(Mode::Long);
        let field = |field: Field| fields[&(field as u32)];
        assert_ne!(field(Field::EntryControls) & entry_control::IA32E_GUEST, 0);
        assert_eq!(field(Field::GuestEfer), efer::LME | efer::LMA);
        assert_eq!(field(Field::GuestCsAccessRights), 0xa09b);
        assert_ne!(field(Field::GuestCr4) & cr4::PAE, 0);
    }

    /// The selectors in force are those of the GDT, so that a guest can load them again.
    #[test]
    fn the_gdt_has_the_segments_in_force() {
        let mut memory = vec![0; 0x10000];
        write_tables(&mut memory);
        for mode in [Mode::Protected, Mode::Long] {
            let fields = fields(mode);
            for (selector, rights) in [
                (Field::GuestCsSelector, Field::GuestCsAccessRights),
                (Field::GuestDsSelector, Field::GuestDsAccessRights),
            ] {
                let at = usize::try_from(GDT + fields[&(selector as u32)]).expect("small");
                let entry = u64::from_le_bytes(memory[at..at + 8].try_into().expect("eight bytes"));
                assert_eq!(entry >> 40 & 0xf0ff, fields[&(rights as u32)], "{mode:?} {selector:?}");
            }
        }
    }
}
