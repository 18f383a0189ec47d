//! Instructions that Rust has no names for.

use crate::interrupts::{resume_at, was_resumed};
use core::arch::asm;

/// Writes a byte to an I/O port.
pub fn outb(port: u16, value: u8) {
    // SAFETY: a guest owns its ports; the VMM's devices do not write memory.
    unsafe { asm!("out dx, al", in("dx") port, in("al") value, options(nomem, nostack, preserves_flags)) }
}

/// Reads a byte from an I/O port.
pub fn inb(port: u16) -> u8 {
    let value;
    // SAFETY: as in `outb`.
    unsafe { asm!("in al, dx", in("dx") port, out("al") value, options(nomem, nostack, preserves_flags)) }
    value
}

/// Writes 32 bits to an I/O port.
pub fn outl(port: u16, value: u32) {
    // SAFETY: as in `outb`.
    unsafe { asm!("out dx, eax", in("dx") port, in("eax") value, options(nomem, nostack, preserves_flags)) }
}

/// HLT.
pub fn halt() {
    // SAFETY: waits for an event; interrupt handlers keep all registers.
    unsafe { asm!("hlt", options(nostack, preserves_flags)) }
}

/// RDMSR of an MSR that exists.
pub fn rdmsr(msr: u32) -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: reading an MSR has no effect on memory. One that does not exist ends the guest with a report.
    unsafe {
        asm!("rdmsr", in("ecx") msr, out("eax") low, out("edx") high, options(nostack, preserves_flags))
    }
    u64::from(high) << 32 | u64::from(low)
}

/// WRMSR of a PMU or APIC register.
pub fn wrmsr(msr: u32, value: u64) {
    let [a, b, c, d, e, f, g, h] = value.to_le_bytes();
    let (low, high) = (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]));
    // SAFETY: the registers that guests write this way do not change what memory is or where it is.
    unsafe { asm!("wrmsr", in("ecx") msr, in("eax") low, in("edx") high, options(nostack, preserves_flags)) }
}

/// RDPMC of a counter that exists.
pub fn rdpmc(counter: u32) -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: reads a counter.
    unsafe { asm!("rdpmc", in("ecx") counter, out("eax") low, out("edx") high, options(nomem, nostack)) }
    u64::from(high) << 32 | u64::from(low)
}

/// The time-stamp counter.
pub fn rdtsc() -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: reads the counter.
    unsafe { asm!("rdtsc", out("eax") low, out("edx") high, options(nomem, nostack, preserves_flags)) }
    u64::from(high) << 32 | u64::from(low)
}

/// CPUID: EAX, EBX, ECX, EDX.
pub fn cpuid(leaf: u32) -> [u32; 4] {
    let result = core::arch::x86_64::__cpuid(leaf);
    [result.eax, result.ebx, result.ecx, result.edx]
}

/// CPUID with a value in ECX: EAX, EBX, ECX, EDX.
pub fn cpuid_count(leaf: u32, count: u32) -> [u32; 4] {
    let result = core::arch::x86_64::__cpuid_count(leaf, count);
    [result.eax, result.ebx, result.ecx, result.edx]
}

/// What LGDT and LIDT load.
#[repr(C, packed)]
pub struct Descriptors {
    limit: u16,
    base: u64,
}

impl Descriptors {
    /// A table of at most 64 KiB.
    pub fn new<T>(table: &'static [T]) -> Self {
        let bytes = size_of_val(table) - 1;
        Self { limit: u16::try_from(bytes).unwrap_or(u16::MAX), base: table.as_ptr().addr() as u64 }
    }
}

/// LGDT and LTR. The code and data descriptors are those that are in force.
pub fn load_gdt_and_tss(gdt: Descriptors, tss: u16) {
    // SAFETY: the table lives for ever and its segments are those in force, so that nothing changes but the TSS.
    unsafe {
        asm!("lgdt [{}]", "ltr {:x}", in(reg) &raw const gdt, in(reg) tss, options(nostack, preserves_flags))
    }
}

/// LIDT.
pub fn load_idt(idt: Descriptors) {
    // SAFETY: the table lives for ever, and every gate in it leads to a handler or nowhere.
    unsafe { asm!("lidt [{}]", in(reg) &raw const idt, options(nostack, preserves_flags)) }
}

/// STI.
pub fn enable_interrupts() {
    // SAFETY: every vector that can occur has a handler.
    unsafe { asm!("sti", options(nomem, nostack)) }
}

/// CLI.
pub fn disable_interrupts() {
    // SAFETY: only delays interrupts.
    unsafe { asm!("cli", options(nomem, nostack)) }
}

/// STI and HLT, with no interrupt between the two.
pub fn wait_for_interrupt() {
    // SAFETY: every vector that can occur has a handler.
    unsafe { asm!("sti", "hlt", "cli", options(nostack)) }
}

/// An instruction raised #GP or #UD.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault;

/// RDMSR of any MSR.
///
/// # Errors
/// It raised an exception.
pub fn try_rdmsr(msr: u32) -> Result<u64, Fault> {
    let (low, high): (u32, u32);
    // SAFETY: reads; the handlers of #GP and #UD continue after the instruction.
    unsafe {
        asm!(
            "lea {place}, [rip + 2f]",
            "mov [{resume}], {place}",
            "rdmsr",
            "2:",
            place = out(reg) _,
            resume = in(reg) resume_at().as_ptr(),
            in("ecx") msr,
            out("eax") low,
            out("edx") high,
            options(nostack),
        );
    }
    if was_resumed() { Err(Fault) } else { Ok(u64::from(high) << 32 | u64::from(low)) }
}

/// WRMSR of any PMU or APIC register.
///
/// # Errors
/// It raised an exception.
pub fn try_wrmsr(msr: u32, value: u64) -> Result<(), Fault> {
    let [a, b, c, d, e, f, g, h] = value.to_le_bytes();
    let (low, high) = (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]));
    // SAFETY: as in `wrmsr`; the handlers of #GP and #UD continue after the instruction.
    unsafe {
        asm!(
            "lea {place}, [rip + 2f]",
            "mov [{resume}], {place}",
            "wrmsr",
            "2:",
            place = out(reg) _,
            resume = in(reg) resume_at().as_ptr(),
            in("ecx") msr,
            in("eax") low,
            in("edx") high,
            options(nostack),
        );
    }
    if was_resumed() { Err(Fault) } else { Ok(()) }
}

/// RDPMC of any counter.
///
/// # Errors
/// It raised an exception.
pub fn try_rdpmc(counter: u32) -> Result<u64, Fault> {
    let (low, high): (u32, u32);
    // SAFETY: reads; the handlers of #GP and #UD continue after the instruction.
    unsafe {
        asm!(
            "lea {place}, [rip + 2f]",
            "mov [{resume}], {place}",
            "rdpmc",
            "2:",
            place = out(reg) _,
            resume = in(reg) resume_at().as_ptr(),
            in("ecx") counter,
            out("eax") low,
            out("edx") high,
            options(nostack),
        );
    }
    if was_resumed() { Err(Fault) } else { Ok(u64::from(high) << 32 | u64::from(low)) }
}
