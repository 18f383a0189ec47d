//! Registers of a guest that VM entry and VM exit leave alone: each guest has its own, and the host's threads theirs.

use super::Shared;
use crate::guest::{CODE, DATA};
use crate::memory::{BufferPage, Stack, read_guest_word, write_guest};
use crate::programs::state;
use crate::root::Root;
use crate::threads::Thread;
use crate::vm::Vm;
use crate::vmcs::{self, exit};
use core::arch::asm;
use core::arch::x86_64::{__cpuid, __rdtscp};
use sel4_abi::numbers::{guest_register as reg, label};
use sel4_abi::{Error, yield_now};

const ROUNDS: u64 = 50;
const STAR: u64 = 0xc000_0081;
const LSTAR: u64 = 0xc000_0082;
const CSTAR: u64 = 0xc000_0083;
const FMASK: u64 = 0xc000_0084;
const FS_BASE: u64 = 0xc000_0100;
const KERNEL_GS_BASE: u64 = 0xc000_0102;
const TSC_AUX: u64 = 0xc000_0103;
/// IA32_EFER: SYSCALL enabled, long mode.
const EFER: u64 = 0x501;
/// RFLAGS.DF and RFLAGS.IF.
const DF: u64 = 1 << 10;
const IF: u64 = 1 << 9;
const VMCALL: &[u8] = &[0x0f, 0x01, 0xc1];
const XCR0_X87: u64 = 1;

/// Two guests at two places, as those of `tests::isolation`.
fn pair(root: &mut Root, program: &[u8]) -> [Vm; 2] {
    let mut vms = [Vm::new(root, 0), Vm::new(root, 0x400)];
    for (i, vm) in vms.iter_mut().enumerate() {
        vm.load_at(root, CODE + 0x400 * i, program);
    }
    vms
}

/// Lets both run in turn until they halt, and looks at what the host has after each exit.
fn in_turn(root: &mut Root, vms: &mut [Vm; 2], mut between: impl FnMut(&mut Root)) {
    for round in 0..=ROUNDS {
        for vm in vms.iter_mut() {
            vm.bind(root);
            let wanted = if round < ROUNDS { exit::VMCALL } else { exit::HLT };
            assert_eq!(vm.run(root), wanted, "round {round}, {:x?}", vm.registers);
            between(root);
        }
    }
    for (i, vm) in vms.iter().enumerate() {
        assert_eq!(vm.registers[reg::R11], 0, "VCPU {i} saw values that are not its own");
    }
}

/// SYSCALL enters each guest's own target with its own selectors and mask (SDM volume 2, SYSCALL), and the root task's
/// enters the kernel all the while.
pub fn syscall(root: &mut Root, _: &Shared) {
    let mut vms = pair(root, state::syscall());
    // CS 8 with SS 16, and CS 24 with SS 32.
    let selectors = [8, 24];
    let masks = [DF, IF];
    for (i, vm) in vms.iter_mut().enumerate() {
        let target = vm.rip + state::SYSCALL_TARGET;
        for (msr, value) in [(STAR, selectors[i] << 32), (LSTAR, target), (FMASK, masks[i])] {
            root.ipc.vcpu_write_msr(vm.vcpu, msr, value).expect("MSR");
        }
        vm.write_vmcs(root, vmcs::GUEST_EFER, EFER);
        vm.set(reg::EBX, 0x1000 + i as u64);
    }
    for round in 0..ROUNDS {
        for (i, vm) in vms.iter_mut().enumerate() {
            let start = (CODE + 0x400 * i) as u64;
            vm.bind(root);
            assert_eq!(vm.run(root), exit::VMCALL, "round {round}, guest {i}: {:x?}", vm.registers);
            let seen = [reg::EDX, reg::ECX, reg::R9, reg::R10].map(|r| vm.registers[r]);
            // STD is one byte, SYSCALL two.
            assert_eq!(seen, [0x1000 + i as u64, start + 3, selectors[i], selectors[i] + 8], "guest {i}");
            assert_eq!(vm.registers[reg::R8] & DF, DF & !masks[i], "guest {i}: RFLAGS in the target");
            assert_eq!(vm.registers[reg::R11] & DF, DF, "guest {i}: R11");
            yield_now();
        }
    }
    // A guest with EFER.SCE alone has MSRs too: 0 each, not the kernel's.
    let mut vm = Vm::new(root, 0);
    vm.bind(root);
    vm.load(root, state::syscall());
    vm.write_vmcs(root, vmcs::GUEST_EFER, EFER);
    write_guest(0, VMCALL);
    let left = vm.enter(root);
    assert_eq!((left.reason, vm.rip), (exit::VMCALL, 0), "SYSCALL to LSTAR 0");
}

