//! Gives the stock Bochs of Debian 12 the performance-monitoring unit of `pmu_model`.
//!
//! Loaded with LD_PRELOAD into the unmodified `bochs-bin`; in any other process it does nothing. What it can
//! be told, and what it does to Bochs, is in README.md beside this crate. Every assumption about the binary is
//! checked when it is loaded or when the machine starts; the first that does not hold ends the process with
//! one sentence and `stop::EXIT_CODE`.
//!
//! | module | what |
//! |---|---|
//! | `settings`, `costs` | what the environment asks for |
//! | `processor`, `unit`, `other_msrs`, `frequency`, `report` | the machine's behaviour; safe code |
//! | `elf`, `patch`, `near`, `bochs`, `hooks`, `handlers` | the way into Bochs; the only unsafe code |

mod bochs;
pub mod costs;
mod elf;
mod frequency;
mod handlers;
mod hooks;
mod near;
mod other_msrs;
mod patch;
mod processor;
mod report;
mod settings;
mod stop;
mod unit;
