use super::*;

const SVR: u32 = 0xf0;
const TPR: u32 = 0x80;
const EOI: u32 = 0xb0;
const LVTPC: u32 = 0x340;
const TIMER: u32 = 0x320;
const INITIAL: u32 = 0x380;
const CURRENT: u32 = 0x390;
const DIVIDE: u32 = 0x3e0;
const ESR: u32 = 0x280;
const ICR: u32 = 0x300;

fn enabled() -> LocalApic {
    let mut apic = LocalApic::new();
    apic.write_memory(SVR, 0x1ff, 0);
    apic
}

/// SDM vol. 3A, 11.4.7.1 and 11.4.7.2.
#[test]
fn after_reset_the_apic_is_disabled_and_its_entries_stay_masked() {
    let mut apic = LocalApic::new();
    assert_eq!(apic.read_memory(SVR, 0), 0xff);
    apic.write_memory(LVTPC, 0x30, 0);
    assert_eq!(apic.read_memory(LVTPC, 0), 0x1_0030);
    assert_eq!(apic.performance_interrupt(), Pmi::Masked);
}

/// SDM vol. 3B, 20.5.4: delivery sets the mask bit.
#[test]
fn a_pmi_is_what_lvtpc_says_and_masks_the_entry() {
    let mut apic = enabled();
    apic.write_memory(LVTPC, 0x45, 0);
    assert_eq!(apic.performance_interrupt(), Pmi::Delivered);
    assert_eq!(apic.pending(), Some(0x45));
    assert_eq!(apic.read_memory(LVTPC, 0), 0x1_0045);
    assert_eq!(apic.performance_interrupt(), Pmi::Masked);
    apic.write_memory(LVTPC, 0x45, 0);
    assert_eq!(apic.performance_interrupt(), Pmi::Merged);

    apic.write_memory(LVTPC, 0x400, 0);
    assert_eq!(apic.performance_interrupt(), Pmi::Delivered);
    assert!(apic.nmi_pending());
    apic.acknowledge_nmi();
    assert!(!apic.nmi_pending());
}

#[test]
fn a_pmi_with_smi_init_or_extint_delivery_reaches_nobody() {
    for mode in [2, 5, 7] {
        let mut apic = enabled();
        apic.write_memory(LVTPC, mode << 8 | 0x45, 0);
        assert_eq!(apic.performance_interrupt(), Pmi::Masked);
        assert_eq!(apic.pending(), None);
        assert!(!apic.nmi_pending());
    }
}

/// SDM vol. 3A, 11.5.3 and 11.5.2.
#[test]
fn a_vector_below_16_is_an_error() {
    let mut apic = enabled();
    apic.write_memory(LVTPC, 0x0f, 0);
    assert_eq!(apic.performance_interrupt(), Pmi::Masked);
    assert_eq!(apic.read_memory(ESR, 0), 0);
    apic.write_memory(ESR, 0, 0);
    assert_eq!(apic.read_memory(ESR, 0), 1 << 6);
}

/// SDM vol. 3A, 11.8.3.1 and 11.8.5.
#[test]
fn priorities_hold_back_lower_classes_until_end_of_interrupt() {
    let mut apic = enabled();
    apic.accept(0x51, false);
    apic.accept(0x62, false);
    assert_eq!(apic.pending(), Some(0x62));
    apic.acknowledge(0x62);
    assert_eq!(apic.pending(), None);
    assert_eq!(apic.read_memory(0x130, 0), 1 << 2);
    apic.write_memory(EOI, 0, 0);
    assert_eq!(apic.pending(), Some(0x51));
    apic.write_memory(TPR, 0x50, 0);
    assert_eq!(apic.pending(), None);
    apic.write_memory(TPR, 0x4f, 0);
    assert_eq!(apic.pending(), Some(0x51));
}

