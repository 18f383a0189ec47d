//! The port on a kernel without the PMU extension, where an MSR that does not exist or a value that it does not take would
//! halt the kernel: the processor of these tests panics then.

use pmu_core::arch::*;
use pmu_core::msr_port::{Cpuid, MsrPort, Msrs};
use pmu_core::{Approval, KernelMode, PmuPort, PortError, RawGeometry};
use std::collections::BTreeMap;

const VMX: u32 = 1 << 5;
const PDCM: u32 = 1 << 15;
const EXIT_CONTROLS: u32 = 0x483;
const ENTRY_CONTROLS: u32 = 0x484;
const GENERAL: u32 = 4;
const WIDTH: u64 = (1 << 48) - 1;
const FIXED_WIDTH: u64 = (1 << 40) - 1;
/// Four general-purpose counters, fixed counters 0 to 2.
const COUNTERS: u64 = 0x7_0000_000F;
const ILLEGAL: PortError = PortError(3);
const INVALID: PortError = PortError(1);

/// A processor with four counters of 48 bits and three fixed ones of 40 bits.
#[derive(Debug)]
struct Processor {
    registers: BTreeMap<u32, u64>,
    writes: Vec<(u32, u64)>,
}

impl Processor {
    fn new() -> Self {
        let controls = |bit: u32| 1_u64 << (32 + bit);
        let registers = [
            (IA32_PERF_CAPABILITIES, 1 << 13),
            (EXIT_CONTROLS, controls(12)),
            (ENTRY_CONTROLS, controls(13)),
        ];
        Self { registers: registers.into(), writes: Vec::new() }
    }

    /// The bits that an MSR takes (20.2); nobody writes what says what the processor can do.
    fn takes(msr: u32) -> u64 {
        match msr {
            _ if msr.wrapping_sub(IA32_PERFEVTSEL0) < GENERAL => 0xFFD7_FFFF,
            _ if msr.wrapping_sub(IA32_A_PMC0) < GENERAL => WIDTH,
            _ if msr.wrapping_sub(IA32_FIXED_CTR0) < 3 => FIXED_WIDTH,
            IA32_FIXED_CTR_CTRL => 0xBBB,
            IA32_PERF_GLOBAL_CTRL | IA32_PERF_GLOBAL_STATUS_RESET | IA32_PERF_GLOBAL_STATUS_SET => COUNTERS,
            _ => panic!("WRMSR of {msr:#x}"),
        }
    }

    fn get(&self, msr: u32) -> u64 {
        self.registers.get(&msr).copied().unwrap_or(0)
    }
}

impl Msrs for Processor {
    fn read(&mut self, msr: u32) -> Result<u64, PortError> {
        let readable =
            matches!(msr, IA32_PERF_CAPABILITIES | EXIT_CONTROLS | ENTRY_CONTROLS | IA32_PERF_GLOBAL_STATUS);
        assert!(readable || Self::takes(msr) != 0, "RDMSR of {msr:#x}");
        Ok(self.get(msr))
    }

    fn write(&mut self, msr: u32, value: u64) -> Result<(), PortError> {
        assert_eq!(value & !Self::takes(msr), 0, "WRMSR of {value:#x} to {msr:#x}");
        self.writes.push((msr, value));
        let status = self.registers.entry(IA32_PERF_GLOBAL_STATUS).or_default();
        match msr {
            IA32_PERF_GLOBAL_STATUS_RESET => *status &= !value,
            IA32_PERF_GLOBAL_STATUS_SET => *status |= value,
            _ => {
                self.registers.insert(msr, value);
            }
        }
        Ok(())
    }
}

fn cpuid(version: u32) -> Cpuid {
    let leaf_a = [version | GENERAL << 8 | 48 << 16 | 8 << 24, 0, 0b111, 3 | 40 << 5 | 1 << 15];
    Cpuid { leaf_1_ecx: VMX | PDCM, leaf_a }
}

/// The port in mode direct, on a processor that has been written to for nothing else.
fn port() -> MsrPort<Processor> {
    let mut port = MsrPort::new(Some(Processor::new()), cpuid(5));
    port.geometry().unwrap();
    port.set_mode(KernelMode::Direct).unwrap();
    port.msrs().unwrap().writes.clear();
    port
}

fn flags(processor: Processor, cpuid: Cpuid) -> u64 {
    MsrPort::new(Some(processor), cpuid).geometry().unwrap().flags
}

