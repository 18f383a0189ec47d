//! The logic of the virtual machine monitor: exits to an enum, dispatch to outcomes, CPUID, MSRs, devices. It
//! knows neither the kernel nor the PMU: the virtual CPU is behind [`Vcpu`], the policy domain behind
//! [`PmuLink`].
//!
//! [`Vm::run`] is the loop. Section numbers are those of the Intel SDM, revision 325462-083.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

pub mod alu;
pub mod apic;
pub mod arch;
pub mod boot;
pub mod control;
pub mod cpuid;
pub mod devices;
pub mod exit;
pub mod instruction;
pub mod loader;
pub mod msr;
pub mod mtrr;
pub mod paging;
pub mod pmu;
pub mod registers;
pub mod report;
pub mod seam;
pub mod stock;
pub mod switched;
pub mod trace;
pub mod tsc;
pub mod vcpu;
pub mod vm;

pub use arch::{Field, Interruption};
pub use exit::RawExit;
pub use pmu::PmuLink;
pub use registers::Registers;
pub use report::StopReason;
pub use vcpu::{Entry, Memory, Return, Vcpu};
pub use vm::{Observer, Outcome, Vm};
