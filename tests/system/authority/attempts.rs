// Everything that the runtime offers to somebody who tries to reach a VCPU without the right to.

use sel4_microkit::Channel;
use sel4_microkit::ioport::IoPort;
use sel4_microkit::vcpu::pmu::{Mode, VcpuPmu};
use sel4_microkit::vcpu::{Vcpu, VcpuRegisters};
use x86::vmx::vmcs::guest;

/// Channels have the indices 0 to 61.
const CHANNELS: usize = 62;
/// VCPUs have the identifiers 0 to 61, as channels.
const VCPUS: usize = 62;
/// A counter's selector: retired instructions, all rings (SDM 20.2.1.1).
const IA32_PERFEVTSEL0: u32 = 0x186;
const COUNT_INSTRUCTIONS: u64 = 0x43_00c0;

/// Whether every invocation that needs the PMU right is refused on every slot but that of `own`.
#[allow(dead_code)] // each program uses some
pub fn no_pmu_but(own: Option<Channel>) -> bool {
    (0..CHANNELS).map(Channel::new).filter(|&channel| Some(channel) != own).all(|channel| {
        let pmu = VcpuPmu::new(channel);
        pmu.get_geometry().is_err()
            && pmu.set_mode(Mode::Direct).is_err()
            && pmu.write_msr(IA32_PERFEVTSEL0, COUNT_INSTRUCTIONS).is_err()
            && pmu.read_msr(IA32_PERFEVTSEL0).is_err()
    })
}

/// Whether every invocation that needs the run right is refused on every slot.
#[allow(dead_code)] // each program uses some
pub fn no_vcpu() -> bool {
    (0..VCPUS).map(Vcpu::new).all(|vcpu| {
        vcpu.read_vmcs(guest::RIP).is_err()
            && vcpu.write_vmcs(guest::RIP, 0).is_err()
            && vcpu.write_registers(&VcpuRegisters::default()).is_err()
            && vcpu.enable_io_port(IoPort::new(0), 0, 0).is_err()
            && vcpu.disable_io_port(0, 0).is_err()
    })
}