/// IA32_FS_BASE, IA32_GS_BASE and IA32_KERNEL_GS_BASE do not exit, and are each guest's own.
pub fn bases(root: &mut Root, _: &Shared) {
    let mut vms = pair(root, state::bases());
    for (vm, tag) in vms.iter_mut().zip([0x1234_5678_0000, 0xffff_8888_1234_0000]) {
        vm.set(reg::EBX, tag);
        vm.set(reg::R12, ROUNDS);
    }
    in_turn(root, &mut vms, |_| ());
    for vm in vms {
        assert_eq!((vm.counts.rdmsr, vm.counts.wrmsr), (0, 0), "exits");
    }
}

/// #GP is in the guest (SDM volume 2, WRMSR), and the kernel goes on.
pub fn bad_base(root: &mut Root, _: &Shared) {
    const GENERAL_PROTECTION: u64 = 13;
    for msr in FS_BASE..=KERNEL_GS_BASE {
        let mut vm = Vm::new(root, 0);
        vm.bind(root);
        vm.load(root, state::write_msr());
        vm.write_vmcs(root, vmcs::EXCEPTION_BITMAP, 1 << GENERAL_PROTECTION);
        vm.set(reg::ECX, msr);
        vm.set(reg::EDX, 0x8000_0000);
        let left = vm.enter(root);
        assert_eq!((left.reason, vm.rip), (exit::EXCEPTION, CODE as u64), "MSR {msr:#x}");
        root.delete(vm.vcpu);
    }
}

static STACK: Stack<0x1000> = Stack::new();
static BUFFER: BufferPage = BufferPage::new();

/// Reads where nothing is mapped: the fault puts the address into CR2.
extern "C" fn fault() -> ! {
    // SAFETY: the read does not return: the thread is suspended by its fault.
    unsafe { asm!("mov rax, [0x10]", options(noreturn)) }
}

/// Two guests and a thread with page faults: CR2 and the debug registers stay each guest's.
pub fn cr2_and_debug(root: &mut Root, _: &Shared) {
    let thread = Thread::new(root, fault, &STACK, &BUFFER);
    let mut vms = pair(root, state::debug());
    for (vm, tag) in vms.iter_mut().zip([0x7777_1111_0005, 0x6666_2222_000a]) {
        vm.set(reg::EBX, tag);
        vm.set(reg::R12, ROUNDS);
    }
    in_turn(root, &mut vms, |root| {
        thread.start(root);
        yield_now();
    });
    thread.stop(root);
}

/// What the VMM gives the guest: the address of a page fault that it injects, and an offset of the time-stamp counter (SDM 26.3).
pub fn cr2_and_time(root: &mut Root, _: &Shared) {
    const ADDRESS: u64 = 0xffff_8000_1234_5678;
    const OFFSET: u64 = 1 << 60;
    let mut vm = Vm::new(root, 0);
    vm.bind(root);
    vm.load(root, state::cr2_and_time());
    root.ipc.vcpu_write_cr2(vm.vcpu, ADDRESS).expect("CR2");
    root.ipc.vcpu_write_vmcs(vm.vcpu, vmcs::TSC_OFFSET, OFFSET).expect("TSC offset");
    vm.primary |= vmcs::PRIMARY_TSC_OFFSETTING;
    assert_eq!(vm.run(root), exit::VMCALL);
    assert_eq!(vm.registers[reg::EBX], ADDRESS);
    let time = vm.registers[reg::EDX] << 32 | vm.registers[reg::EAX];
    assert_eq!(time >> 60, 1, "the guest's time is {time:#x}");
}

