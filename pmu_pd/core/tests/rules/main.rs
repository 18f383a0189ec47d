//! The rules of the vPMU, a test for each; one program, since it is built for every mutant.
#![allow(clippy::unwrap_used)] // in helper functions, which the lint does not take for tests
#![allow(clippy::cast_possible_truncation)] // small numbers of our own

mod account;
mod approved;
mod common;
mod control;
mod counters;
mod domain;
mod filter;
mod geometry;
mod manager;
mod msr_port;
mod oracle;
mod pmi;
mod policy_binary;
mod presence;
mod snapshot;
