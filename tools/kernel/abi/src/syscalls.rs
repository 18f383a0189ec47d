//! System calls. On this kernel's x86-64: the number in RDX, the capability in RDI, the message's description in
//! RSI, message registers 0 to 3 in R10, R8, R9 and R15. RCX and R11 are lost, and RSP comes back as 0.

use crate::numbers::{syscall, vm_enter};
use crate::{CPtr, Error, IpcBuffer, MESSAGE_REGISTERS, MessageInfo};
use core::arch::asm;
use core::ptr::NonNull;

/// A thread's access to the kernel: the right to make system calls that use its IPC buffer.
pub struct Ipc {
    buffer: NonNull<IpcBuffer>,
}

/// What was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// The sender's badge.
    pub badge: u64,
    /// The message's description.
    pub info: MessageInfo,
    /// Message registers 0 to 3.
    pub registers: [u64; MESSAGE_REGISTERS],
}

/// Why VMEnter returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VmEnter {
    /// The guest exited; [`Ipc::message_register`] has the words that `numbers::vm_enter` names.
    Exit,
    /// The thread's notification was signalled, or its VCPU was taken away (badge 0). Message registers 0 to 2
    /// are as for an exit.
    Notification {
        /// The badge of the signal.
        badge: u64,
    },
}

/// # Safety
/// The kernel does to the caller's memory what the system call says, and reads and writes its IPC buffer.
#[inline(always)]
unsafe fn trap(
    number: i64,
    destination: u64,
    info: u64,
    registers: &mut [u64; MESSAGE_REGISTERS],
) -> (u64, u64) {
    let (badge, reply);
    // SAFETY: the registers that the kernel changes are outputs; RSP is kept in R14, which it preserves.
    unsafe {
        asm!(
            "mov r14, rsp",
            "syscall",
            "mov rsp, r14",
            inout("rdx") number => _,
            inout("rdi") destination => badge,
            inout("rsi") info => reply,
            inout("r10") registers[0],
            inout("r8") registers[1],
            inout("r9") registers[2],
            inout("r15") registers[3],
            out("rcx") _,
            out("r11") _,
            out("r14") _,
        );
    }
    (badge, reply)
}

impl Ipc {
    /// The access of the running thread, whose IPC buffer is at `buffer`.
    ///
    /// # Safety
    /// `buffer` is the IPC buffer of the thread that uses the value, mapped for as long as it lives, and nothing
    /// else reads or writes it.
    #[must_use]
    pub const unsafe fn new(buffer: NonNull<IpcBuffer>) -> Self {
        Ipc { buffer }
    }

    /// The IPC buffer.
    #[must_use]
    pub fn buffer(&self) -> &IpcBuffer {
        // SAFETY: by the promise of `new`, valid and used through `self` only.
        unsafe { self.buffer.as_ref() }
    }

    /// The IPC buffer.
    pub fn buffer_mut(&mut self) -> &mut IpcBuffer {
        // SAFETY: by the promise of `new`, valid and used through `self` only.
        unsafe { self.buffer.as_mut() }
    }

    /// Message register `index` of the last message received, of which the first four are `registers`.
    #[must_use]
    pub fn message_register(&self, registers: &[u64; MESSAGE_REGISTERS], index: usize) -> Option<u64> {
        registers.get(index).or_else(|| self.buffer().message.get(index)).copied()
    }

    #[inline(always)]
    fn system_call(
        &mut self,
        number: i64,
        destination: CPtr,
        info: MessageInfo,
        registers: &mut [u64; MESSAGE_REGISTERS],
    ) -> (u64, MessageInfo) {
        // SAFETY: `&mut self` is the only access to the IPC buffer; the assembly is a compiler barrier.
        let (badge, info) = unsafe { trap(number, destination, info.0, registers) };
        (badge, MessageInfo(info))
    }

    /// Sends a message and waits for the reply, which comes back in `registers`.
    pub fn call(
        &mut self,
        destination: CPtr,
        info: MessageInfo,
        registers: &mut [u64; MESSAGE_REGISTERS],
    ) -> MessageInfo {
        self.system_call(syscall::CALL, destination, info, registers).1
    }

    /// Sends a message; waits until it is received.
    pub fn send(&mut self, destination: CPtr, info: MessageInfo, registers: [u64; MESSAGE_REGISTERS]) {
        self.system_call(syscall::SEND, destination, info, &mut { registers });
    }

    /// Sends a message, or drops it if nobody waits.
    pub fn nb_send(&mut self, destination: CPtr, info: MessageInfo, registers: [u64; MESSAGE_REGISTERS]) {
        self.system_call(syscall::NB_SEND, destination, info, &mut { registers });
    }

