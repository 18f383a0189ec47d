//! The architectural performance-monitoring unit (PMU) of Intel processors as a pure state machine.
//!
//! [`Pmu`] holds what the SDM (revision 325462-083, volume 3B, chapter 20) calls architectural
//! performance monitoring, versions 1 to 5, for one logical processor. It has no clock and no memory: its
//! user says what happened ([`Pmu::advance`] with [`Events`]), reads and writes its registers
//! ([`Pmu::rdmsr`], [`Pmu::wrmsr`], [`Pmu::rdpmc`]) and tells it of VM entries and exits
//! ([`Pmu::vm_entry`], [`Pmu::vm_exit`]).
//!
//! # Steps and batches
//!
//! The unit of time is a *step*: an instruction, which takes one core cycle, or a span of cycles in which
//! nothing else happens (the cost of a VM exit, say). Handing every step to [`Pmu::advance`] is always right.
//! Handing it the sum of several is right too, and gives the same state, while the sum stays within
//! [`Pmu::headroom`] and the ring does not change. Registers are read and written between batches.
//!
//! # Which instruction counts where
//!
//! An instruction belongs to the ring in which it began, and to the register values in force before it. So
//! SYSCALL, INT n and a far call count for the ring that executed them, SYSRET and IRET for the kernel; a
//! WRMSR that enables a counter is not counted by it, one that disables it is; a VM-entry instruction that
//! succeeds counts for the host. An instruction that faults or causes a fault-like VM exit does not retire.
//! A REP string instruction retires once. Its iterations are cycles.
#![no_std]
#![forbid(unsafe_code)]

mod counting;
mod event;
mod geometry;
mod llc;
mod lvtpc;
pub mod msr;
mod msr_access;
mod pmi;
mod pmu;
mod predictor;
mod registers;
mod vmx;

pub use event::{Event, Events, SLOTS_PER_CYCLE};
pub use geometry::{Cpuid0A, Geometry, GeometryError, MAX_FIXED, MAX_GP};
pub use llc::{Llc, Lookup};
pub use lvtpc::{Delivery, Lvtpc, PmiRequest};
pub use msr_access::{GeneralProtection, MsrError};
pub use pmi::PmiLine;
pub use pmu::{Headroom, Observed, Pmu, Ring};
pub use predictor::Predictor;
pub use registers::{DebugCtl, FixedCtrCtrl, FixedField, PerfCapabilities, PerfEvtSel};
pub use vmx::{ExitLoads, GuestLoads, InvalidState, SavedState};
