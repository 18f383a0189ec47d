//! Receives the fault of its child, and tells.

#![no_std]
#![no_main]

use sel4_microkit::{
    Channel, Child, Handler, Infallible, MessageInfo, debug_println, get_mr, protection_domain, var,
};

const USER: Channel = Channel::new(3);
/// The label of a page fault's message, and where the address is in it (seL4's VMFault).
const VM_FAULT: u64 = 5;
const VM_FAULT_ADDRESS: usize = 1;

struct Parent;

#[protection_domain]
fn init() -> impl Handler {
    Parent
}

impl Handler for Parent {
    type Error = Infallible;

    fn fault(&mut self, child: Child, message: MessageInfo) -> Result<Option<MessageInfo>, Infallible> {
        assert_eq!(child, Child::new(*var!(child_id: usize = 0)));
        assert_eq!((message.label(), get_mr(VM_FAULT_ADDRESS)), (VM_FAULT, 0xc0_ffe0));
        debug_println!("parent: the child has crashed");
        USER.notify();
        Ok(None)
    }
}
