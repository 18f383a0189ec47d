use crate::CPtr;
use crate::numbers::limit;
use static_assertions::const_assert_eq;

/// A thread's IPC buffer (seL4_IPCBuffer): the message words that do not travel in processor registers, and
/// the capabilities of a message.
#[derive(Debug)]
#[repr(C, align(1024))]
pub struct IpcBuffer {
    /// Not used by the kernel's system calls.
    pub tag: u64,
    /// The words of a message. The first four travel in processor registers instead.
    pub message: [u64; limit::MESSAGE_LENGTH],
    /// Free for the program.
    pub user_data: u64,
    /// Capabilities to send; after receiving, badges of those unwrapped.
    pub caps: [CPtr; limit::EXTRA_CAPS],
    /// The CNode for a received capability.
    pub receive_cnode: CPtr,
    /// The slot in it.
    pub receive_index: u64,
    /// How many bits of the index to resolve.
    pub receive_depth: u64,
}

const_assert_eq!(size_of::<IpcBuffer>(), limit::IPC_BUFFER_SIZE);