/// What the extension demands too: version 4 or 5, full-width writes, and a VMCS that loads IA32_PERF_GLOBAL_CTRL at
/// entry and exit (volume 3D, A.4 and A.5).
#[test]
fn a_machine_is_usable_only_with_everything() {
    const DIRECT: u64 = RawGeometry::WITHOUT_EXTENSION | RawGeometry::SAVES_GLOBAL_CONTROL;
    for (version, usable) in [(0, false), (3, false), (4, true), (5, true), (6, false)] {
        let expected = if usable { DIRECT | RawGeometry::USABLE } else { DIRECT };
        assert_eq!(flags(Processor::new(), cpuid(version)), expected, "version {version}");
    }
    for ecx in [VMX, PDCM] {
        let lacking = Cpuid { leaf_1_ecx: ecx, ..cpuid(5) };
        assert_eq!(flags(Processor::new(), lacking), DIRECT, "{ecx:#x}");
    }
    for (msr, value) in
        [(IA32_PERF_CAPABILITIES, 0), (EXIT_CONTROLS, !(1 << (32 + 12))), (ENTRY_CONTROLS, !(1 << (32 + 13)))]
    {
        let mut processor = Processor::new();
        processor.registers.insert(msr, value);
        assert_eq!(flags(processor, cpuid(5)), DIRECT, "{msr:#x}");
    }
    // 20.3.9.3: MSR_PERF_METRICS exists, and a guest with RDPMC could read it.
    let mut metrics = Processor::new();
    metrics.registers.insert(IA32_PERF_CAPABILITIES, 1 << 13 | 1 << 15);
    assert_eq!(flags(metrics, cpuid(5)), RawGeometry::WITHOUT_EXTENSION | RawGeometry::USABLE);
}

#[test]
fn the_geometry_is_the_processors() {
    let raw = port().geometry().unwrap();
    assert_eq!((raw.leaf_a, raw.perf_capabilities), (cpuid(5).leaf_a, 1 << 13));
}

/// A VM without the PMU can be switched off and nothing else.
#[test]
fn without_msrs_there_is_only_mode_off() {
    let mut port = MsrPort::<Processor>::new(None, cpuid(5));
    let raw = port.geometry().unwrap();
    assert_eq!((raw.perf_capabilities, raw.flags), (0, RawGeometry::WITHOUT_EXTENSION));
    assert!(port.msrs().is_none());
    assert_eq!(port.set_mode(KernelMode::Off), Ok(()));
    assert_eq!(port.set_mode(KernelMode::Trapped), Err(ILLEGAL));
    assert_eq!(port.read(IA32_A_PMC0), Err(ILLEGAL));
    assert_eq!(port.write(IA32_A_PMC0, 0), Err(ILLEGAL));
}

/// Before the geometry is known, no register is.
#[test]
fn nothing_is_accessed_before_the_geometry() {
    let mut port = MsrPort::new(Some(Processor::new()), cpuid(5));
    assert_eq!(port.read(IA32_A_PMC0), Err(ILLEGAL));
    assert_eq!(port.write(IA32_A_PMC0, 0), Err(ILLEGAL));
    assert_eq!(port.set_mode(KernelMode::Direct), Err(ILLEGAL));
    assert!(port.msrs().unwrap().writes.is_empty());
}

/// Control registers reach the processor while the mode counts; mode off clears them and keeps the values.
#[test]
fn modes_program_and_clear_the_control_registers() {
    let mut port = port();
    let selector = 0x43_00C0;
    port.write(IA32_PERFEVTSEL0 + 3, selector).unwrap();
    port.write(IA32_FIXED_CTR_CTRL, 0xB0).unwrap();
    assert_eq!(port.msrs().unwrap().writes, [(IA32_PERFEVTSEL0 + 3, selector), (IA32_FIXED_CTR_CTRL, 0xB0)]);
    port.set_mode(KernelMode::Off).unwrap();
    let processor = port.msrs().unwrap();
    assert_eq!((processor.get(IA32_PERFEVTSEL0 + 3), processor.get(IA32_FIXED_CTR_CTRL)), (0, 0));
    processor.writes.clear();
    assert_eq!(port.read(IA32_PERFEVTSEL0 + 3), Ok(selector), "kept");
    assert_eq!(port.read(IA32_FIXED_CTR_CTRL), Ok(0xB0), "kept");
    port.write(IA32_PERFEVTSEL0, selector).unwrap();
    port.write(IA32_FIXED_CTR_CTRL, 0xB).unwrap();
    assert!(port.msrs().unwrap().writes.is_empty(), "mode off counts nothing");
    for mode in [KernelMode::Trapped, KernelMode::Direct] {
        port.set_mode(KernelMode::Off).unwrap();
        port.set_mode(mode).unwrap();
        let processor = port.msrs().unwrap();
        let selectors: Vec<u64> = (0..GENERAL).map(|i| processor.get(IA32_PERFEVTSEL0 + i)).collect();
        assert_eq!(selectors, [selector, 0, 0, selector], "{mode:?}");
        assert_eq!(processor.get(IA32_FIXED_CTR_CTRL), 0xB);
        assert_eq!(processor.writes.iter().filter(|(msr, _)| *msr == IA32_PERF_GLOBAL_CTRL).count(), 2);
        processor.writes.clear();
    }
    assert_eq!(port.read(IA32_PERFEVTSEL0 + 3), Ok(selector));
    assert_eq!(port.read(IA32_FIXED_CTR_CTRL), Ok(0xB));
    assert_eq!(port.set_mode(KernelMode::Raw), Err(ILLEGAL), "MSRs always exit");
}

