//! What passes between the VMM and the policy domain, seen by the VMM's other half.

use crate::pmu::PmuLink;
use core::cell::Cell;
use pmu_api::{Configuration, Direct, Message, Reply, Request};

/// IA32_PERFEVTSEL0 and the most of them (SDM vol. 3B, 20.2.1.1).
const PERFEVTSEL0: u32 = 0x186;
const SELECTORS: u32 = 8;
/// Selector bits INT and EN.
const INT: u64 = 1 << 20;
const ENABLE: u64 = 1 << 22;
/// IA32_FIXED_CTR_CTRL: four bits for each counter, of which two enable and one interrupts (SDM vol. 3B, 20.2.2).
const FIXED_CTR_CTRL: u32 = 0x38d;
const FIXED_COUNTERS: u32 = 4;
const FIXED_ENABLE: u64 = 3;
const FIXED_PMI: u64 = 8;
/// IA32_PERF_GLOBAL_CTRL; fixed counter i is bit 32 + i.
const PERF_GLOBAL_CTRL: u32 = 0x38f;
const FIXED_SHIFT: u32 = 32;

/// What of the guest's PMU decides how the guest is entered. Bits are those of IA32_PERF_GLOBAL_CTRL.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct State {
    /// The guest's IA32_PERF_GLOBAL_CTRL.
    pub global_control: u64,
    /// Counters whose control register enables them.
    enabled: u64,
    /// Of these, the ones that are to interrupt.
    interrupting: u64,
    /// RDPMC does not exit.
    pub direct_rdpmc: bool,
    /// Since the last exit the policy domain was asked for an access: it has accounted for it if it is done.
    pub accounted: bool,
    /// It said that a PMI is due.
    pub pmi: bool,
}

impl State {
    /// As the policy domain opens a VM (SDM vol. 3A, table 10-1: every general-purpose counter's bit is set).
    fn opened(configuration: &Configuration) -> Self {
        let [version, general, ..] = configuration.leaf_a[0].to_le_bytes();
        let bits = 1_u64.checked_shl(general.into()).map_or(u64::MAX, |bit| bit - 1);
        Self {
            global_control: if version == 0 { 0 } else { bits },
            direct_rdpmc: version != 0 && configuration.direct.contains(Direct::RDPMC),
            ..Self::default()
        }
    }

    /// Whether anything may count.
    pub const fn counts(&self) -> bool {
        self.global_control & self.enabled != 0
    }

    /// Whether anything that is to interrupt may count.
    pub const fn interrupts(&self) -> bool {
        self.global_control & self.interrupting != 0
    }

    /// The guest's write is done.
    fn written(&mut self, msr: u32, value: u64) {
        match msr {
            PERF_GLOBAL_CTRL => self.global_control = value,
            FIXED_CTR_CTRL => {
                for i in 0..FIXED_COUNTERS {
                    let field = value >> (4 * i);
                    let enabled = field & FIXED_ENABLE != 0;
                    self.set(FIXED_SHIFT + i, enabled, enabled && field & FIXED_PMI != 0);
                }
            }
            _ if msr.wrapping_sub(PERFEVTSEL0) < SELECTORS => {
                let enabled = value & ENABLE != 0;
                self.set(msr - PERFEVTSEL0, enabled, enabled && value & INT != 0);
            }
            _ => {}
        }
    }

    fn set(&mut self, bit: u32, enabled: bool, interrupting: bool) {
        self.enabled = self.enabled & !(1 << bit) | u64::from(enabled) << bit;
        self.interrupting = self.interrupting & !(1 << bit) | u64::from(interrupting) << bit;
    }
}

/// The VMM's link to the policy domain, which keeps [`State`].
#[derive(Debug)]
pub struct StockLink<'a, L> {
    link: L,
    state: &'a Cell<State>,
}

impl<'a, L: PmuLink> StockLink<'a, L> {
    /// The layer over `link`.
    pub const fn new(link: L, state: &'a Cell<State>) -> Self {
        Self { link, state }
    }

    /// A snapshot was restored: every register may have changed.
    fn refresh(&mut self) -> Option<()> {
        let mut state = self.state.get();
        let control = (PERFEVTSEL0..PERFEVTSEL0 + SELECTORS).chain([FIXED_CTR_CTRL, PERF_GLOBAL_CTRL]);
        for msr in control {
            let reply = self.link.call(&Request::Read { msr }.encode())?;
            if let Ok(Reply::Value { value }) = Reply::decode(&reply) {
                state.written(msr, value);
            }
        }
        self.state.set(state);
        Some(())
    }
}

impl<L: PmuLink> PmuLink for StockLink<'_, L> {
    fn call(&mut self, request: &Message) -> Option<Message> {
        let mut message = self.link.call(request)?;
        let Ok(mut reply) = Reply::decode(&message) else { return Some(message) };
        let mut state = self.state.get();
        // What the VMM knows is the answer without the PMI.
        let without = match reply {
            Reply::DoneWithPmi => Some(Reply::Done),
            Reply::ValueWithPmi { value } => Some(Reply::Value { value }),
            _ => None,
        };
        if let Some(without) = without {
            state.pmi = true;
            reply = without;
            message = without.encode();
        }
        match Request::decode(request) {
            Ok(Request::Write { msr, value }) => {
                state.accounted = true;
                if reply == Reply::Done {
                    state.written(msr, value);
                }
            }
            Ok(Request::Read { .. } | Request::Rdpmc { .. }) => state.accounted = true,
            _ => {}
        }
        if let Reply::Opened(configuration) = reply {
            state = State::opened(&configuration);
        }
        self.state.set(state);
        if reply == Reply::Restored {
            self.refresh()?;
        }
        Some(message)
    }
}
