//! Scenarios: sequences of register accesses and programs of known length, each step with the one value that
//! the SDM's rules give. The same scenarios run on `pmu_model` alone (a host test) and, compiled into the
//! selftest kernel, on the simulated machine.
//!
//! Every scenario starts with all selectors, counters, controls and status bits zero, LVTPC masked, and CPL 0.
//! Section numbers are those of the Intel SDM, volume 3, revision 325462-083.

#![no_std]
#![forbid(unsafe_code)]

mod counting;
mod geometry;
pub mod msr;
mod overflow;
mod program;
mod registers;

pub use geometry::Geometry;
pub use program::{Op, Program};

/// The vector that scenarios give to LVTPC.
pub const PMI_VECTOR: u32 = 0x40;
/// LVTPC: delivery mode NMI.
pub const LVT_NMI: u32 = 0x400;
/// LVTPC: masked.
pub const LVT_MASKED: u32 = 0x1_0000;

/// Instructions of a window of [`Step::Run`], beside its program, that a counter sees: three that load the
/// registers of the second WRMSR, and that WRMSR. A register value acts on the instructions after the write:
/// the WRMSR that enables a counter is not counted by it, the one that disables it is.
pub const WINDOW: u64 = 4;
/// Instructions that a counter sees of the PMI handler: four pushes, three that load the registers of a
/// WRMSR, and the WRMSR that clears IA32_PERF_GLOBAL_CTRL.
pub const HANDLER: u64 = 8;

/// One step of a scenario. Each that names a value is one check.
#[derive(Debug, Clone, Copy)]
pub enum Step {
    /// Write an MSR; the write succeeds.
    Write(u32, u64),
    /// Write an MSR; the write is #GP and changes nothing.
    WriteFaults(u32, u64),
    /// Read an MSR; it has this value.
    Read(u32, u64),
    /// Read an MSR; the read is #GP.
    ReadFaults(u32),
    /// Write each power of two to an MSR; those accepted are the bits of this mask. The MSR is zero afterwards.
    WritableBits(u32, u64),
    /// RDPMC with this ECX gives this value.
    Rdpmc(u32, u64),
    /// RDPMC with this ECX is #GP.
    RdpmcFaults(u32),
    /// Write the local APIC's LVTPC register.
    Lvtpc(u32),
    /// LVTPC has this value.
    LvtpcIs(u32),
    /// With interrupts enabled: write this value to IA32_PERF_GLOBAL_CTRL, run the program, write 0 to it.
    Run(u64, Program),
    /// PMIs taken since the scenario began.
    PmisTaken(u64),
}

/// A scenario.
#[derive(Debug, Clone, Copy)]
pub struct Scenario<'a> {
    /// A name, unique among all scenarios.
    pub name: &'a str,
    /// Where the SDM states the rule.
    pub section: &'a str,
    /// What to do and what to expect.
    pub steps: &'a [Step],
}

/// Calls `visit` with every scenario that a PMU of this geometry can run.
pub fn all(geometry: &Geometry, visit: &mut dyn FnMut(&Scenario)) {
    registers::scenarios(geometry, visit);
    counting::scenarios(geometry, visit);
    overflow::scenarios(geometry, visit);
}
