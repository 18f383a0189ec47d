//! The vPMU: what a guest sees of the PMU, and what the policy lets reach the hardware.
//!
//! A [`Domain`] serves one [`Vm`] for each channel of the policy. A VM's [`Vpmu`] keeps the guest's control
//! registers; everything else lives in the VCPU's PMU context, reached by [`PmuPort`]. Every control write
//! recomputes the whole hardware value ([`shadow`]) from the guest's value and the event filter ([`filter`]).
//!
//! SDM sections are those of revision 325462-083; volume 3B, chapter 20, unless another volume is named.
#![no_std]
#![forbid(unsafe_code)]

pub mod arch;
pub mod domain;
pub mod filter;
pub mod geometry;
pub mod msr_port;
pub mod pmi;
pub mod policy;
pub mod port;
pub mod registers;
pub mod shadow;
pub mod snapshot;
pub mod statistics;
pub mod validity;
pub mod vpmu;

mod checksum;

pub use domain::{Domain, Vm};
pub use filter::Filter;
pub use geometry::{Geometry, Hardware, Wanted};
pub use policy::{Policy, PolicyError};
pub use port::{KernelMode, PmuPort, PortError, RawGeometry};
pub use statistics::{RegionCells, VmCells};
pub use vpmu::Vpmu;
