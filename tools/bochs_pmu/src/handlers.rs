//! The instruction handlers and virtual functions of Bochs that now lead here.
//!
//! A handler leaves by longjmp when it faults or exits, so a wrapper ends in a jump to the handler instead of a
//! call.

use crate::bochs::Object;
use crate::elf::{Executable, symbol};
use crate::hooks::{index_of, with_unit};
use crate::patch::{replace_handler, replace_virtual};
use crate::unit::Unit;
use std::arch::naked_asm;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bochs's results of a CPU model's rdmsr and wrmsr: not known, #GP, done.
const UNKNOWN: i32 = -1;
const FAULT: i32 = 0;
const DONE: i32 = 1;

/// `bx_cpuid_t::rdmsr`: an MSR that Bochs does not have is read.
pub extern "C" fn virtual_rdmsr(cpuid: Object, msr: u32, value: *mut u64) -> i32 {
    let mut result = UNKNOWN;
    if let Some(cpu) = index_of(|cpu| cpu.cpuid == cpuid) {
        with_unit(cpu, true, |unit, _| match unit.rdmsr(msr) {
            Some(Ok(read)) => {
                // SAFETY: Bochs passes where the value goes.
                unsafe { *value = read };
                result = DONE;
            }
            Some(Err(_)) => result = FAULT,
            None => {}
        });
    }
    result
}

extern "C" fn virtual_wrmsr(cpuid: Object, msr: u32, value: u64) -> i32 {
    let mut result = UNKNOWN;
    if let Some(cpu) = index_of(|cpu| cpu.cpuid == cpuid) {
        with_unit(cpu, true, |unit, _| match unit.wrmsr(msr, value) {
            Some(Ok(())) => result = DONE,
            Some(Err(_)) => result = FAULT,
            None => {}
        });
    }
    result
}

/// What a wrapper does after its Rust part.
const TO_HANDLER: u32 = 0;
const RETURN: u32 = 1;
const GENERAL_PROTECTION: u32 = 2;

extern "C" fn rdmsr_begins(object: Object) -> u32 {
    if let Some(cpu) = index_of(|cpu| cpu.object == object) {
        with_unit(cpu, true, |unit, _| unit.rdmsr_begins());
    }
    TO_HANDLER
}

extern "C" fn entry_begins(object: Object) -> u32 {
    if let Some(cpu) = index_of(|cpu| cpu.object == object) {
        with_unit(cpu, true, Unit::entry_begins);
    }
    TO_HANDLER
}

extern "C" fn rdpmc_begins(object: Object) -> u32 {
    let mut next = TO_HANDLER;
    if let Some(cpu) = index_of(|cpu| cpu.object == object) {
        with_unit(cpu, true, |unit, functions| {
            next = match unit.rdpmc(functions) {
                None => TO_HANDLER,
                Some(Ok(())) => RETURN,
                Some(Err(_)) => GENERAL_PROTECTION,
            };
        });
    }
    next
}

extern "C" fn cpuid_begins(object: Object) -> u32 {
    let mut next = TO_HANDLER;
    if let Some(cpu) = index_of(|cpu| cpu.object == object) {
        with_unit(cpu, true, |unit, _| next = if unit.cpuid() { RETURN } else { TO_HANDLER });
    }
    next
}

static CPUID: AtomicUsize = AtomicUsize::new(0);
static RDMSR: AtomicUsize = AtomicUsize::new(0);
static RDPMC: AtomicUsize = AtomicUsize::new(0);
static VM_ENTRY: AtomicUsize = AtomicUsize::new(0);
static EXCEPTION: AtomicUsize = AtomicUsize::new(0);

/// The wrapper of an instruction handler `(BX_CPU_C *, bxInstruction_c *)`: calls `$begins` with the first argument;
/// returns, raises #GP(0) or jumps to the handler, as that says.
macro_rules! wrapper {
    ($name:ident, $begins:ident, $handler:ident) => {
        #[unsafe(naked)]
        extern "C" fn $name() {
            naked_asm!(
                "push rdi",
                "push rsi",
                "sub rsp, 8",
                "call {begins}",
                "add rsp, 8",
                "pop rsi",
                "pop rdi",
                "cmp eax, {ret}",
                "je 2f",
                "cmp eax, {fault}",
                "je 3f",
                "jmp qword ptr [rip + {handler}]",
                "2: ret",
                "3: mov esi, {vector}",
                "xor edx, edx",
                "jmp qword ptr [rip + {exception}]",
                begins = sym $begins,
                handler = sym $handler,
                exception = sym EXCEPTION,
                ret = const RETURN,
                fault = const GENERAL_PROTECTION,
                vector = const 13,
            )
        }
    };
}
wrapper!(cpuid_wrapper, cpuid_begins, CPUID);
wrapper!(rdpmc_wrapper, rdpmc_begins, RDPMC);
wrapper!(rdmsr_wrapper, rdmsr_begins, RDMSR);
wrapper!(vm_entry_wrapper, entry_begins, VM_ENTRY);

/// Points Bochs's tables here.
pub fn install(executable: &Executable) {
    let handlers: [(&AtomicUsize, &str, *const (), usize); 4] = [
        (&CPUID, "_ZN8BX_CPU_C5CPUIDEP15bxInstruction_c", cpuid_wrapper as *const (), 1),
        (&RDMSR, "_ZN8BX_CPU_C5RDMSREP15bxInstruction_c", rdmsr_wrapper as *const (), 1),
        (&RDPMC, "_ZN8BX_CPU_C5RDPMCEP15bxInstruction_c", rdpmc_wrapper as *const (), 1),
        // VMLAUNCH and VMRESUME share a handler.
        (&VM_ENTRY, "_ZN8BX_CPU_C8VMLAUNCHEP15bxInstruction_c", vm_entry_wrapper as *const (), 2),
    ];
    for (original, name, to, count) in handlers {
        original.store(replace_handler(name, to as usize, count), Ordering::Relaxed);
    }
    EXCEPTION.store(symbol("_ZN8BX_CPU_C9exceptionEjt").address as usize, Ordering::Relaxed);
    // One virtual table for each CPU model of Bochs 2.7, and one of the base class.
    const VIRTUAL_TABLES: usize = 29;
    let read = virtual_rdmsr as *const () as usize;
    replace_virtual(executable, "_ZN10bx_cpuid_t5rdmsrEjPm", read, VIRTUAL_TABLES);
    let write = virtual_wrmsr as *const () as usize;
    replace_virtual(executable, "_ZN10bx_cpuid_t5wrmsrEjm", write, VIRTUAL_TABLES);
}