/// SDM vol. 3A, 11.6.1.
#[test]
fn interrupt_commands_to_itself_arrive_and_others_have_no_receiver() {
    let mut apic = enabled();
    apic.write_memory(ICR, 1 << 18 | 0x33, 0);
    assert_eq!(apic.pending(), Some(0x33));
    apic.acknowledge(0x33);
    apic.write_memory(EOI, 0, 0);
    apic.write_memory(ICR, 3 << 18 | 0x33, 0);
    apic.write_memory(0x310, 1 << 24, 0);
    apic.write_memory(ICR, 0x34, 0);
    assert_eq!(apic.pending(), None);
    apic.write_memory(0x310, 0, 0);
    apic.write_memory(ICR, 0x4500, 0);
    assert!(!apic.nmi_pending());
    apic.write_memory(ICR, 0x4400, 0);
    assert!(apic.nmi_pending());
}

/// SDM vol. 3A, 11.5.4.
#[test]
fn the_timer_counts_down_and_interrupts() {
    let mut apic = enabled();
    apic.write_memory(TIMER, 0x40, 0);
    apic.write_memory(DIVIDE, 0b1011, 0);
    apic.write_memory(INITIAL, 1000, 500);
    assert_eq!(apic.deadline(), Some(1500));
    assert_eq!(apic.read_memory(CURRENT, 700), 800);
    apic.tick(1499);
    assert_eq!(apic.pending(), None);
    apic.tick(1500);
    assert_eq!(apic.pending(), Some(0x40));
    assert_eq!(apic.deadline(), None);
    assert_eq!(apic.read_memory(CURRENT, 1600), 0);
}

#[test]
fn a_periodic_timer_keeps_its_phase_and_a_masked_one_is_silent() {
    let mut apic = enabled();
    apic.write_memory(TIMER, 1 << 17 | 0x40, 0);
    apic.write_memory(DIVIDE, 0, 0);
    apic.write_memory(INITIAL, 100, 0);
    assert_eq!(apic.deadline(), Some(200));
    apic.tick(250);
    assert_eq!((apic.timer_deadline(), apic.deadline()), (Some(400), None), "the first one pends");
    apic.tick(1001);
    apic.acknowledge(0x40);
    assert_eq!((apic.pending(), apic.deadline()), (None, Some(1200)), "all until then were one");
    let mut masked = enabled();
    masked.write_memory(INITIAL, 100, 0);
    masked.tick(1000);
    assert_eq!((masked.pending(), masked.deadline()), (None, None));
}

/// SDM vol. 3A, 11.5.4: the count of a periodic timer is reloaded each time, whether or not it interrupts.
#[test]
fn a_masked_periodic_timer_counts_on() {
    let mut apic = enabled();
    apic.write_memory(TIMER, 1 << 17 | 1 << 16 | 0x40, 0);
    apic.write_memory(DIVIDE, 0xb, 0);
    apic.write_memory(INITIAL, 100, 0);
    let counts = [30, 99, 100, 130, 1070].map(|now| apic.read_memory(CURRENT, now));
    assert_eq!(counts, [70, 1, 100, 70, 30]);
}

/// SDM vol. 3A, 11.5.4.1.
#[test]
fn tsc_deadline_mode() {
    let mut apic = enabled();
    apic.set_tsc_deadline(50, 0, 0);
    assert_eq!(apic.tsc_deadline(0), 0);
    apic.write_memory(TIMER, 2 << 17 | 0x40, 0);
    apic.write_memory(INITIAL, 100, 0);
    assert_eq!(apic.deadline(), None);
    apic.set_tsc_deadline(50, 0, 0);
    assert_eq!((apic.tsc_deadline(0), apic.deadline()), (50, Some(50)));
    apic.tick(51);
    assert_eq!((apic.tsc_deadline(51), apic.pending()), (0, Some(0x40)));
}

/// SDM vol. 3A, 11.5.4.1: the timer disarms itself when the time has come, whether or not it interrupts.
#[test]
fn a_masked_deadline_is_over_when_its_time_has_come() {
    let mut apic = enabled();
    apic.write_memory(TIMER, 2 << 17 | 1 << 16 | 0x40, 0);
    apic.set_tsc_deadline(50, 0, 0);
    assert_eq!([49, 50].map(|now| apic.tsc_deadline(now)), [50, 0]);
    assert_eq!(apic.pending(), None);
}