/// #DB, #AC and #MC exit whatever the VMM wants, and an exit by #DB puts its cause into DR6 (SDM table 28-1; 18.2.3: bit 13).
pub fn forced_exceptions(root: &mut Root, _: &Shared) {
    const FORCED: u64 = 1 << 1 | 1 << 17 | 1 << 18;
    const BD: u64 = 1 << 13;
    let mut vm = Vm::new(root, 0);
    vm.bind(root);
    vm.load(root, state::general_detect());
    assert_eq!(vm.read_vmcs(root, vmcs::EXCEPTION_BITMAP), FORCED);
    vm.write_vmcs(root, vmcs::EXCEPTION_BITMAP, 1);
    assert_eq!(vm.read_vmcs(root, vmcs::EXCEPTION_BITMAP), FORCED | 1);
    let controls = vm.read_vmcs(root, vmcs::ENTRY_CONTROLS);
    vm.write_vmcs(root, vmcs::ENTRY_CONTROLS, controls | vmcs::ENTRY_LOAD_DEBUG);
    let left = vm.enter(root);
    assert_eq!(left.reason, exit::EXCEPTION);
    vm.write_vmcs(root, vmcs::GUEST_DR7, 0x400);
    assert_eq!(vm.run(root), exit::VMCALL);
    assert_eq!(vm.registers[reg::EBX] & (0xf | BD), BD);
}

fn has_avx() -> bool {
    const AVX: u32 = 1 << 28;
    __cpuid(1).ecx & AVX != 0
}

/// XCR0, which the kernel keeps at x87 for every thread.
fn xcr0() -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: every machine of these tests has XSAVE, and the kernel has set CR4.OSXSAVE.
    unsafe { asm!("xgetbv", in("ecx") 0, out("eax") low, out("edx") high) };
    u64::from(high) << 32 | u64::from(low)
}

/// Serves the XSETBV that the guest starts with (SDM volume 2, XSETBV).
fn serve_xsetbv(root: &mut Root, vm: &mut Vm) {
    vm.bind(root);
    let left = vm.enter(root);
    assert_eq!((left.reason, vm.registers[reg::EAX]), (exit::XSETBV, 7));
    root.ipc.vcpu_write_xcr0(vm.vcpu, 7).expect("XCR0");
    vm.complete(&left);
}

/// Two guests use AVX in turn beside one that has none and the root task's SSE; each finds its own values, and the first are 0.
pub fn avx(root: &mut Root, _: &Shared) {
    assert!(has_avx(), "the tests need a machine with AVX");
    assert_eq!(xcr0(), XCR0_X87);
    let mut other = Vm::new(root, 0x800);
    other.load_at(root, CODE + 0x800, state::sse_only());
    other.write_vmcs(root, vmcs::EXCEPTION_BITMAP, 1 << 6);
    other.bind(root);
    assert_eq!(other.run(root), exit::VMCALL);
    assert_eq!(other.registers[reg::R10], XCR0_X87, "XCR0 that a guest starts with");

    let mut vms = pair(root, state::avx());
    for (i, vm) in vms.iter_mut().enumerate() {
        vm.set(reg::EDI, (DATA + 0x40 * i) as u64);
        vm.set(reg::ESI, 0x1111_2222_3333 * (i as u64 + 1));
        vm.set(reg::R12, ROUNDS);
        serve_xsetbv(root, vm);
        assert_eq!(xcr0(), XCR0_X87);
        assert_eq!(vm.run(root), exit::VMCALL);
        for word in 0..4 {
            assert_eq!(read_guest_word(DATA + 0x40 * i + 8 * word), 0, "YMM7 that guest {i} starts with");
        }
    }
    // VEX instructions are #UD without AVX in XCR0 (SDM volume 1, 14.3).
    other.bind(root);
    assert_eq!(other.enter(root).reason, exit::EXCEPTION, "VZEROALL of a guest with XCR0 = 1");
    for round in 1..=ROUNDS {
        for vm in &mut vms {
            vm.bind(root);
            let wanted = if round < ROUNDS { exit::VMCALL } else { exit::HLT };
            assert_eq!(vm.run(root), wanted, "round {round}, {:x?}", vm.registers);
            assert_eq!(xcr0(), XCR0_X87, "XCR0 of the root task");
        }
    }
    for (i, vm) in vms.iter().enumerate() {
        assert_eq!(vm.registers[reg::R11], 0, "guest {i} saw values that are not its own");
        assert_eq!(vm.registers[reg::R10], 7, "XCR0 that guest {i} reads");
    }
    // A VCPU in the memory of the owner of the registers would be restored into.
    for vm in vms {
        root.delete(vm.vcpu);
    }
    assert_eq!(xcr0(), XCR0_X87);
}

