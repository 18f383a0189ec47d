//! The policy compiler: a TOML file, checked, to the binary form that [`pmu_core::policy`] reads.
//!
//! # The file
//!
//! Unknown keys are refused; every error names line and column.
//!
//! | key | value |
//! |---|---|
//! | `manager_channel` | channel of the PD that may replace filters at run time; without it there is none |
//! | `[[vm]]` | a VM, 1 to 8 of them |
//! | `name` | up to 24 bytes |
//! | `channel` | the channel of its VMM in the policy domain, 0 to 61 |
//! | `mode` | `"mediated"` (default), `"off"`, `"emulated"`, `"passthrough"` |
//! | `unsafe_benchmark` | must be `true` for `"passthrough"`, to which no filter applies |
//! | `version` | PMU version 0 to 5; default: the hardware's |
//! | `general_counters` | 1 to 8; default: the hardware's |
//! | `fixed_counters` | 0 to 4; default: the hardware's |
//! | `tsx` | whether the guest's CPUID has RTM or HLE; default `false` |
//! | `pmi_limit` | `{ count = N, cycles = N }`: at most `count` PMIs in `cycles` TSC cycles; default: no limit |
//! | `[vm.filter]` | the event filter |
//! | `action` | `"allow"`: only what is listed; `"deny"`: all but what is listed |
//! | `events` | up to 300 entries: an architectural event's name, or `{ event, umask, mask, exclude }` |
//! | `fixed` | the listed fixed counters |
//!
//! # What a filter means
//!
//! The semantics are those of KVM's `KVM_SET_PMU_EVENT_FILTER`. An entry hits an event when its event select is
//! `event` and its unit mask, cut to `mask` (default 0xFF), is `umask`. An event is in the list when an entry
//! hits it and no entry with `exclude = true` does. Fixed counters obey `fixed` alone.
//!
//! Where the file is silent, the answer is no:
//!
//! - without a filter, only the architectural events count (and the fixed counters);
//! - in a system with more than one VM, events outside the architectural list, and the architectural events about
//!   the shared last-level cache, count only where an `"allow"` filter lists them;
//! - off-core response events never count, since their MSRs are denied.

#![forbid(unsafe_code)]

mod compile;
mod error;
mod filter;
mod source;

pub use compile::{Compiled, Summary, compile};
pub use error::Error;
pub use filter::{Action, Entry, EventFilter, MAX_ENTRIES};
