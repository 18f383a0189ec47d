//! The PMU policy protection domain: message -> [`pmu_core::Domain`] -> a [`PmuPort`].

#![no_std]

#[cfg(not(stock_kernel))]
pub mod port;
pub mod regions;
#[cfg(stock_kernel)]
pub mod stock;

use pmu_api::Message;
use pmu_core::{Domain, PmuPort};
use sel4_microkit::{
    Channel, ChannelSet, Handler, Infallible, MessageInfo, with_msg_regs, with_msg_regs_mut,
};

/// Answers protected procedure calls; `P` reaches one VCPU's PMU context.
#[derive(Debug)]
pub struct Server<P> {
    domain: Domain<'static, P>,
}

impl<P: PmuPort> Server<P> {
    /// The server for the policy that system.xml maps. `port` makes the port for a channel.
    pub fn new(port: impl FnMut(u8) -> P) -> Self {
        Self::serving(Domain::new(regions::policy(), regions::update(), regions::statistics(), port))
    }

    /// The server of `domain`.
    pub const fn serving(domain: Domain<'static, P>) -> Self {
        Self { domain }
    }

    /// What it decides by.
    pub const fn domain(&self) -> &Domain<'static, P> {
        &self.domain
    }
}

impl<P: PmuPort> Handler for Server<P> {
    type Error = Infallible;

    /// Whoever the system description lets notify this domain says nothing by it, and must not end it for the others.
    fn notified(&mut self, _: ChannelSet) -> Result<(), Infallible> {
        Ok(())
    }

    fn protected(&mut self, channel: Channel, call: MessageInfo) -> Result<MessageInfo, Infallible> {
        let request = with_msg_regs(|words| {
            Message::received(call.label(), words.get(..call.count()).unwrap_or(words))
        });
        // Channels are below 62.
        let channel = channel.index().to_le_bytes()[0];
        let reply = self.domain.handle(channel, &request, regions::now());
        with_msg_regs_mut(|registers| reply.store(registers));
        Ok(MessageInfo::new(reply.label(), reply.words().len()))
    }
}
