//! What the root task has: the kernel's ear, memory for objects, empty slots, the serial line.

use core::fmt;
use core::ptr::NonNull;
use initialiser::console::Console;
use sel4_abi::invocations::Slot;
use sel4_abi::numbers::{object, size_bits, slot};
use sel4_abi::{BootInfo, CPtr, Error, Ipc, Rights};

unsafe extern "C" {
    /// The first byte of this program, where its first frame is mapped.
    static __ehdr_start: u8;
}

/// The serial line, on either kernel.
pub const CONSOLE: Console = Console::Serial(slot::IO_PORT);
/// COM1's line control register, and 8 bits without parity.
const LINE_CONTROL: (u16, u8) = (0x3fb, 3);
/// Writing this there ends Bochs.
const SHUTDOWN: (u16, &[u8]) = (0x8900, b"Shutdown");

/// The root task's authority.
pub struct Root {
    pub ipc: Ipc,
    next_slot: u64,
    untyped: CPtr,
    first_frame: u64,
}

impl Root {
    pub fn new(boot_info: &'static BootInfo) -> Self {
        let buffer = NonNull::new(boot_info.ipc_buffer).expect("the kernel gives an IPC buffer");
        // SAFETY: the kernel maps the IPC buffer where it says, for this thread alone.
        let mut ipc = unsafe { Ipc::new(buffer) };
        ipc.io_port_out8(slot::IO_PORT, LINE_CONTROL.0, LINE_CONTROL.1).expect("COM1");
        let memory = boot_info.untyped().filter(|(_, u)| u.is_device == 0).max_by_key(|(_, u)| u.size_bits);
        let (untyped, _) = memory.expect("the kernel gives untyped memory");
        let next_slot = boot_info.empty.slots().start;
        Root { ipc, next_slot, untyped, first_frame: boot_info.user_image_frames.slots().start }
    }

    /// Prints a line.
    pub fn line(&mut self, text: fmt::Arguments<'_>) {
        CONSOLE.line(&mut self.ipc, text);
    }

    /// An empty slot, as a capability address.
    pub fn empty(&mut self) -> CPtr {
        self.next_slot += 1;
        self.next_slot - 1
    }

    /// Makes an object.
    pub fn object(&mut self, kind: u64, bits: u8) -> CPtr {
        let to = self.empty();
        let node = Slot { root: slot::INIT_CNODE, index: 0, depth: 0 };
        let made = self.ipc.untyped_retype(self.untyped, kind, bits.into(), node, to, 1);
        made.unwrap_or_else(|error| panic!("object of type {kind}: {error}"));
        to
    }

    /// A copy of a capability with at most `rights`.
    pub fn copy(&mut self, from: CPtr, rights: Rights) -> Result<CPtr, Error> {
        let to = self.empty();
        self.ipc.cnode_copy(Slot::of(slot::INIT_CNODE, to), Slot::of(slot::INIT_CNODE, from), rights)?;
        Ok(to)
    }

    /// Deletes a capability.
    pub fn delete(&mut self, cap: CPtr) {
        self.ipc.cnode_delete(Slot::of(slot::INIT_CNODE, cap)).expect("delete");
    }

    /// A capability of the frame of this program at `address`, free to be mapped elsewhere.
    pub fn frame_at(&mut self, address: u64) -> CPtr {
        let start = (&raw const __ehdr_start) as u64 & !0xfff;
        let frame = self.first_frame + ((address - start) >> size_bits::PAGE_4K);
        self.copy(frame, Rights::ALL).expect("copy of a frame")
    }

    /// Untyped memory of its own, for others to use up.
    pub fn spare_memory(&mut self, bits: u8) -> CPtr {
        self.object(object::UNTYPED, bits)
    }

    /// Ends Bochs.
    pub fn shut_down(&mut self) {
        for byte in SHUTDOWN.1 {
            // A port that is refused leaves the time limit to end the run.
            let _ = self.ipc.io_port_out8(slot::IO_PORT, SHUTDOWN.0, *byte);
        }
    }
}
