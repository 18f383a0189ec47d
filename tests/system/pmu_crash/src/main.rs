//! The policy domain that dies: it panics where it is to program the last event selector of a VM while another counter of
//! the VM counts.

#![no_std]
#![no_main]

use pmu_core::arch::{IA32_PERF_GLOBAL_CTRL, IA32_PERFEVTSEL0, MAX_GENERAL, selector};
use pmu_core::{KernelMode, PmuPort, PortError, RawGeometry};
use pmu_pd::Server;
use pmu_pd::port::VcpuPort;
use sel4_microkit::{Handler, protection_domain};

/// The last event selector.
const LAST: u32 = IA32_PERFEVTSEL0 + MAX_GENERAL as u32 - 1;

struct FatalPort(VcpuPort);

#[protection_domain(stack_size = 0x8000)]
fn init() -> impl Handler {
    Server::new(|channel| FatalPort(VcpuPort::new(channel)))
}

impl PmuPort for FatalPort {
    fn geometry(&mut self) -> Result<RawGeometry, PortError> {
        self.0.geometry()
    }

    fn set_mode(&mut self, mode: KernelMode) -> Result<(), PortError> {
        self.0.set_mode(mode)
    }

    fn read(&mut self, msr: u32) -> Result<u64, PortError> {
        self.0.read(msr)
    }

    fn write(&mut self, msr: u32, value: u64) -> Result<(), PortError> {
        let counts = msr == LAST
            && self.0.read(IA32_PERFEVTSEL0)? & selector::ENABLE != 0
            && self.0.read(IA32_PERF_GLOBAL_CTRL)? & 1 != 0;
        assert!(!counts, "on purpose");
        self.0.write(msr, value)
    }
}
