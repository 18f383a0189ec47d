//! Exits that are instructions.

use super::double::*;
use crate::registers::Gpr;
use crate::report::StopReason;
use crate::vm::Outcome;
use crate::{Field, RawExit, Return};
use pmu_api::{Privilege, Refusal, Reply, Request, UnavailableReason};

/// SDM vol. 2B, RDMSR; RIP advances and the kernel is told of the completed instruction.
#[test]
fn a_control_write_asks_the_policy_domain_and_completes() {
    let ran = run(&[wrmsr(0x186, 0x1_0043_00c0)]);
    assert_eq!(ran.asked, [Request::Open, Request::Write { msr: 0x186, value: 0x1_0043_00c0 }]);
    let next = ran.entries[1];
    assert_eq!((next.rip, next.completed, next.injection.is_valid()), (RIP + 2, true, false));
    assert_eq!(next.registers, None, "a write changes no register");
    let report = ran.vm.report(ran.stop);
    assert_eq!((report.statistics.control_traps, report.statistics.data_accesses, report.calls), (1, 0, 2));
}

/// An instruction that faults does not retire.
#[test]
fn a_refused_write_is_a_general_protection_fault_at_the_same_place() {
    let ran = run(&[wrmsr(0x187, 1)]);
    let next = ran.entries[1];
    assert_eq!((next.rip, next.completed, next.injection), (RIP, false, GP));
    assert_eq!(ran.field(Field::GuestRflags), 2 | 1 << 16, "SDM vol. 3B, 18.3.1.1: RF");
}

#[test]
fn reads_of_the_pmu_fill_both_halves() {
    let ran = run(&[rdmsr(0x186), with(exit(15), &[(Gpr::Rcx, 0x4000_0001)])]);
    let first = ran.entries[1].registers.expect("RDMSR writes registers");
    assert_eq!((first.get(Gpr::Rax), first.get(Gpr::Rdx)), (7, 0x186));
    let privilege = Privilege::new(0, true, false);
    // The state at the start: CR0.PE, not CR4.PCE; SS has the DPL 0.
    assert_eq!(ran.asked[2], Request::Rdpmc { index: 0x4000_0001, privilege });
}

/// SDM vol. 2B, RDPMC: in user mode CR0.PE and CR4.PCE, which the VMM sets to 1 and 0, decide; in the kernel nothing does.
#[test]
fn rdpmc_asks_with_the_privilege_of_its_ring() {
    for cpl in 0..=3u8 {
        let rdpmc = with(exit(15), &[(Gpr::Rcx, 1)]);
        let dpl = vec![(1, Field::GuestSsAccessRights, u64::from(cpl) << 5)];
        let (ran, _) = run_on_vcpu(
            usual,
            Playback { exits: [Return::Exit(rdpmc)].into(), on_enter: dpl, ..Playback::default() },
        );
        assert_eq!(ran.asked[1], Request::Rdpmc { index: 1, privilege: Privilege::new(cpl, true, false) });
    }
}

#[test]
fn a_register_that_does_not_exist_faults_and_is_counted() {
    let ran = run(&[rdmsr(0x1234), wrmsr(0xc000_0081, 0)]);
    assert_eq!((ran.entries[1].injection, ran.entries[2].injection), (GP, GP));
    assert_eq!(ran.vm.report(ran.stop).statistics.unknown_msrs, 2);
    assert_eq!(ran.asked, [Request::Open]);
}

/// A policy domain that has died or talks nonsense costs the guest its PMU, not the VMM.
#[test]
fn without_a_policy_domain_pmu_accesses_fault_and_the_reason_is_reported() {
    let gone = |request: &Request| matches!(request, Request::Open).then(|| Reply::Opened(configuration()));
    let refused = |request: &Request| {
        Some(match request {
            Request::Open => Reply::Opened(configuration()),
            _ => Reply::Refused(Refusal::Unavailable(UnavailableReason::NoVm)),
        })
    };
    let nonsense = |request: &Request| {
        Some(match request {
            Request::Open => Reply::Opened(configuration()),
            _ => Reply::Restored,
        })
    };
    for answer in [gone as fn(&Request) -> Option<Reply>, refused, nonsense] {
        let ran = run_with(answer, &[wrmsr(0x186, 0), rdmsr(0xc1), exit(15)]);
        for entry in &ran.entries[1..] {
            assert_eq!((entry.injection, entry.rip), (GP, RIP));
        }
        let report = ran.vm.report(ran.stop).to_string();
        assert!(report.contains("@pmu-error the policy domain"), "{report}");
    }
}

