//! Has channels to both and a right to neither half. Says by a notification that all was refused.

#![no_std]
#![no_main]

mod attempts;

use sel4_microkit::{Channel, Handler, NullHandler, protection_domain};

const VMM: Channel = Channel::new(5);

#[protection_domain]
fn init() -> impl Handler {
    assert!(attempts::no_pmu_but(None));
    assert!(attempts::no_vcpu());
    VMM.notify();
    NullHandler::new()
}
