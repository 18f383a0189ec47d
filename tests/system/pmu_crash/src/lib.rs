//! The policy domain that dies: where it is to program the last event selector of a VM while another counter of the VM
//! counts. Each program dies in another way.

#![no_std]

use pmu_core::arch::{IA32_PERF_GLOBAL_CTRL, IA32_PERFEVTSEL0, MAX_GENERAL, selector};
use pmu_core::{KernelMode, PmuPort, PortError, RawGeometry};
use sel4_microkit::Handler;

/// The last event selector.
const LAST: u32 = IA32_PERFEVTSEL0 + MAX_GENERAL as u32 - 1;

struct FatalPort<P> {
    port: P,
    die: fn(),
}

/// The server that calls `die`.
pub fn server(die: fn()) -> impl Handler {
    #[cfg(not(stock_kernel))]
    let server =
        pmu_pd::Server::new(move |channel| FatalPort { port: pmu_pd::port::VcpuPort::new(channel), die });
    #[cfg(stock_kernel)]
    let server = pmu_pd::stock::server(move |port| FatalPort { port, die });
    server
}

impl<P: PmuPort> PmuPort for FatalPort<P> {
    fn geometry(&mut self) -> Result<RawGeometry, PortError> {
        self.port.geometry()
    }

    fn set_mode(&mut self, mode: KernelMode) -> Result<(), PortError> {
        self.port.set_mode(mode)
    }

    fn read(&mut self, msr: u32) -> Result<u64, PortError> {
        self.port.read(msr)
    }

    fn write(&mut self, msr: u32, value: u64) -> Result<(), PortError> {
        let counts = msr == LAST
            && self.port.read(IA32_PERFEVTSEL0)? & selector::ENABLE != 0
            && self.port.read(IA32_PERF_GLOBAL_CTRL)? & 1 != 0;
        if counts {
            (self.die)();
        }
        self.port.write(msr, value)
    }
}
