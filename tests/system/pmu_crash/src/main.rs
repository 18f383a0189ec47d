//! A policy domain that dies: it opens vPMUs, answers writes, and executes an undefined instruction at the first
//! write after it has opened two.

#![no_std]
#![no_main]

use pmu_api::{Configuration, Direct, Message, Mode, Reply, Request};
use sel4_microkit::{
    Channel, Handler, Infallible, MessageInfo, protection_domain, var, with_msg_regs, with_msg_regs_mut,
};

/// VMs of tests/system/two_vms.
const VMS: usize = 2;

struct Server {
    opened: usize,
}

#[protection_domain]
fn init() -> impl Handler {
    // The symbols that system.xml sets; there is no policy here.
    let _ = (var!(policy_vaddr: usize = 0), var!(policy_size: usize = 0));
    Server { opened: 0 }
}

impl Server {
    fn answer(&mut self, request: &Request) -> Reply {
        match request {
            Request::Open => {
                self.opened += 1;
                Reply::Opened(Configuration {
                    mode: Mode::Emulated,
                    direct: Direct::empty(),
                    leaf_a: [0x0830_0802, 0, 0, 0x603],
                    perf_capabilities: 0,
                    pdcm: false,
                    report_overflow: false,
                })
            }
            Request::Write { .. } if self.opened < VMS => Reply::Done,
            Request::Write { .. } => panic!("on purpose"),
            _ => Reply::Fault,
        }
    }
}

impl Handler for Server {
    type Error = Infallible;

    fn protected(&mut self, _: Channel, call: MessageInfo) -> Result<MessageInfo, Infallible> {
        let message = with_msg_regs(|words| {
            Message::received(call.label(), words.get(..call.count()).unwrap_or(words))
        });
        let reply = match Request::decode(&message) {
            Ok(request) => self.answer(&request),
            Err(malformed) => Reply::Malformed(malformed),
        }
        .encode();
        let words = reply.words();
        with_msg_regs_mut(|registers| {
            registers.iter_mut().zip(words).for_each(|(register, word)| *register = *word);
        });
        Ok(MessageInfo::new(reply.label(), words.len()))
    }
}