/// VMLAUNCH that fails (SDM 27.8) leaves the host with its own XCR0.
pub fn xcr0_after_failure(root: &mut Root, _: &Shared) {
    /// Interruption type 1 is reserved (SDM 27.2.1.3).
    const BAD_INJECTION: u64 = vmcs::INJECT_VALID | 1 << 8;
    let mut vm = Vm::new(root, 0);
    vm.bind(root);
    vm.load(root, state::avx());
    root.ipc.vcpu_write_xcr0(vm.vcpu, 7).expect("XCR0");
    vm.set_injection(BAD_INJECTION);
    assert_eq!(vm.enter(root).reason, exit::ENTRY_FAILED);
    assert_eq!(xcr0(), XCR0_X87);
}

/// RDTSCP of the guests and of the root task.
pub fn tsc_aux(root: &mut Root, _: &Shared) {
    let mut vms = pair(root, state::tsc_aux());
    let host = || {
        let mut aux = 0;
        // SAFETY: every machine of these tests has RDTSCP, and user level may use it.
        unsafe { __rdtscp(&raw mut aux) };
        aux
    };
    let before = host();
    let secondary = vmcs::SECONDARY_EPT | vmcs::SECONDARY_UNRESTRICTED_GUEST | vmcs::SECONDARY_RDTSCP;
    for (vm, value) in vms.iter().zip([0x1234_5678, 0xffff_ffff]) {
        vm.write_vmcs(root, vmcs::SECONDARY_CONTROLS, secondary);
        root.ipc.vcpu_write_msr(vm.vcpu, TSC_AUX, value).expect("TSC_AUX");
    }
    for _ in 0..ROUNDS {
        for (vm, value) in vms.iter_mut().zip([0x1234_5678, 0xffff_ffff]) {
            vm.bind(root);
            assert_eq!(vm.run(root), exit::VMCALL);
            assert_eq!(vm.registers[reg::ECX], value);
            assert_eq!(host(), before, "TSC_AUX of the root task");
        }
    }
}

/// A guest whose entry loads IA32_PAT has its own, one whose entry does not has the host's, and reads of it exit.
pub fn pat(root: &mut Root, _: &Shared) {
    /// Write-back everywhere (SDM 12.12.2).
    const WRITE_BACK: u64 = 0x0606_0606_0606_0606;
    let mut vms = pair(root, state::read_pat());
    let entry = vms[0].read_vmcs(root, vmcs::ENTRY_CONTROLS);
    vms[0].write_vmcs(root, vmcs::ENTRY_CONTROLS, entry | vmcs::ENTRY_LOAD_PAT);
    vms[0].write_vmcs(root, vmcs::GUEST_PAT, WRITE_BACK);
    for vm in &mut vms {
        vm.bind(root);
        assert_eq!(vm.run(root), exit::VMCALL);
        assert_eq!(vm.enter(root).reason, exit::RDMSR);
    }
    // VM exit saves what was in force (SDM 28.3.1).
    assert_eq!(vms[0].read_vmcs(root, vmcs::GUEST_PAT), WRITE_BACK);
    assert_ne!(vms[1].read_vmcs(root, vmcs::GUEST_PAT), WRITE_BACK, "the first guest's PAT stayed");
}