/// SDM vol. 2A, CPUID.
#[test]
fn cpuid_shows_the_policy_domain_s_leaf() {
    let ran = run(&[with(exit(10), &[(Gpr::Rax, 0xffff_ffff_0000_000a)])]);
    let next = ran.entries[1];
    let registers = next.registers.expect("CPUID writes registers");
    assert_eq!((registers.get(Gpr::Rax), registers.get(Gpr::Rdx)), (0x0730_0802, 0x603));
    assert!(next.completed);
}

/// SDM vol. 1, 3.4.1.1.
#[test]
fn input_keeps_the_upper_part_of_rax_but_for_32_bits() {
    let inb = with(RawExit { qualification: 0x03fd_0008, ..exit(30) }, &[(Gpr::Rax, 0x1122_3344_5566_7788)]);
    let inl = with(RawExit { qualification: 0x0cfc_000b, ..exit(30) }, &[(Gpr::Rax, u64::MAX)]);
    let ran = run(&[inb, inl]);
    let rax = |i: usize| ran.entries[i].registers.expect("IN writes RAX").get(Gpr::Rax);
    assert_eq!((rax(1), rax(2)), (0x1122_3344_5566_7760, 0xffff_ffff));
}

#[test]
fn output_reaches_the_observer_and_the_exit_port_ends_the_guest() {
    let out =
        |port: u64, value| with(RawExit { qualification: port << 16, ..exit(30) }, &[(Gpr::Rax, value)]);
    let ran = run(&[out(0x3f8, u64::from(b'h')), out(0x3f8, u64::from(b'i')), out(0xf4, 3)]);
    assert_eq!((ran.seen.output.as_slice(), ran.stop), (b"hi".as_slice(), StopReason::Exit(3)));
    assert!(
        ran.vm
            .report(ran.stop)
            .to_string()
            .ends_with("@stop code=3 the guest ended itself with code 3 (isa-debug-exit status 7)\n")
    );
}

/// SDM vol. 3A, 6.8.3 and vol. 3C, 26.5.2.
#[test]
fn a_completed_instruction_ends_blocking_and_single_steps() {
    let ran = run(&[RawExit { interruptibility: 0b11, rflags: 1 << 8 | 2, ..exit(10) }]);
    assert_eq!(ran.field(Field::GuestInterruptibility), 0);
    assert_eq!(ran.field(Field::GuestPendingDebug), 1 << 14);
}

#[test]
fn eip_wraps_outside_64_bit_mode_only() {
    let at_the_end = RawExit { rip: 0xffff_ffff, ..exit(10) };
    let ran = run(&[at_the_end]);
    assert_eq!(ran.entries[1].rip, 0x1_0000_0001);
    // Code that is not 64-bit.
    let mut state = super::super::State { rip: 0xffff_ffff, rflags: 2, interruptibility: 0, steps: false };
    let mut vcpu = Playback {
        exits: [].into(),
        fields: [(Field::GuestCsAccessRights as u32, 0xc09b)].into(),
        entries: Vec::new(),
        memory: Vec::new(),
        now: 0,
        ..Playback::default()
    };
    state.advance(&mut vcpu, 2);
    assert_eq!(state.rip, 1);
}

