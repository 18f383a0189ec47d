//! Slots, charges, VM entries and exits, without Bochs.

use super::{Processor, Transition};
use crate::costs::Costs;
use crate::settings::Settings;
use pmu_model::{Cpuid0A, ExitLoads, Geometry, GuestLoads, Lvtpc, PerfCapabilities, msr};

const INSTRUCTIONS: u64 = 0xC0;
const CYCLES: u64 = 0x3C;
const LLC_REFERENCES: u64 = 0x4F2E;
const USR: u64 = 1 << 16;
const OS: u64 = 1 << 17;
const INT: u64 = 1 << 20;
const EN: u64 = 1 << 22;
const MAX: u64 = (1 << 48) - 1;

/// A processor of version 5 with 8 + 4 counters.
fn with(settings: &Settings) -> Processor {
    let leaf = Cpuid0A { eax: 0x0830_0805, ebx: 0, ecx: 0xF, edx: 0x8604 };
    let geometry = Geometry::from_cpuid(leaf).expect("a possible leaf");
    Processor::new(geometry, Some(PerfCapabilities(PerfCapabilities::FW_WRITE)), settings)
}

/// One whose PMC0 counts what `selector` says, from 0, and PMC1 cycles.
fn counting(selector: u64, settings: &Settings) -> Processor {
    let mut processor = with(settings);
    for (i, selector) in [(0, selector), (1, CYCLES | USR | OS | EN)] {
        processor.pmu.wrmsr(msr::IA32_PERFEVTSEL0 + i, selector).expect("a valid selector");
    }
    processor
}

fn pmc(processor: &Processor, i: u32) -> u64 {
    processor.pmu.rdmsr(msr::IA32_PMC0 + i).expect("an existing counter")
}

#[test]
fn an_abandoned_slot_is_a_cycle_without_an_instruction() {
    let mut processor = counting(INSTRUCTIONS | OS | EN, &Settings::default());
    processor.sync(10);
    processor.abandon_slot(10);
    processor.abandon_slot(10);
    processor.sync(10);
    assert_eq!(pmc(&processor, 0), 10, "slot 10 still runs");
    processor.abandon_slot(12);
    processor.sync(20);
    assert_eq!((pmc(&processor, 0), pmc(&processor, 1)), (18, 20));
}

#[test]
fn a_slot_that_the_pmu_has_cannot_be_abandoned() {
    let mut processor = counting(INSTRUCTIONS | OS | EN, &Settings::default());
    processor.sync(11);
    processor.abandon_slot(10);
    processor.sync(20);
    assert_eq!(pmc(&processor, 0), 20);
}

#[test]
fn an_instruction_counts_for_the_ring_it_began_in() {
    let mut processor = counting(INSTRUCTIONS | USR | EN, &Settings::default());
    // Slots 0 to 4 are the kernel's, the last one IRET; 5 to 7 the user's, the last one SYSCALL.
    processor.set_ring(3, 5);
    processor.set_ring(0, 8);
    processor.sync(10);
    assert_eq!(pmc(&processor, 0), 3);
}

#[test]
fn a_charge_is_cycles_and_ticks_but_no_instructions() {
    let mut processor = counting(INSTRUCTIONS | OS | EN, &Settings::default());
    processor.charge(100, 5);
    processor.charge(0, 7);
    processor.sync(8);
    assert_eq!((pmc(&processor, 0), pmc(&processor, 1)), (8, 108));
    assert_eq!((processor.take_ticks(), processor.take_ticks()), (100, 0));
    assert_eq!((processor.cycles(), processor.totals.charged_cycles), (108, 100));
}

#[test]
fn a_charge_can_overflow_a_counter() {
    let mut processor = counting(INSTRUCTIONS | OS | EN, &Settings::default());
    processor.pmu.wrmsr(msr::IA32_PERFEVTSEL0, CYCLES | OS | EN | INT).expect("a valid selector");
    processor.pmu.wrmsr(msr::IA32_A_PMC0, MAX - 50).expect("a valid value");
    processor.charge(100, 5);
    assert!(processor.pmi_due(5));
    assert_eq!(pmc(&processor, 0), 54, "5 slots and 100 cycles, 51 of them to wrap");
}

#[test]
fn wake_comes_with_the_overflow_and_with_the_pmi() {
    let settings = Settings { skid: 30, ..Settings::default() };
    let mut processor = counting(INSTRUCTIONS | OS | EN | INT, &settings);
    processor.pmu.wrmsr(msr::IA32_A_PMC0, MAX - 9).expect("a valid value");
    assert_eq!(processor.wake(), 10);
    processor.sync(10);
    assert_eq!((processor.pmi_due(39), processor.wake(), processor.pmi_due(40)), (false, 40, true));
    let mut lvtpc = Lvtpc(0x40);
    assert_eq!(processor.deliver_pmi(&mut lvtpc, 39), None);
    assert!(processor.deliver_pmi(&mut lvtpc, 40).is_some_and(|delivery| delivery.vector == 0x40));
    assert_eq!(lvtpc.0, 0x1_0040);
    let pmis = processor.totals.pmis;
    assert_eq!((pmis.requested, pmis.delivered, pmis.masked), (1, 1, 0));
}

#[test]
fn a_masked_pmi_is_counted_as_lost() {
    let mut processor = counting(INSTRUCTIONS | OS | EN | INT, &Settings::default());
    processor.pmu.wrmsr(msr::IA32_A_PMC0, MAX).expect("a valid value");
    processor.sync(1);
    assert_eq!(processor.deliver_pmi(&mut Lvtpc(Lvtpc::MASKED), 1), None);
    assert_eq!((processor.totals.pmis.masked, processor.pmi_due(100)), (1, false));
}