/// Each MSR and value that is not the guest's to have.
pub fn refusals(root: &mut Root, _: &Shared) {
    let vm = Vm::new(root, 0);
    let ipc = &mut root.ipc;
    let no_msrs = [
        0,
        0x10,
        0x174,
        0x277,
        0x38f,
        0xc000_0080,
        CSTAR,
        FS_BASE,
        FS_BASE + 1,
        KERNEL_GS_BASE,
        TSC_AUX + 1,
        1 << 32 | LSTAR,
        u64::MAX,
    ];
    for msr in no_msrs {
        assert_eq!(ipc.vcpu_write_msr(vm.vcpu, msr, 0), Err(Error::InvalidArgument), "MSR {msr:#x}");
    }
    for (msr, value) in [
        (LSTAR, 0x0000_8000_0000_0000),
        (LSTAR, 0xffff_7fff_ffff_ffff),
        (LSTAR, 1 << 63),
        (FMASK, 1 << 32),
        (FMASK, u64::MAX),
        (TSC_AUX, 1 << 32),
    ] {
        assert_eq!(
            ipc.vcpu_write_msr(vm.vcpu, msr, value),
            Err(Error::InvalidArgument),
            "{msr:#x} {value:#x}"
        );
    }
    for (msr, value) in [
        (STAR, u64::MAX),
        (LSTAR, 0x7fff_ffff_ffff),
        (LSTAR, 0xffff_8000_0000_0000),
        (LSTAR, u64::MAX),
        (FMASK, 0xffff_ffff),
        (TSC_AUX, 0xffff_ffff),
    ] {
        assert_eq!(ipc.vcpu_write_msr(vm.vcpu, msr, value), Ok(()), "{msr:#x} {value:#x}");
    }
    // SDM volume 1, 13.3: x87 always, AVX with SSE only; beyond it, what the kernel does not switch.
    for value in [0, 2, 4, 5, 6, 8, 9, 0xf, 1 << 9 | 7, 0xe7, 1 << 62 | 1, u64::MAX] {
        assert_eq!(ipc.vcpu_write_xcr0(vm.vcpu, value), Err(Error::InvalidArgument), "XCR0 {value:#x}");
    }
    for value in [1, 3, 7, 1] {
        assert_eq!(ipc.vcpu_write_xcr0(vm.vcpu, value), Ok(()), "XCR0 {value:#x}");
    }
    // SDM volume 1, 3.3.7.1: canonical addresses.
    for value in [1 << 47, 0x7fff_8000_0000_0000, u64::MAX >> 1] {
        assert_eq!(ipc.vcpu_write_cr2(vm.vcpu, value), Err(Error::InvalidArgument), "CR2 {value:#x}");
    }
    for value in [0x7fff_ffff_ffff, 0xffff_8000_0000_0000, u64::MAX] {
        assert_eq!(ipc.vcpu_write_cr2(vm.vcpu, value), Ok(()), "CR2 {value:#x}");
    }
    for (invocation, words) in [
        (label::X86_VCPU_WRITE_MSR, 0),
        (label::X86_VCPU_WRITE_MSR, 1),
        (label::X86_VCPU_WRITE_XCR0, 0),
        (label::X86_VCPU_WRITE_CR2, 0),
    ] {
        let result = ipc.invoke(vm.vcpu, invocation, &[LSTAR][..words], &[]);
        assert_eq!(result.map(drop), Err(Error::TruncatedMessage), "label {invocation}");
    }
    // The guest starts with all of them.
    let mut vm = vm;
    vm.bind(root);
    vm.load(root, crate::programs::protected());
    assert_eq!(vm.run(root), exit::VMCALL);
}
