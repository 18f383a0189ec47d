//! The vPMU: what a guest sees of the PMU, and what the policy lets reach the hardware.
//!
//! A [`Domain`] serves one [`Vm`] for each channel of the policy. A VM's [`Vpmu`] keeps the guest's control
//! registers; everything else lives in the VCPU's PMU context, reached by [`PmuPort`]. Every control write
//! recomputes the whole hardware value ([`shadow`]) from the guest's value and the event filter ([`filter`]).
//!
//! Whether a control write is accepted and what the hardware gets for it depend on four things alone: the register, the
//! guest's value, the guest's geometry, and the filter in force, whose table does not change while it is ([`validity`]
//! and [`shadow`] are pure functions of them). Therefore a pair of guest's and hardware's value, once decided, holds
//! until the filter or the mode changes, and the domain lets the kernel complete the guest's next write of it
//! ([`Approval`]): mediated VMs only. The domain's own copy of the guest's control registers is then as old as their last
//! trap: it is read back from the kernel before it is used.
//!
//! SDM sections are those of revision 325462-083; volume 3B, chapter 20, unless another volume is named.
#![no_std]
#![forbid(unsafe_code)]

pub mod approved;
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
pub use port::{Approval, GuestControl, KernelMode, PmuPort, PortError, RawGeometry};
pub use statistics::{RegionCells, VmCells};
pub use vpmu::Vpmu;