#[test]
fn a_halted_processor_gets_its_pmi_at_once() {
    let settings = Settings { skid: 1000, ..Settings::default() };
    let mut processor = counting(INSTRUCTIONS | OS | EN | INT, &settings);
    processor.pmu.wrmsr(msr::IA32_A_PMC0, MAX).expect("a valid value");
    processor.sync(1);
    processor.halt(2);
    assert!(processor.pmi_due(2));
}

#[test]
fn cache_references_wake_within_the_instruction() {
    let mut processor = counting(LLC_REFERENCES | OS | EN | INT, &Settings::default());
    processor.pmu.wrmsr(msr::IA32_A_PMC0, MAX - 1).expect("a valid value");
    assert!(!processor.data_access(0x1000));
    assert!(processor.data_access(0x1000), "the second reference overflows");
    assert_eq!(processor.wake(), 0);
    processor.sync(1);
    assert_eq!(pmc(&processor, 0), 0);
    assert!(processor.pmi_due(1));
}

/// SDM vol. 3C, 27.3.2.1 and 28.5.1, in slots: the VM entry is the host's instruction, the guest counts its own,
/// the instruction that exits does not retire and its cycle is the host's.
#[test]
fn a_guest_has_its_instructions_and_its_cycles() {
    let mut processor = counting(INSTRUCTIONS | OS | EN, &Settings::default());
    processor.sync(10);
    processor.transition = Transition::Entering(GuestLoads { perf_global_ctrl: Some(3), debugctl: None });
    processor.pmu.wrmsr(msr::IA32_PERF_GLOBAL_CTRL, 0).expect("a valid value");
    processor.complete_entry(10);
    processor.begin_exit(18, 20, ExitLoads { perf_global_ctrl: Some(0) });
    processor.complete_exit(0);
    processor.sync(30);
    assert_eq!((pmc(&processor, 0), pmc(&processor, 1)), (10 + 9, 10 + 9));
    let totals = &processor.totals;
    assert_eq!((totals.guest.instructions, totals.guest.cycles), (9, 9));
    assert_eq!((totals.host.instructions, totals.host.cycles), (11 + 9, 11 + 10));
    assert_eq!((totals.vm_entries, totals.vm_exits.get(&18)), (1, Some(&1)));
}

/// SDM vol. 3C, 26.1: the exit for a TPR below its threshold comes after its instruction.
#[test]
fn a_trap_like_exit_retires_its_instruction() {
    for (reason, expected) in [(43, 6), (18, 5)] {
        let mut processor = counting(INSTRUCTIONS | OS | EN, &Settings::default());
        processor.begin_exit(reason, 5, ExitLoads { perf_global_ctrl: Some(0) });
        processor.complete_exit(0);
        processor.sync(10);
        assert_eq!(pmc(&processor, 0), expected, "reason {reason}");
    }
}

#[test]
fn a_failed_entry_loads_nothing_of_the_guest() {
    let mut processor = with(&Settings::default());
    let guest = GuestLoads { perf_global_ctrl: Some(7), debugctl: None };
    processor.transition = Transition::Entering(guest);
    processor.abandon_entry();
    processor.complete_entry(3);
    assert_eq!(processor.pmu.rdmsr(msr::IA32_PERF_GLOBAL_CTRL), Ok(0xFF));
    processor.transition = Transition::Entering(guest);
    processor.begin_exit(0x8000_0021, 4, ExitLoads { perf_global_ctrl: Some(1) });
    processor.complete_exit(0);
    assert_eq!(processor.pmu.rdmsr(msr::IA32_PERF_GLOBAL_CTRL), Ok(1));
    assert_eq!((processor.totals.vm_entries, processor.totals.vm_exits.get(&0x21)), (0, Some(&1)));
}

#[test]
fn a_reset_starts_the_registers_and_the_slots_again() {
    let costs = Costs { vm_exit: 5, ..Costs::default() };
    let mut processor = counting(INSTRUCTIONS | OS | EN, &Settings { costs, ..Settings::default() });
    processor.reset(100);
    processor.restart(0);
    processor.sync(7);
    assert_eq!(processor.pmu.rdmsr(msr::IA32_PERFEVTSEL0), Ok(0));
    assert_eq!((processor.totals.host.instructions, processor.costs), (107, costs));
}

/// SDM vol. 3A, table 10-1: after a reset no counter has overflowed; what was on its way is gone, and does not stand for the
/// overflows that follow.
#[test]
fn a_reset_takes_back_the_pmi_on_its_way() {
    let settings = Settings { skid: 50, ..Settings::default() };
    let mut processor = counting(INSTRUCTIONS | OS | INT | EN, &settings);
    processor.pmu.wrmsr(msr::IA32_A_PMC0, MAX).expect("a value of the counter's width");
    processor.sync(1000);
    processor.reset(1010);
    processor.restart(0);
    assert!(!processor.pmi_due(2000), "the PMI of before the reset");
    processor.pmu.wrmsr(msr::IA32_PERFEVTSEL0, INSTRUCTIONS | OS | INT | EN).expect("a valid selector");
    processor.pmu.wrmsr(msr::IA32_A_PMC0, MAX).expect("a value of the counter's width");
    processor.sync(10);
    assert!(processor.pmi_due(60), "the PMI of after it");
}
