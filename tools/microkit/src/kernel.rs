//! The kernel as this crate needs it: the IPC buffer, the system calls, the invocations. Every other module is
//! free of system calls.

use crate::abi::{label, syscall};
use core::arch::asm;
use core::cell::{RefCell, UnsafeCell};

/// Message registers in a message.
pub const MESSAGE_REGISTERS: usize = 120;
/// Message registers that system calls pass in processor registers.
const FAST_REGISTERS: usize = 4;
/// Extra capabilities in a message.
const EXTRA_CAPS: usize = 3;

/// The page through which the kernel and the thread pass messages.
#[repr(C)]
pub struct IpcBuffer {
    tag: u64,
    /// The message registers.
    pub msg: [u64; MESSAGE_REGISTERS],
    user_data: u64,
    caps: [u64; EXTRA_CAPS],
    receive: [u64; 3],
}

/// The IPC buffer's page; its own, because the kernel and the image build map it.
#[repr(C, align(4096))]
struct IpcPage(UnsafeCell<IpcBuffer>);

// SAFETY: the protection domain has one thread; the guard in `with_ipc_buffer` keeps references unique.
unsafe impl Sync for IpcPage {}

#[unsafe(no_mangle)]
#[allow(non_upper_case_globals)]
static __sel4_ipc_buffer_obj: IpcPage = IpcPage(UnsafeCell::new(IpcBuffer {
    tag: 0,
    msg: [0; MESSAGE_REGISTERS],
    user_data: 0,
    caps: [0; EXTRA_CAPS],
    receive: [0; 3],
}));

/// Says whether somebody has a reference to the IPC buffer.
struct Guard(RefCell<()>);

// SAFETY: the protection domain has one thread.
unsafe impl Sync for Guard {}

static GUARD: Guard = Guard(RefCell::new(()));

/// Gives `f` the IPC buffer.
///
/// # Panics
/// If called inside another call's `f`.
pub fn with_ipc_buffer<T>(f: impl FnOnce(&mut IpcBuffer) -> T) -> T {
    let _guard = GUARD.0.borrow_mut();
    let mut pointer = __sel4_ipc_buffer_obj.0.get();
    // SAFETY: the assembly does nothing; it makes the page's address known outside, as it is to the kernel.
    unsafe { asm!("/* {0} */", inout(reg) pointer, options(nostack, preserves_flags)) };
    // SAFETY: the page lives for ever, and the guard keeps this reference the only one.
    f(unsafe { &mut *pointer })
}

/// A message's tag: label, capabilities and number of message registers.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub struct MessageInfo(u64);

impl MessageInfo {
    const LABEL_SHIFT: u32 = 12;
    const EXTRA_CAPS_SHIFT: u32 = 7;
    const LENGTH_MASK: u64 = (1 << Self::EXTRA_CAPS_SHIFT) - 1;

    pub const fn new(label: u64, _caps_unwrapped: usize, extra_caps: usize, length: usize) -> Self {
        assert!(label >> Self::label_width() == 0 && extra_caps <= EXTRA_CAPS && length <= MESSAGE_REGISTERS);
        Self(label << Self::LABEL_SHIFT | (extra_caps as u64) << Self::EXTRA_CAPS_SHIFT | length as u64)
    }

    pub const fn label(self) -> u64 {
        self.0 >> Self::LABEL_SHIFT
    }

    pub const fn label_width() -> usize {
        (u64::BITS - Self::LABEL_SHIFT) as usize
    }

    pub const fn length(self) -> usize {
        (self.0 & Self::LENGTH_MASK) as usize
    }
}

/// Why the kernel refused an invocation.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// An argument is out of range or means nothing.
    InvalidArgument,
    /// A capability has the wrong type, lacks a right or is not there.
    InvalidCapability,
    /// The operation is not possible here.
    IllegalOperation,
    /// An argument is out of range; the kernel said which range.
    RangeError,
    /// An address is misaligned.
    AlignmentError,
    /// A capability was not found.
    FailedLookup,
    /// The message is too short.
    TruncatedMessage,
    /// Something must be deleted first.
    DeleteFirst,
    /// Something must be revoked first.
    RevokeFirst,
    /// There is not enough memory.
    NotEnoughMemory,
    /// A label that no kernel header names.
    Unknown(u64),
}

impl Error {
    /// The error in an invocation's reply; label 0 is success.
    fn check(label: u64) -> Result<(), Error> {
        Err(match label {
            0 => return Ok(()),
            1 => Error::InvalidArgument,
            2 => Error::InvalidCapability,
            3 => Error::IllegalOperation,
            4 => Error::RangeError,
            5 => Error::AlignmentError,
            6 => Error::FailedLookup,
            7 => Error::TruncatedMessage,
            8 => Error::DeleteFirst,
            9 => Error::RevokeFirst,
            10 => Error::NotEnoughMemory,
            other => Error::Unknown(other),
        })
    }
}

type Fast = [u64; FAST_REGISTERS];

/// One system call: returns the badge and tag words.
fn system_call(number: i64, destination: u64, tag: u64, fast: &mut Fast) -> (u64, u64) {
    let (badge, info);
    // SAFETY: the kernel keeps every register but those named here; the stack pointer is kept in r14. The IPC
    // buffer's address is known outside (`with_ipc_buffer`), so that the compiler expects it to change.
    unsafe {
        asm!("mov r14, rsp", "syscall", "mov rsp, r14",
            inout("rdx") number => _, inout("rdi") destination => badge, inout("rsi") tag => info,
            inout("r10") fast[0], inout("r8") fast[1], inout("r9") fast[2], inout("r15") fast[3],
            out("rcx") _, out("r11") _, out("r14") _, out("rax") _);
    }
    (badge, info)
}

