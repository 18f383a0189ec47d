//! Memory that is not only Rust's: stacks, IPC buffers, the guests' RAM.

use core::cell::UnsafeCell;
use sel4_abi::IpcBuffer;

/// A thread's stack.
#[repr(C, align(4096))]
pub struct Stack<const SIZE: usize>(UnsafeCell<[u8; SIZE]>);

// SAFETY: only the thread whose stack it is uses it.
unsafe impl<const SIZE: usize> Sync for Stack<SIZE> {}

impl<const SIZE: usize> Stack<SIZE> {
    pub const fn new() -> Self {
        Stack(UnsafeCell::new([0; SIZE]))
    }

    /// The address after the last byte, for a function that was not called: aligned as after a call.
    pub fn top(&self) -> u64 {
        self.0.get() as u64 + SIZE as u64 - 8
    }
}

/// A page for a thread's IPC buffer.
#[repr(C, align(4096))]
pub struct BufferPage(UnsafeCell<[u8; 4096]>);

// SAFETY: only the thread whose buffer it is uses it.
unsafe impl Sync for BufferPage {}

impl BufferPage {
    pub const fn new() -> Self {
        BufferPage(UnsafeCell::new([0; 4096]))
    }

    pub fn pointer(&self) -> *mut IpcBuffer {
        self.0.get().cast()
    }
}

/// Pages of the guests' RAM, guest-physical 0 to [`GUEST_SIZE`].
pub const GUEST_PAGES: usize = 16;
/// Bytes of it.
pub const GUEST_SIZE: usize = GUEST_PAGES * 4096;

#[repr(C, align(4096))]
struct GuestRam(UnsafeCell<[u8; GUEST_SIZE]>);

// SAFETY: guests write it at any time; Rust only touches it by volatile accesses.
unsafe impl Sync for GuestRam {}

static GUEST: GuestRam = GuestRam(UnsafeCell::new([0; GUEST_SIZE]));

/// The address of the guests' RAM.
pub fn guest_ram() -> u64 {
    GUEST.0.get() as u64
}

/// Writes bytes to guest-physical `address`.
pub fn write_guest(address: usize, bytes: &[u8]) {
    assert!(address + bytes.len() <= GUEST_SIZE);
    for (i, byte) in bytes.iter().enumerate() {
        // SAFETY: inside the array, as asserted.
        unsafe { GUEST.0.get().cast::<u8>().add(address + i).write_volatile(*byte) };
    }
}

/// Writes a word to guest-physical `address`.
pub fn write_guest_word(address: usize, value: u64) {
    write_guest(address, &value.to_le_bytes());
}

/// Reads a word from guest-physical `address`.
pub fn read_guest_word(address: usize) -> u64 {
    assert!(address + 8 <= GUEST_SIZE && address.is_multiple_of(8));
    // SAFETY: inside the array and aligned, as asserted.
    unsafe { GUEST.0.get().cast::<u8>().add(address).cast::<u64>().read_volatile() }
}
