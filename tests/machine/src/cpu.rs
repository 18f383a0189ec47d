//! Instructions as functions. The kernels own the whole machine: no caller can break memory safety with an MSR
//! of the PMU or a local APIC register, so the wrappers are safe.

use crate::traps;
use core::arch::asm;

/// The local APIC's registers, where they are after reset.
const APIC: *mut u32 = 0xFEE0_0000 as *mut u32;
/// Local APIC register offsets (SDM volume 3, table 11-1).
pub mod apic {
    /// End of interrupt.
    pub const EOI: usize = 0xB0;
    /// Spurious vector; bit 8 enables the APIC.
    pub const SPURIOUS: usize = 0xF0;
    /// LVT timer.
    pub const LVT_TIMER: usize = 0x320;
    /// LVT performance counters.
    pub const LVT_PC: usize = 0x340;
    /// Timer initial count.
    pub const TIMER_COUNT: usize = 0x380;
    /// Timer divisor.
    pub const TIMER_DIVISOR: usize = 0x3E0;
}

/// CPUID with ECX 0: EAX, EBX, ECX, EDX.
pub fn cpuid(leaf: u32) -> [u32; 4] {
    let result = core::arch::x86_64::__cpuid_count(leaf, 0);
    [result.eax, result.ebx, result.ecx, result.edx]
}

/// Halves of a register pair.
fn join(high: u32, low: u32) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}

/// EDX and EAX of a value.
#[allow(clippy::cast_possible_truncation)] // halves, on purpose
pub fn split(value: u64) -> (u32, u32) {
    ((value >> 32) as u32, value as u32)
}

/// RDMSR; `None` if it is #GP.
pub fn rdmsr(msr: u32) -> Option<u64> {
    let (high, low): (u32, u32);
    let guard = traps::Guard::new();
    // SAFETY: reads a register; the guard steps over a #GP.
    unsafe { asm!("rdmsr", in("ecx") msr, inout("eax") 0 => low, inout("edx") 0 => high) };
    if guard.faulted() { None } else { Some(join(high, low)) }
}

/// WRMSR; false if it is #GP.
pub fn wrmsr(msr: u32, value: u64) -> bool {
    let (high, low) = split(value);
    let guard = traps::Guard::new();
    // SAFETY: the MSRs that the kernels write change counting and interrupts, not memory; the guard steps over
    // a #GP.
    unsafe { asm!("wrmsr", in("ecx") msr, in("eax") low, in("edx") high) };
    !guard.faulted()
}

/// RDPMC; `None` if it is #GP.
pub fn rdpmc(index: u32) -> Option<u64> {
    let (high, low): (u32, u32);
    let guard = traps::Guard::new();
    // SAFETY: reads a counter; the guard steps over a #GP.
    unsafe { asm!("rdpmc", in("ecx") index, inout("eax") 0 => low, inout("edx") 0 => high) };
    if guard.faulted() { None } else { Some(join(high, low)) }
}

/// RDTSC.
pub fn rdtsc() -> u64 {
    // SAFETY: reads a register.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// Reads a local APIC register.
pub fn apic_read(register: usize) -> u32 {
    // SAFETY: the page is the APIC's, mapped, and holds 32-bit registers at multiples of 16.
    unsafe { APIC.byte_add(register).read_volatile() }
}

/// Writes a local APIC register.
pub fn apic_write(register: usize, value: u32) {
    // SAFETY: as in `apic_read`; what the APIC delivers has a handler.
    unsafe { APIC.byte_add(register).write_volatile(value) }
}

/// STI, one NOP in its shadow, one in which a pending interrupt is taken, CLI.
pub fn take_interrupts() {
    // SAFETY: what is delivered has a handler that preserves all registers.
    unsafe { asm!("sti", "nop", "nop", "cli") }
}

/// CR0, CR3, CR4.
pub fn control_registers() -> (u64, u64, u64) {
    let (cr0, cr3, cr4): (u64, u64, u64);
    // SAFETY: reads registers.
    unsafe { asm!("mov {}, cr0", "mov {}, cr3", "mov {}, cr4", out(reg) cr0, out(reg) cr3, out(reg) cr4) };
    (cr0, cr3, cr4)
}

/// Writes CR4.
pub fn set_cr4(value: u64) {
    // SAFETY: callers change PCE and VMXE only, which do not affect memory.
    unsafe { asm!("mov cr4, {}", in(reg) value) };
}

/// Writes CR0.
pub fn set_cr0(value: u64) {
    // SAFETY: callers add the bits that VMX operation requires, which do not affect memory.
    unsafe { asm!("mov cr0, {}", in(reg) value) };
}

/// Ends the kernel without ending the machine.
pub fn halt_forever() -> ! {
    loop {
        // SAFETY: waits for ever.
        unsafe { asm!("cli", "hlt") };
    }
}