/// SDM vol. 3A, figure 11-27.
#[test]
fn modes_change_along_the_arrows_of_the_figure() {
    let mut apic = LocalApic::new();
    let (base, enable, x2apic) = (APIC_BASE_ADDRESS | BASE_BSP, BASE_ENABLED, BASE_X2APIC);
    assert_eq!(apic.base(), base | enable);
    assert_eq!(apic.set_base(base | x2apic), Err(GeneralProtection));
    assert_eq!(apic.set_base(base | enable | 1), Err(GeneralProtection));
    assert_eq!(apic.set_base(1 << 36 | enable), Err(GeneralProtection), "no such physical address");
    assert_eq!(apic.read_msr(0x802, 0), Err(GeneralProtection));
    assert_eq!(apic.set_base(base | enable | x2apic), Ok(()));
    assert_eq!(apic.set_base(base | enable), Err(GeneralProtection));
    assert_eq!(apic.set_base(base), Ok(()));
    assert_eq!(apic.set_base(base | enable | x2apic), Err(GeneralProtection));
    assert_eq!(apic.set_base(base | enable), Ok(()));
    assert_eq!(apic.mode(), Mode::XApic);
}

/// SDM vol. 3A, 11.4.5.
#[test]
fn the_page_moves_but_not_into_memory() {
    let mut apic = LocalApic::new();
    apic.set_memory(0x1000_0000);
    assert_eq!(apic.set_base(0x0fff_f000 | BASE_ENABLED), Err(GeneralProtection));
    assert_eq!(apic.address(), APIC_BASE_ADDRESS);
    assert_eq!(apic.set_base(0x1000_0000 | BASE_ENABLED | BASE_BSP), Ok(()));
    assert_eq!((apic.address(), apic.base()), (0x1000_0000, 0x1000_0900));
    assert_eq!(apic.set_base(0x2000_0000 | BASE_BSP), Ok(()));
    assert_eq!(apic.set_base(0x0fff_f000), Err(GeneralProtection), "switched off, it still knows");
}

/// SDM vol. 3A, 11.12.1.3.
#[test]
fn x2apic_faults_where_xapic_ignores() {
    let mut apic = enabled();
    apic.set_base(apic.base() | BASE_X2APIC).expect("xAPIC to x2APIC is an arrow");
    assert_eq!(apic.read_msr(0x80b, 0), Err(GeneralProtection), "EOI is write-only");
    assert_eq!(apic.write_msr(0x80b, 1, 0), Err(GeneralProtection));
    assert_eq!(apic.write_msr(0x80b, 0, 0), Ok(()));
    assert_eq!(apic.read_msr(0x80e, 0), Err(GeneralProtection), "no DFR");
    assert_eq!(apic.read_msr(0x831, 0), Err(GeneralProtection), "no second half of the ICR");
    assert_eq!(apic.write_msr(0x834, 1 << 20, 0), Err(GeneralProtection));
    assert_eq!(apic.write_msr(0x834, 0x1_0000_0000, 0), Err(GeneralProtection));
    assert_eq!(apic.write_msr(0x839, 1, 0), Err(GeneralProtection), "the current count is read-only");
    assert_eq!(apic.write_msr(0x83f, 0x35, 0), Ok(()));
    assert_eq!(apic.pending(), Some(0x35));
    // 11.5.3: an illegal vector that is sent, not received.
    assert_eq!((apic.write_msr(0x83f, 0xf, 0), apic.write_msr(0x828, 0, 0)), (Ok(()), Ok(())));
    assert_eq!(apic.read_msr(0x828, 0), Ok(1 << 5));
    assert_eq!(apic.read_msr(0x80d, 0), Ok(1));
    apic.write_memory(EOI, 0, 0);
    assert_eq!(apic.read_memory(0x30, 0), 0, "memory shows nothing in x2APIC mode");
}

