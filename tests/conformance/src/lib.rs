//! Conformance of pmu_core to the specification in tests/spec.
//!
//! [`Subject`] is pmu_core behind its real protocol, on a [`Context`] in place of the kernel. [`Reference`] is a plain
//! model of one guest's vPMU. Both carry out the same [`Op`]s and print the same trace; the oracle extracted from
//! the Coq specification replays traces of both. What agrees with the reference on every sequence of an alphabet
//! ([`exhaustive`]) therefore agrees with the specification as far as the reference does.
#![forbid(unsafe_code)]

pub mod alphabet;
pub mod authority;
pub mod corruption;
pub mod exhaustive;
pub mod exits;
pub mod filter;
pub mod hardware;
pub mod oracle;
pub mod random;
pub mod reference;
pub mod registers;
pub mod stock;
pub mod subject;
pub mod system;
pub mod trace;

pub use filter::EventFilter;
pub use hardware::Context;
pub use reference::Reference;
pub use registers::{Answer, Geometry, Op, Registers};
pub use subject::Subject;
pub use system::{System, VmConfig};