fn load_fast() -> Fast {
    with_ipc_buffer(|buffer| core::array::from_fn(|i| buffer.msg[i]))
}

fn store_fast(fast: Fast) {
    with_ipc_buffer(|buffer| buffer.msg[..FAST_REGISTERS].copy_from_slice(&fast));
}

/// A system call that sends the message registers and receives into them.
fn exchange(number: i64, slot: u64, info: MessageInfo) -> (MessageInfo, u64) {
    let mut fast = load_fast();
    let (badge, tag) = system_call(number, slot, info.0, &mut fast);
    store_fast(fast);
    (MessageInfo(tag), badge)
}

pub fn recv(slot: u64) -> (MessageInfo, u64) {
    exchange(syscall::RECV, slot, MessageInfo::new(0, 0, 0, 0))
}

pub fn reply_recv(slot: u64, info: MessageInfo) -> (MessageInfo, u64) {
    exchange(syscall::REPLY_RECV, slot, info)
}

pub fn call(slot: u64, info: MessageInfo) -> MessageInfo {
    exchange(syscall::CALL, slot, info).0
}

pub fn reply(info: MessageInfo) {
    system_call(syscall::REPLY, 0, info.0, &mut load_fast());
}

pub fn signal(slot: u64) {
    system_call(syscall::SEND, slot, MessageInfo::new(0, 0, 0, 0).0, &mut [0; FAST_REGISTERS]);
}

pub fn debug_put_char(character: u8) {
    system_call(syscall::DEBUG_PUT_CHAR, character.into(), 0, &mut [0; FAST_REGISTERS]);
}

/// How `VMEnter` returned.
pub enum VmEnterResult {
    /// By a VM exit; the message registers from the fifth on are in the IPC buffer.
    Fault,
    /// By a notification.
    Notification {
        /// Of the notification.
        badge: u64,
    },
}

/// Runs the guest.
pub fn vm_enter(mut fast: Fast) -> (VmEnterResult, Fast) {
    let (badge, fault) = system_call(syscall::VM_ENTER, 0, 0, &mut fast);
    let result = if fault == 0 { VmEnterResult::Notification { badge } } else { VmEnterResult::Fault };
    (result, fast)
}

/// Invokes the object in `slot` with `words` and one capability at most; the result's words are in the message
/// registers.
fn invoke(slot: u64, label: u64, words: &[u64], cap: Option<u64>) -> Result<(), Error> {
    with_ipc_buffer(|buffer| {
        buffer.msg[..words.len()].copy_from_slice(words);
        buffer.caps[0] = cap.unwrap_or(0);
    });
    let info = MessageInfo::new(label, 0, cap.iter().count(), words.len());
    Error::check(call(slot, info).label())
}

/// The first words of the last invocation's result.
fn result<const N: usize>() -> [u64; N] {
    with_ipc_buffer(|buffer| core::array::from_fn(|i| buffer.msg[i]))
}

pub fn irq_handler_ack(slot: u64) -> Result<(), Error> {
    invoke(slot, label::IRQ_ACK_IRQ, &[], None)
}

pub fn io_port_in8(slot: u64, port: u16) -> Result<u8, Error> {
    invoke(slot, label::X86_IO_PORT_IN8, &[port.into()], None)?;
    let [value] = result();
    Ok(value.to_le_bytes()[0])
}

pub fn io_port_out8(slot: u64, port: u16, value: u8) -> Result<(), Error> {
    invoke(slot, label::X86_IO_PORT_OUT8, &[port.into(), value.into()], None)
}

pub fn vcpu_read_vmcs(slot: u64, field: u64) -> Result<u64, Error> {
    invoke(slot, label::X86_VCPU_READ_VMCS, &[field], None)?;
    let [value] = result();
    Ok(value)
}

pub fn vcpu_write_vmcs(slot: u64, field: u64, value: u64) -> Result<u64, Error> {
    invoke(slot, label::X86_VCPU_WRITE_VMCS, &[field, value], None)?;
    let [written] = result();
    Ok(written)
}

pub fn vcpu_write_registers(slot: u64, registers: &[u64]) -> Result<(), Error> {
    invoke(slot, label::X86_VCPU_WRITE_REGISTERS, registers, None)
}

pub fn vcpu_enable_io_port(slot: u64, ports: u64, first: u16, last: u16) -> Result<(), Error> {
    invoke(slot, label::X86_VCPU_ENABLE_IO_PORT, &[first.into(), last.into()], Some(ports))
}

pub fn vcpu_disable_io_port(slot: u64, first: u16, last: u16) -> Result<(), Error> {
    invoke(slot, label::X86_VCPU_DISABLE_IO_PORT, &[first.into(), last.into()], None)
}

/// CPUID leaf 0xA EAX to EDX, IA32_PERF_CAPABILITIES, flags.
pub fn vcpu_pmu_get_geometry(slot: u64) -> Result<[u64; 6], Error> {
    invoke(slot, label::X86_VCPU_PMU_GET_GEOMETRY, &[], None)?;
    Ok(result())
}

pub fn vcpu_pmu_set_mode(slot: u64, mode: u64) -> Result<(), Error> {
    invoke(slot, label::X86_VCPU_PMU_SET_MODE, &[mode], None)
}

pub fn vcpu_pmu_write_msr(slot: u64, msr: u32, value: u64) -> Result<(), Error> {
    invoke(slot, label::X86_VCPU_PMU_WRITE_MSR, &[msr.into(), value], None)
}

pub fn vcpu_pmu_read_msr(slot: u64, msr: u32) -> Result<u64, Error> {
    invoke(slot, label::X86_VCPU_PMU_READ_MSR, &[msr.into()], None)?;
    let [value] = result();
    Ok(value)
}