/// SDM vol. 2B, MOV to control registers; vol. 3A, 2.5.
#[test]
fn control_registers() {
    let mov =
        |register: u64, value| with(RawExit { qualification: register, ..exit(28) }, &[(Gpr::Rax, value)]);
    let cr0 = |value| run(&[mov(0, value)]);
    assert_eq!(cr0(0x8000_0001 | 1 << 29).entries[1].injection, GP, "NW without CD");
    assert_eq!(cr0(0x8000_0000).entries[1].injection, GP, "PG without PE");
    assert_eq!(cr0(1 << 32).entries[1].injection, GP, "reserved");
    assert_eq!(cr0(0x0000_0001).entries[1].injection, GP, "64-bit code switches paging off");
    let cached = cr0(0xc001_0031);
    assert_eq!(cached.field(Field::GuestCr0), 0x8001_0031, "CD is the guest's wish only");
    assert_eq!(cached.field(Field::Cr0ReadShadow), 0xc001_0031);

    let cr4 = |value| run(&[mov(4, value)]);
    assert_eq!(cr4(0x20 | 1 << 18).entries[1].injection, GP, "OSXSAVE is not offered");
    assert_eq!(cr4(0x20 | 1 << 13).entries[1].injection, GP, "VMXE is not offered");
    assert_eq!(cr4(0).entries[1].injection, GP, "PAE stays set in IA-32e mode");
    assert_eq!(cr4(0x120).field(Field::GuestCr4), 0x2120);

    assert_eq!(run(&[mov(8, 16)]).entries[1].injection, GP, "CR8 has four bits");
    assert!(run(&[mov(8, 15)]).entries[1].completed);
}

/// SDM vol. 3B, 18.2.6.
#[test]
fn debug_registers_are_kept_and_have_no_effect() {
    let mov =
        |register: u64, value| with(RawExit { qualification: register, ..exit(29) }, &[(Gpr::Rax, value)]);
    let ran = run(&[mov(0, 0x1234), mov(0x10, 0), mov(7, 1 << 32), mov(7, 0x3), mov(0x17, 0), mov(0x14, 0)]);
    let rax = |i: usize| ran.entries[i].registers.expect("MOV writes RAX").get(Gpr::Rax);
    assert_eq!(rax(2), 0x1234);
    assert_eq!(ran.entries[3].injection, GP);
    assert_eq!((rax(5), rax(6)), (0x403, 0xffff_0ff0));
    assert_eq!(ran.field(Field::GuestDr7), 0x400);
}

#[test]
fn instructions_that_this_machine_lacks_are_undefined() {
    for reason in [18, 20, 27, 36, 39, 50, 55] {
        assert_eq!(run(&[exit(reason)]).entries[1].injection, UD, "exit reason {reason}");
    }
}

#[test]
fn cache_instructions_do_nothing() {
    for reason in [13, 54] {
        assert!(run(&[exit(reason)]).entries[1].completed);
    }
}

#[test]
fn what_cannot_go_on_stops_the_guest_with_its_reason() {
    assert_eq!(run(&[]).stop, StopReason::TripleFault);
    assert_eq!(run(&[exit(9)]).stop, StopReason::Unsupported("task switch"));
    // SDM vol. 3C, 25.9.1: bit 31 says that the entry failed.
    assert_eq!(run(&[exit(1 << 31 | 33)]).stop, StopReason::EntryFailure { error: 0 });
    assert_eq!(run(&[exit(u32::MAX)]).stop, StopReason::EntryFailure { error: 0 });
    assert_eq!(run(&[exit(999)]).stop, StopReason::UnknownExit(999));
    assert_eq!(run(&[exit(46)]).stop.to_string(), "exit reason 46, gdtr-idtr-access, is not emulated");
    assert_eq!(run(&[exit(12)]).stop, StopReason::Halted);
    let report = run(&[exit(10), exit(999)]);
    let text = report.vm.report(report.stop).to_string();
    assert!(text.contains("@exit reason=cpuid rip=0x100000"), "{text}");
    assert!(text.contains("@registers rip=0x100000"), "{text}");
    assert!(text.ends_with("@stop code=4294967295 unknown exit reason 999\n"), "{text}");
}