/// SDM vol. 3A, 11.5.3: errors interrupt by their entry.
#[test]
fn an_error_interrupts_unless_its_entry_is_masked() {
    let mut apic = enabled();
    apic.write_memory(ICR, 1 << 18 | 0x0f, 0);
    apic.write_memory(ESR, 0, 0);
    assert_eq!((apic.read_memory(ESR, 0), apic.pending()), (1 << 5, None), "send illegal vector");
    apic.write_memory(0x370, 0x61, 0);
    apic.write_memory(ICR, 1 << 18 | 0x0f, 0);
    assert_eq!(apic.pending(), Some(0x61));
    let mut apic = enabled();
    apic.write_memory(0x370, 0x61, 0);
    apic.read_memory(0x40, 0);
    apic.write_memory(ESR, 0, 0);
    assert_eq!((apic.read_memory(ESR, 0), apic.pending()), (1 << 7, Some(0x61)), "illegal register address");
}

/// SDM vol. 3A, 11.6.2.2: flat and cluster model.
#[test]
fn logical_destinations() {
    let reaches = |format: u32, own: u32, destination: u32| {
        let mut apic = enabled();
        apic.write_memory(0xe0, format << 28, 0);
        apic.write_memory(0xd0, own << 24, 0);
        apic.write_memory(0x310, destination << 24, 0);
        apic.write_memory(ICR, 1 << 11 | 0x33, 0);
        apic.pending().is_some()
    };
    assert!(reaches(0xf, 0x04, 0x0c) && reaches(0xf, 0x80, 0xff) && !reaches(0xf, 0x04, 0xfb));
    assert!(reaches(0, 0x24, 0x2c) && reaches(0, 0x24, 0xf4) && reaches(0, 0x24, 0xff));
    assert!(!reaches(0, 0x24, 0x34) && !reaches(0, 0x24, 0x2b), "another cluster, another processor");
}

/// SDM vol. 3A, 11.8.4: the trigger mode register, and what the I/O APIC is told.
#[test]
fn the_end_of_a_level_triggered_interrupt_is_told_once() {
    let mut apic = enabled();
    let message = |vector, level| Message { vector, mode: 0, level, logical: false, destination: 0 };
    assert!(apic.receive(message(0x51, true)) && apic.receive(message(0x62, false)));
    assert_eq!((apic.read_memory(0x1a0, 0), apic.read_memory(0x1b0, 0)), (1 << 17, 0));
    for (vector, told) in [(0x62, None), (0x51, Some(0x51))] {
        apic.acknowledge(vector);
        apic.write_memory(EOI, 0, 0);
        assert_eq!((apic.has_ended(), apic.take_ended(), apic.take_ended()), (told.is_some(), told, None));
    }
    assert!(!apic.receive(Message { destination: 1, ..message(0x51, true) }), "another processor");
    assert!(!apic.receive(Message { mode: 2, ..message(0x51, true) }), "SMI");
    assert!(!apic.receive(message(0x0f, true)), "illegal vector");
    assert!(!LocalApic::new().receive(message(0x51, true)), "software-disabled");
}

/// SDM vol. 3A, 11.5.4: what ran out behind the mask does not come later.
#[test]
fn a_timer_that_ran_out_masked_is_lost() {
    let mut apic = enabled();
    apic.write_memory(TIMER, LVT_MASKED | 0x40, 0);
    apic.write_memory(INITIAL, 100, 0);
    apic.write_memory(TIMER, 0x40, 1000);
    assert_eq!((apic.deadline(), apic.pending()), (None, None));
}