    /// Replies to the last caller.
    pub fn reply(&mut self, info: MessageInfo, registers: [u64; MESSAGE_REGISTERS]) {
        self.system_call(syscall::REPLY, 0, info, &mut { registers });
    }

    /// Waits for a message or notification.
    pub fn recv(&mut self, source: CPtr) -> Received {
        let mut registers = [0; MESSAGE_REGISTERS];
        let (badge, info) = self.system_call(syscall::RECV, source, MessageInfo::default(), &mut registers);
        Received { badge, info, registers }
    }

    /// Receives a message or notification if there is one; badge 0 if not.
    pub fn nb_recv(&mut self, source: CPtr) -> Received {
        let mut registers = [0; MESSAGE_REGISTERS];
        let (badge, info) =
            self.system_call(syscall::NB_RECV, source, MessageInfo::default(), &mut registers);
        Received { badge, info, registers }
    }

    /// Replies to the last caller and waits for the next message or notification.
    pub fn reply_recv(
        &mut self,
        source: CPtr,
        info: MessageInfo,
        registers: [u64; MESSAGE_REGISTERS],
    ) -> Received {
        let mut registers = registers;
        let (badge, info) = self.system_call(syscall::REPLY_RECV, source, info, &mut registers);
        Received { badge, info, registers }
    }

    /// Signals a notification.
    pub fn signal(&mut self, notification: CPtr) {
        self.send(notification, MessageInfo::default(), [0; MESSAGE_REGISTERS]);
    }

    /// Enters the guest of the thread's VCPU. `registers`: guest RIP, primary processor-based controls,
    /// VM-entry interruption information, and what was completed for the guest (`numbers::pmu`) with the
    /// VMX-preemption timer's new value, if it gets one (`numbers::vm_enter`); afterwards message registers 0 to 3 of
    /// the result.
    ///
    /// A thread without a VCPU gets an unknown-syscall fault.
    pub fn vm_enter(&mut self, registers: &mut [u64; MESSAGE_REGISTERS]) -> VmEnter {
        let (badge, info) = self.system_call(syscall::VM_ENTER, 0, MessageInfo::default(), registers);
        if info.0 == vm_enter::RESULT_FAULT as u64 { VmEnter::Exit } else { VmEnter::Notification { badge } }
    }

    /// Invokes the object of `service` with `label`, words and capabilities; the first words of the answer.
    ///
    /// # Errors
    /// The kernel refuses; or `arguments` or `caps` are more than a message can hold
    /// ([`Error::TruncatedMessage`]).
    pub fn invoke(
        &mut self,
        service: CPtr,
        label: u64,
        arguments: &[u64],
        caps: &[CPtr],
    ) -> Result<[u64; MESSAGE_REGISTERS], Error> {
        let buffer = self.buffer_mut();
        let words = buffer.message.get_mut(..arguments.len()).ok_or(Error::TruncatedMessage)?;
        let slots = buffer.caps.get_mut(..caps.len()).ok_or(Error::TruncatedMessage)?;
        slots.copy_from_slice(caps);
        let mut registers = [0; MESSAGE_REGISTERS];
        if let Some((in_registers, in_buffer)) = arguments.split_at_checked(MESSAGE_REGISTERS) {
            registers.copy_from_slice(in_registers);
            words[MESSAGE_REGISTERS..].copy_from_slice(in_buffer);
        } else {
            registers[..arguments.len()].copy_from_slice(arguments);
        }
        let info = MessageInfo::new(label, caps.len() as u64, arguments.len() as u64);
        let reply = self.call(service, info, &mut registers);
        Error::from_label(reply.label()).map(|()| registers)
    }
}

/// Gives the processor to another thread of the same priority, if there is one.
pub fn yield_now() {
    // SAFETY: touches no memory of the caller.
    unsafe { trap(syscall::YIELD, 0, 0, &mut [0; MESSAGE_REGISTERS]) };
}

/// Prints a byte on the serial line. Debug kernel only: on a release kernel this is an unknown system call.
pub fn debug_put_char(byte: u8) {
    // SAFETY: touches no memory of the caller.
    unsafe { trap(syscall::DEBUG_PUT_CHAR, u64::from(byte), 0, &mut [0; MESSAGE_REGISTERS]) };
}

/// Stops the machine. Debug kernel only: on a release kernel this is an unknown system call.
pub fn debug_halt() -> ! {
    loop {
        // SAFETY: touches no memory of the caller.
        unsafe { trap(syscall::DEBUG_HALT, 0, 0, &mut [0; MESSAGE_REGISTERS]) };
    }
}
