//! Other threads of the root task's address space.

use crate::memory::{BufferPage, Stack};
use crate::root::Root;
use sel4_abi::CPtr;
use sel4_abi::invocations::{TcbConfiguration, ThreadRegisters};
use sel4_abi::numbers::{object, slot, thread_register as reg};

/// The root task's priority.
pub const PRIORITY: u8 = 255;
/// RFLAGS of a thread: interrupts on.
const RFLAGS: u64 = 0x202;

/// A thread of the root task's priority that has not started.
pub struct Thread {
    pub tcb: CPtr,
    registers: ThreadRegisters,
}

impl Thread {
    /// A thread whose faults nobody hears of.
    pub fn new<const SIZE: usize>(
        root: &mut Root,
        entry: extern "C" fn() -> !,
        stack: &'static Stack<SIZE>,
        buffer: &'static BufferPage,
    ) -> Self {
        Self::with_faults_to(0, root, entry, stack, buffer)
    }

    /// A thread whose faults the kernel sends to an endpoint.
    pub fn with_faults_to<const SIZE: usize>(
        endpoint: CPtr,
        root: &mut Root,
        entry: extern "C" fn() -> !,
        stack: &'static Stack<SIZE>,
        buffer: &'static BufferPage,
    ) -> Self {
        let tcb = root.object(object::TCB, 0);
        let address = buffer.pointer() as u64;
        let frame = root.frame_at(address);
        let configuration = TcbConfiguration {
            fault_endpoint: endpoint,
            priority: PRIORITY,
            maximum_priority: PRIORITY,
            cspace: (slot::INIT_CNODE, 0),
            vspace: slot::INIT_VSPACE,
            ipc_buffer: (address, frame),
        };
        root.ipc.tcb_configure(tcb, &configuration).expect("TCB");
        let mut registers: ThreadRegisters = [0; reg::TLS_BASE + 1];
        registers[reg::FAULT_IP] = entry as usize as u64;
        registers[reg::RSP] = stack.top();
        registers[reg::FLAGS] = RFLAGS;
        Thread { tcb, registers }
    }

    /// Starts it from its beginning.
    pub fn start(&self, root: &mut Root) {
        root.ipc.tcb_write_registers(self.tcb, true, &self.registers).expect("thread registers");
    }

    /// The same with another value in one register.
    pub fn start_with(&self, root: &mut Root, register: usize, value: u64) {
        let mut registers = self.registers;
        registers[register] = value;
        root.ipc.tcb_write_registers(self.tcb, true, &registers).expect("thread registers");
    }

    pub fn stop(&self, root: &mut Root) {
        root.ipc.tcb_suspend(self.tcb).expect("suspend");
    }
}