/// IA32_PERF_GLOBAL_CTRL of the processor stays 0: the VMM puts the guest's into the VMCS.
#[test]
fn the_processors_global_control_stays_zero() {
    let mut port = port();
    port.write(IA32_PERF_GLOBAL_CTRL, COUNTERS).unwrap();
    assert_eq!(port.read(IA32_PERF_GLOBAL_CTRL), Ok(COUNTERS));
    assert!(port.msrs().unwrap().writes.is_empty());
    port.set_mode(KernelMode::Trapped).unwrap();
    assert_eq!(port.msrs().unwrap().get(IA32_PERF_GLOBAL_CTRL), 0);
    assert_eq!(port.read(IA32_PERF_GLOBAL_CTRL), Ok(COUNTERS));
}

/// 20.2.4.2: the status is reset and set by other registers, only where it differs.
#[test]
fn the_status_is_made_equal() {
    let mut port = port();
    port.msrs().unwrap().registers.insert(IA32_PERF_GLOBAL_STATUS, 0b0110 | 1 << 63);
    assert_eq!(port.read(IA32_PERF_GLOBAL_STATUS), Ok(0b0110), "the counters' bits");
    port.write(IA32_PERF_GLOBAL_STATUS, 0b0011).unwrap();
    let expected = [(IA32_PERF_GLOBAL_STATUS_RESET, 0b0100), (IA32_PERF_GLOBAL_STATUS_SET, 0b0001)];
    assert_eq!(port.msrs().unwrap().writes, expected);
    assert_eq!(port.read(IA32_PERF_GLOBAL_STATUS), Ok(0b0011));
    port.write(IA32_PERF_GLOBAL_STATUS, 0b0011).unwrap();
    assert_eq!(port.msrs().unwrap().writes.len(), 2, "nothing differs");
}

/// Counters go through; what is read of them is cut to what they have.
#[test]
fn counters_are_the_processors() {
    let mut port = port();
    for (msr, mask) in [(IA32_A_PMC0 + 3, WIDTH), (IA32_FIXED_CTR0 + 2, FIXED_WIDTH)] {
        port.write(msr, mask).unwrap();
        assert_eq!(port.msrs().unwrap().writes.pop(), Some((msr, mask)));
        port.msrs().unwrap().registers.insert(msr, u64::MAX);
        assert_eq!(port.read(msr), Ok(mask));
    }
}

/// A value that the processor would refuse never reaches it, nor does an MSR that it lacks. Pin control is dropped.
#[test]
fn what_would_fault_is_refused() {
    let mut port = port();
    port.write(IA32_PERFEVTSEL0, 0x43_00C0 | selector::PIN_CONTROL).unwrap();
    assert_eq!(port.read(IA32_PERFEVTSEL0), Ok(0x43_00C0));
    port.msrs().unwrap().writes.clear();
    for (msr, value) in [
        (IA32_PERFEVTSEL0, 1 << 21),
        (IA32_PERFEVTSEL0, 1 << 32),
        (IA32_PERFEVTSEL0 + GENERAL, 0),
        (IA32_A_PMC0, WIDTH + 1),
        (IA32_A_PMC0 + GENERAL, 0),
        (IA32_FIXED_CTR0, FIXED_WIDTH + 1),
        (IA32_FIXED_CTR0 + 3, 0),
        (IA32_FIXED_CTR0 + 4, 0),
        (IA32_FIXED_CTR_CTRL, 4),
        (IA32_FIXED_CTR_CTRL, 0xB000),
        (IA32_PERF_GLOBAL_CTRL, 1 << 4),
        (IA32_PERF_GLOBAL_STATUS, 1 << 35),
        (IA32_PMC0, 0),
        (IA32_PERF_GLOBAL_STATUS_RESET, 0),
        (0x10, 0),
    ] {
        assert_eq!(port.write(msr, value), Err(INVALID), "{value:#x} to {msr:#x}");
        assert!(port.msrs().unwrap().writes.is_empty());
    }
    for msr in [IA32_PERFEVTSEL0 + GENERAL, IA32_A_PMC0 + GENERAL, IA32_FIXED_CTR0 + 3, IA32_PMC0, 0x10] {
        assert_eq!(port.read(msr), Err(INVALID), "{msr:#x}");
    }
}

/// This kernel has no approved pairs: to approve is to write, and nothing is known of writes without an exit.
#[test]
fn nothing_is_approved() {
    let mut port = port();
    let add = Approval::Add { msr: IA32_PERFEVTSEL0, guest: 0x43_00C4, hardware: 0x03_00C4 };
    assert_eq!(port.approve(add), Ok(None));
    assert_eq!(port.msrs().unwrap().writes, [(IA32_PERFEVTSEL0, 0x03_00C4)]);
    for approval in [Approval::Withdraw, Approval::Read] {
        assert_eq!(port.approve(approval), Ok(None));
    }
    assert_eq!(port.msrs().unwrap().writes.len(), 1);
}
