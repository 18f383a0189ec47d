//! IA32_APIC_BASE: the local APIC disabled and enabled again.

use crate::report::Report;
use crate::state::{arm, pmis, read, write};
use crate::window::nops;
use machine_kernels::cpu::{apic, apic_read, apic_write};
use machine_scenarios::{Geometry, LVT_MASKED, PMI_VECTOR};

const IA32_APIC_BASE: u32 = 0x1B;
const ENABLE: u64 = 1 << 11;

pub fn check(report: &mut Report, geometry: &Geometry) {
    let base = read(IA32_APIC_BASE);
    report.check("IA32_APIC_BASE: enabled at reset", "11.4.4", base & ENABLE, ENABLE);
    write(IA32_APIC_BASE, base & !ENABLE);
    report.check("IA32_APIC_BASE: disabled", "11.4.3", read(IA32_APIC_BASE), base & !ENABLE);
    write(IA32_APIC_BASE, base);
    report.check("IA32_APIC_BASE: enabled again", "11.4.3", read(IA32_APIC_BASE), base);
    report.check(
        "after that LVTPC is as at reset",
        "11.4.7.1",
        u64::from(apic_read(apic::LVT_PC)),
        u64::from(LVT_MASKED),
    );
    apic_write(apic::SPURIOUS, 0x1FF);
    arm(geometry, 50);
    apic_write(apic::LVT_PC, PMI_VECTOR);
    nops(1);
    report.check("after that PMIs arrive", "11.5.1", pmis(), 1);
}