/// Any reason, any qualification: an outcome, never a panic.
#[test]
fn every_exit_has_an_outcome() {
    for reason in 0..128 {
        for qualification in [0, 1, 0x10, 0x181, 0x3f8 << 16, u64::MAX] {
            let odd =
                RawExit { reason, qualification, registers: crate::Registers([u64::MAX; 15]), ..exit(0) };
            let ran = run(&[odd]);
            assert!(!ran.seen.outcomes.is_empty());
        }
    }
}

#[test]
fn an_outcome_is_seen_for_each_exit() {
    let ran = run(&[exit(10), rdmsr(0x1234)]);
    assert_eq!(ran.seen.outcomes[..2], [Outcome::Completed(2), Outcome::Fault(GP)]);
}

/// SDM vol. 2C, XSETBV; vol. 4, table 2-2: with a kernel that switches the registers.
#[test]
fn registers_that_the_kernel_switches() {
    let xsetbv = |value| with(exit(55), &[(Gpr::Rax, value)]);
    let exits =
        [xsetbv(7), xsetbv(5), wrmsr(0xc000_0082, 0x1234), rdmsr(0xc000_0082), wrmsr(0xc000_0080, 0xd01)];
    let mut vcpu = Playback {
        exits: exits.map(crate::Return::Exit).into(),
        takes: |_, _| true,
        memory: vec![0; 0x1_0000],
        ..Playback::default()
    };
    let mut vm = crate::Vm::new(Policy { asked: std::rc::Rc::default(), answer: usual }).expect("opens");
    vm.run(&mut vcpu, &mut Seen::default(), &crate::boot::Start::long(RIP, 0x1_0000));
    let fault = |i: usize| vcpu.entries[i].injection;
    assert_eq!([1, 2, 3, 4, 5].map(|i| fault(i) == GP), [false, true, false, false, false]);
    assert_eq!(vcpu.entries[4].registers.expect("RDMSR").get(Gpr::Rax), 0x1234);
    assert!(vcpu.switched.contains(&(crate::switched::Switched::Xcr0, 7)));
    assert_eq!(vcpu.fields[&(Field::SecondaryControls as u32)] & 1 << 3, 1 << 3, "RDTSCP");
    assert_eq!(vcpu.fields[&(Field::GuestEfer as u32)] & 1, 1, "SCE");
}

/// What a guest sees of each vPMU that a policy can choose (SDM vol. 2A, CPUID, leaf 0AH; vol. 4, table 2-2).
#[test]
fn a_guest_of_each_version_sees_its_pmu() {
    const FW_WRITES: u64 = 1 << 13;
    fn version(request: &Request) -> Option<Reply> {
        let Request::Open = request else { return usual(request) };
        let version = VERSION.get();
        let full_width = version >= 2;
        Some(Reply::Opened(pmu_api::Configuration {
            leaf_a: if version == 0 { [0; 4] } else { [0x0730_0400 | version, 0, 0, 0x603] },
            perf_capabilities: if full_width { FW_WRITES } else { 0 },
            pdcm: full_width,
            ..configuration()
        }))
    }
    std::thread_local! { static VERSION: std::cell::Cell<u32> = const { std::cell::Cell::new(0) }; }
    for number in 0..=5 {
        VERSION.set(number);
        let cpuid = |leaf| with(exit(10), &[(Gpr::Rax, leaf)]);
        let ran =
            run_with(version, &[cpuid(0xa), cpuid(1), rdmsr(0x1a0), rdmsr(0x345), wrmsr(0x4c1, 1 << 40)]);
        let value = |i: usize, register| ran.entries[i].registers.expect("a result").get(register);
        assert_eq!(value(1, Gpr::Rax) & 0xff, u64::from(number));
        assert_eq!(value(2, Gpr::Rcx) >> 15 & 1 == 1, number >= 2, "PDCM, version {number}");
        assert_eq!(value(3, Gpr::Rax) >> 7 & 1 == 1, number > 0, "IA32_MISC_ENABLE, version {number}");
        // What the registers do is the policy domain's to say, and it is asked.
        let asked = [Request::Read { msr: 0x345 }, Request::Write { msr: 0x4c1, value: 1 << 40 }];
        assert_eq!(ran.asked[1..], asked, "version {number}");
    }
}