/// SDM vol. 3A, 11.5.4: the divided clock counts the current count down, which a new divisor does not change.
#[test]
fn a_new_divisor_changes_the_rate_and_not_the_count() {
    for entry in [0x40, 1 << 17 | 0x40, 1 << 17 | LVT_MASKED | 0x40] {
        let mut apic = enabled();
        apic.write_memory(TIMER, entry, 0);
        apic.write_memory(DIVIDE, 0xb, 0);
        apic.write_memory(INITIAL, 1000, 0);
        apic.write_memory(DIVIDE, 3, 400);
        assert_eq!([400, 416].map(|now| apic.read_memory(CURRENT, now)), [600, 599], "{entry:#x}");
        let deadline = (entry & LVT_MASKED == 0).then_some(400 + 600 * 16);
        assert_eq!(apic.deadline(), deadline, "{entry:#x}");
        // The same one again changes nothing.
        apic.write_memory(DIVIDE, 3, 407);
        assert_eq!(apic.deadline(), deadline, "{entry:#x}");
    }
    // A period that ended before the write has interrupted, and the next one has begun.
    let mut apic = enabled();
    apic.write_memory(TIMER, 1 << 17 | 0x40, 0);
    apic.write_memory(DIVIDE, 0xb, 0);
    apic.write_memory(INITIAL, 1000, 0);
    apic.write_memory(DIVIDE, 3, 1400);
    assert_eq!((apic.pending(), apic.read_memory(CURRENT, 1400)), (Some(0x40), 600));
    // A deadline is one of the time-stamp counter, which is not divided.
    apic.write_memory(TIMER, 2 << 17 | 0x41, 1400);
    apic.set_tsc_deadline(5000, 1400, 1400);
    apic.write_memory(DIVIDE, 0xb, 1400);
    assert_eq!(apic.deadline(), Some(5000));
}

/// SDM vol. 3A, 6.7.1: an NMI that waits for the end of another waits in the processor, which has got it.
#[test]
fn an_nmi_that_pends_outlives_the_apic() {
    let mut apic = enabled();
    apic.write_memory(ICR, 1 << 18 | 4 << 8, 0);
    apic.set_base(apic.address()).expect("it can be switched off");
    assert!(apic.nmi_pending());
}

/// SDM vol. 3A, 11.5.3: a bit of the error status is set once. A period of one cycle whose interrupts are errors must not
/// stop the guest for each.
#[test]
fn a_timer_with_an_illegal_vector_is_one_error() {
    let mut apic = enabled();
    apic.write_memory(TIMER, 1 << 17 | 0x0f, 0);
    apic.write_memory(INITIAL, 1, 0);
    assert_eq!(apic.deadline(), Some(2));
    apic.tick(1000);
    assert_eq!(apic.deadline(), None, "the error is known");
    apic.write_memory(ESR, 0, 1001);
    assert_eq!(
        (apic.read_memory(ESR, 1001), apic.deadline()),
        (1 << 6, Some(1002)),
        "the next one is a new error"
    );
    // Each error interrupts, but those that come before its interrupt is taken are one with it.
    apic.write_memory(0x370, 0x61, 1001);
    apic.tick(2001);
    assert_eq!((apic.pending(), apic.deadline()), (Some(0x61), None));
    apic.acknowledge(0x61);
    assert_eq!(apic.deadline(), Some(2002));
    apic.write_memory(0x370, LVT_MASKED | 0x61, 2001);
    assert_eq!(apic.deadline(), None);
}

/// SDM vol. 3A, 11.5.3 and table 11-1: only an address that is reserved there is an error. To write a read-only register,
/// or to read EOI, which `xchg` does, is none.
#[test]
fn a_register_that_exists_is_no_illegal_address() {
    let mut errors = 0u64;
    for register in 0..0x40 {
        let mut apic = enabled();
        apic.read_memory(register << 4, 0);
        let reads = {
            apic.write_memory(ESR, 0, 0);
            apic.read_memory(ESR, 0) != 0
        };
        if register << 4 != ESR {
            apic.write_memory(register << 4, 0x20, 0);
        }
        apic.write_memory(ESR, 0, 0);
        let writes = apic.read_memory(ESR, 0) >> 7 != 0;
        assert_eq!(reads, writes, "{register:#x}");
        errors |= u64::from(reads) << register;
    }
    // 0 and 0x10, 0x40 to 0x70, 0x290 to 0x2f0 (there is no LVT CMCI), 0x3a0 to 0x3d0, 0x3f0.
    assert_eq!(errors, 1 << 0x3f | 0xf << 0x3a | 0x7f << 0x29 | 0xf << 4 | 3);
}
