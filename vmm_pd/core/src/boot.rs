//! The state in which a guest starts: 64-bit mode, paging on, the first 4 GiB mapped one to one. RDI holds the
//! size of RAM in bytes; RSP is [`STACK`]; interrupts are off; there is no IDT.

use crate::arch::{
    DR7_RESET, Field, PAGE, PAT_RESET, PREEMPTION_TIMER_LONGEST, activity, cr0, cr4, efer, entry_control,
    exit_control, pin, primary, rflags, secondary,
};
use crate::control::{CR0_MASK, CR4_MASK};
use crate::vcpu::Vcpu;

/// Top of a small stack.
pub const STACK: u64 = 0x10000;
/// Page tables: one PML4, one PDPT, four page directories of 2 MiB pages.
const PML4: u64 = 0x1000;
const PDPT: u64 = 0x2000;
const DIRECTORIES: u64 = 0x3000;
const GDT: u64 = 0x7000;
/// The least memory that a guest can have in bytes: what is below [`STACK`].
pub const LEAST_MEMORY: usize = 0x10000;

/// Selectors in our GDT.
const CODE: u64 = 0x08;
const DATA: u64 = 0x10;
const TSS: u64 = 0x18;
/// Descriptors (SDM vol. 3A, 3.4.5): 64-bit code; data.
const GDT_ENTRIES: [u64; 3] = [0, 0x00af_9b00_0000_ffff, 0x00cf_9300_0000_ffff];
/// Access rights as the VMCS has them (SDM vol. 3C, table 25-2).
const CODE_RIGHTS: u64 = 0xa09b;
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
/// If there is less than [`LEAST_MEMORY`].
pub fn write_tables(memory: &mut [u8]) {
    assert!(memory.len() >= LEAST_MEMORY, "guest_ram is smaller than {LEAST_MEMORY:#x} bytes");
    let mut put = |address: u64, value: u64| {
        let at = usize::try_from(address).unwrap_or(usize::MAX);
        memory[at..at + 8].copy_from_slice(&value.to_le_bytes());
    };
    put(PML4, PDPT | TABLE);
    for i in 0..4 {
        put(PDPT + i * 8, (DIRECTORIES + i * PAGE) | TABLE);
    }
    for i in 0..4 * 512 {
        put(DIRECTORIES + i * 8, (i * LARGE) | LARGE_PAGE);
    }
    for (i, entry) in (0..).zip(GDT_ENTRIES) {
        put(GDT + i * 8, entry);
    }
}

/// Sets the VMCS up. The general-purpose registers and RIP go with the first entry.
pub fn write_vmcs<V: Vcpu>(vcpu: &mut V) {
    use Field::*;
    // Selector, limit, access rights and base of ES, CS, SS, DS, FS, GS, LDTR, TR.
    let segments = [
        ([GuestEsSelector, GuestEsLimit, GuestEsAccessRights, GuestEsBase], DATA, DATA_RIGHTS),
        ([GuestCsSelector, GuestCsLimit, GuestCsAccessRights, GuestCsBase], CODE, CODE_RIGHTS),
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
        (GuestGdtrLimit, GDT_ENTRIES.len() as u64 * 8 - 1),
        (GuestIdtrBase, 0),
        (GuestIdtrLimit, 0),
        (PinControls, pin::VIRTUAL_NMIS | pin::PREEMPTION_TIMER),
        (PreemptionTimer, PREEMPTION_TIMER_LONGEST),
        (PrimaryControls, PRIMARY),
        (SecondaryControls, SECONDARY),
        (ExitControls, exit_control::SAVE_PREEMPTION_TIMER),
        (EntryControls, entry_control::IA32E_GUEST | entry_control::LOAD_PAT | entry_control::LOAD_EFER),
        (ExceptionBitmap, EXCEPTIONS),
        (GuestCr0, cr0::PE | cr0::ET | cr0::NE | cr0::WP | cr0::PG),
        (Cr0Mask, CR0_MASK),
        (Cr0ReadShadow, cr0::PE | cr0::ET | cr0::WP | cr0::PG),
        (GuestCr3, PML4),
        (GuestCr4, cr4::PAE | cr4::OSFXSR | cr4::OSXMMEXCPT | cr4::VMXE),
        (Cr4Mask, CR4_MASK),
        (Cr4ReadShadow, 0),
        (GuestEfer, efer::LME | efer::LMA),
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

const SECONDARY: u64 = secondary::EPT | secondary::VPID | secondary::WBINVD | secondary::UNRESTRICTED_GUEST;
/// #AC, which a guest can raise without end while it delivers #AC, and #MC, which is the host's business.
const EXCEPTIONS: u64 = 1 << crate::arch::vector::AC | 1 << crate::arch::vector::MC;
