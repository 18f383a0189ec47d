//! The seam between the VMM's logic and the virtual CPU.

use crate::arch::{Field, Interruption};
use crate::exit::RawExit;
use crate::registers::Registers;
use crate::switched::Switched;

/// What VM entry takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Where the guest goes on.
    pub rip: u64,
    /// Primary processor-based VM-execution controls.
    pub primary_controls: u64,
    /// The event to inject.
    pub injection: Interruption,
    /// The VMM completed an instruction for the guest since the last exit.
    pub completed: bool,
    /// New general-purpose registers, if the VMM changed any.
    pub registers: Option<Registers>,
}

/// Why the guest stopped running.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Return {
    /// A VM exit.
    Exit(RawExit),
    /// A channel was notified; the guest is as it was when it was interrupted.
    Notified {
        /// RIP at which the guest goes on.
        rip: u64,
        /// Valid if the injection that was asked for did not happen.
        injection: Interruption,
        /// Somebody asks for the end of the guest.
        end: bool,
    },
}

/// The guest's memory, by guest-physical addresses.
pub trait Memory {
    /// Copies guest memory from `address` on; false (and nothing copied) unless all of it is RAM.
    fn read_memory(&self, address: u64, bytes: &mut [u8]) -> bool;

    /// Writes guest memory from `address` on; false (and nothing written) unless all of it is RAM.
    fn write_memory(&mut self, address: u64, bytes: &[u8]) -> bool;
}

/// A virtual CPU and the memory that it runs in.
pub trait Vcpu: Memory {
    /// Runs the guest until it exits or a channel is notified.
    fn enter(&mut self, entry: &Entry) -> Return;

    /// Reads a VMCS field.
    fn read(&mut self, field: Field) -> u64;

    /// Writes a VMCS field.
    fn write(&mut self, field: Field, value: u64);

    /// Sets a register that the kernel switches with the guest; false if there is none, or it does not take the value.
    fn set(&mut self, register: Switched, value: u64) -> bool;

    /// The time-stamp counter, in cycles, as the guest reads it.
    fn now(&self) -> u64;
}
