//! The policy domain with a port on the modelled PMU instead of the VCPU capability.

#![no_std]
#![no_main]

use pmu_core::{KernelMode, PmuPort, PortError, RawGeometry};
use pmu_model::{Cpuid0A, Geometry, PerfCapabilities, Pmu, msr};
use pmu_pd::Server;
use sel4_microkit::{Handler, protection_domain};

/// CPUID leaf 0xA of the simulated machine's default CPU model, on which traces are recorded: version 5, eight
/// general-purpose and four fixed counters of 48 bits, no any-thread.
const LEAF: Cpuid0A =
    Cpuid0A { eax: 5 | 8 << 8 | 48 << 16 | 8 << 24, ebx: 0, ecx: 0xf, edx: 4 | 48 << 5 | 1 << 15 };

/// A VCPU's PMU context that is a modelled PMU. Nothing counts: no guest runs.
struct ModelPort(Pmu);

impl ModelPort {
    fn new(_: u8) -> Self {
        match Geometry::from_cpuid(LEAF) {
            Ok(geometry) => Self(Pmu::new(geometry, Some(PerfCapabilities(PerfCapabilities::FW_WRITE)))),
            Err(error) => panic!("{error}"),
        }
    }

    /// What the policy domain writes, hardware must take.
    fn wrmsr(&mut self, msr: u32, value: u64) {
        if let Err(error) = self.0.wrmsr(msr, value) {
            panic!("the hardware refuses {msr:#x} = {value:#x}: {error:?}");
        }
    }

    fn rdmsr(&self, msr: u32) -> u64 {
        match self.0.rdmsr(msr) {
            Ok(value) => value,
            Err(error) => panic!("the hardware refuses to read {msr:#x}: {error:?}"),
        }
    }
}

impl PmuPort for ModelPort {
    fn geometry(&mut self) -> Result<RawGeometry, PortError> {
        let Cpuid0A { eax, ebx, ecx, edx } = LEAF;
        Ok(RawGeometry {
            leaf_a: [eax, ebx, ecx, edx],
            perf_capabilities: PerfCapabilities::FW_WRITE,
            flags: RawGeometry::SAVES_GLOBAL_CONTROL | RawGeometry::USABLE,
        })
    }

    fn set_mode(&mut self, _: KernelMode) -> Result<(), PortError> {
        Ok(())
    }

    fn read(&mut self, msr: u32) -> Result<u64, PortError> {
        Ok(self.rdmsr(msr))
    }

    fn write(&mut self, number: u32, value: u64) -> Result<(), PortError> {
        if number == msr::IA32_PERF_GLOBAL_STATUS {
            // Status is read-only: the others are reset, these are set (SDM vol. 3B, 20.2.4.2).
            let others = self.rdmsr(number) & !value;
            self.wrmsr(msr::IA32_PERF_GLOBAL_STATUS_RESET, others);
            self.wrmsr(msr::IA32_PERF_GLOBAL_STATUS_SET, value);
        } else {
            self.wrmsr(number, value);
        }
        Ok(())
    }
}

#[protection_domain(stack_size = 0x10000)]
fn init() -> impl Handler {
    let server = Server::new(ModelPort::new);
    if let Some(error) = server.domain().policy_error() {
        panic!("the policy is refused: {error:?}");
    }
    server
}
