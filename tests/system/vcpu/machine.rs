// The guest's memory and its VCPU in 64-bit mode.

use crate::program::{CODE, PAGE_DIRECTORY, PDPT, PML4};
use core::ptr::NonNull;
use sel4_microkit::Error;
use sel4_microkit::vcpu::Vcpu;
use x86::vmx::vmcs::{control, guest};

/// The guest's memory, as the monitor sees it.
pub struct Ram(NonNull<u8>);

impl Ram {
    pub fn new() -> Self {
        Self(sel4_microkit::memory_region_symbol!(guest_ram_vaddr: *mut u8))
    }

    pub fn write(&self, address: usize, bytes: &[u8]) {
        for (i, &byte) in bytes.iter().enumerate() {
            // SAFETY: every address that the test uses is inside the region of 2 MiB.
            unsafe { self.0.add(address + i).write_volatile(byte) };
        }
    }

    #[allow(dead_code)] // one of the tests does not
    pub fn read<const N: usize>(&self, address: usize) -> [u8; N] {
        // SAFETY: as above.
        core::array::from_fn(|i| unsafe { self.0.add(address + i).read_volatile() })
    }

    /// The first 2 MiB one to one, in one large page (SDM 4.5.4).
    pub fn map_identity(&self) {
        const PRESENT_WRITE: u64 = 0x3;
        const LARGE: u64 = 1 << 7;
        self.write(PML4, &(PDPT as u64 | PRESENT_WRITE).to_le_bytes());
        self.write(PDPT, &(PAGE_DIRECTORY as u64 | PRESENT_WRITE).to_le_bytes());
        self.write(PAGE_DIRECTORY, &(LARGE | PRESENT_WRITE).to_le_bytes());
    }

    pub fn load(&self, code: &[u8]) {
        self.write(CODE, code);
    }
}

/// CR0: PE, ET, NE, PG.
const CR0: u64 = 0x8000_0031;
/// CR4: PAE, OSFXSR, OSXMMEXCPT.
const CR4: u64 = 1 << 5 | 1 << 9 | 1 << 10;
/// IA32_EFER: LME, LMA.
const EFER: u64 = 0x500;
/// VM-entry controls: IA-32e mode guest, load IA32_EFER (SDM 25.8.1).
const ENTRY_CONTROLS: u64 = 1 << 9 | 1 << 15;
/// Secondary controls: EPT, unrestricted guest (SDM 25.6.2).
const SECONDARY_CONTROLS: u64 = 1 << 1 | 1 << 7;

/// Segments as VM entry wants them (SDM 27.3.1.2): selector, limit, access rights.
const CODE_64: [u64; 3] = [0x08, 0xffff_ffff, 0xa09b];
const DATA: [u64; 3] = [0x10, 0xffff_ffff, 0xc093];
const UNUSABLE: [u64; 3] = [0, 0xffff, 0x1_0000];
const BUSY_TSS: [u64; 3] = [0x18, 0xffff, 0x8b];

pub fn start_in_64_bit_mode(vcpu: Vcpu) -> Result<(), Error> {
    let set = |field, value| vcpu.write_vmcs(field, value);
    // ES, CS, SS, DS, FS, GS, LDTR, TR: their fields are two apart.
    let segments = [DATA, CODE_64, DATA, DATA, DATA, DATA, UNUSABLE, BUSY_TSS];
    for (i, [selector, limit, rights]) in (0..).map(|i: u32| 2 * i).zip(segments) {
        set(guest::ES_SELECTOR + i, selector)?;
        set(guest::ES_LIMIT + i, limit)?;
        set(guest::ES_ACCESS_RIGHTS + i, rights)?;
        set(guest::ES_BASE + i, 0)?;
    }
    for field in [guest::GDTR_LIMIT, guest::IDTR_LIMIT, guest::GDTR_BASE, guest::IDTR_BASE] {
        set(field, 0)?;
    }
    set(guest::DR7, 0x400)?;
    set(guest::RFLAGS, 2)?;
    set(control::SECONDARY_PROCBASED_EXEC_CONTROLS, SECONDARY_CONTROLS)?;
    set(control::VMENTRY_CONTROLS, ENTRY_CONTROLS)?;
    set(guest::IA32_EFER_FULL, EFER)?;
    set(guest::CR3, PML4 as u64)?;
    set(guest::CR4, CR4)?;
    set(guest::CR0, CR0)?;
    Ok(())
}
