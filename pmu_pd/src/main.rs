//! The PMU policy protection domain: message -> [`pmu_core::Domain`] -> the VCPU capability with the PMU right.

#![no_std]
#![no_main]

mod port;
mod regions;

use pmu_api::Message;
use pmu_core::Domain;
use port::VcpuPort;
use sel4_microkit::{
    Channel, Handler, Infallible, MessageInfo, debug_println, protection_domain, with_msg_regs,
    with_msg_regs_mut,
};

struct Server {
    domain: Domain<'static, VcpuPort>,
}

#[protection_domain(stack_size = 0x8000)]
fn init() -> impl Handler {
    let domain = Domain::new(regions::policy(), regions::update(), regions::statistics(), VcpuPort::new);
    match domain.policy_error() {
        Some(error) => debug_println!("pmu: the policy is refused, no VM can count: {error:?}"),
        None => report(&domain),
    }
    Server { domain }
}

/// A line for each VM: what it gets, or why nothing.
fn report(domain: &Domain<'static, VcpuPort>) {
    for vm in domain.vms() {
        match vm.vpmu() {
            Ok(vpmu) => {
                let (mode, geometry) = (vpmu.mode(), vpmu.geometry());
                let (general, fixed) = (geometry.general_counters(), geometry.fixed_counters().count_ones());
                debug_println!(
                    "pmu: channel {}: {mode:?}, version {}, {general} + {fixed} counters",
                    vm.channel(),
                    geometry.version(),
                );
            }
            Err(reason) => debug_println!("pmu: channel {}: no vPMU: {reason:?}", vm.channel()),
        }
    }
}

impl Handler for Server {
    type Error = Infallible;

    fn protected(&mut self, channel: Channel, call: MessageInfo) -> Result<MessageInfo, Infallible> {
        let request = with_msg_regs(|words| {
            Message::received(call.label(), words.get(..call.count()).unwrap_or(words))
        });
        // Channels are below 62.
        let channel = channel.index().to_le_bytes()[0];
        let reply = self.domain.handle(channel, &request, regions::now());
        let words = reply.words();
        with_msg_regs_mut(|registers| {
            registers.iter_mut().zip(words).for_each(|(register, word)| *register = *word);
        });
        Ok(MessageInfo::new(reply.label(), words.len()))
    }
}
