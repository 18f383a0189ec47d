//! Instructions that the VMM completes for the guest, on a kernel that does not account for them.
//!
//! An instruction that exits is not retired (volume 3C, 26.1), so that hardware does not count it. When the VMM has done
//! what it does, to the guest it has retired: counters of retired instructions, and of retired branches if it is one,
//! gain 1, once, after its effect.

use super::Vpmu;
use crate::arch::{
    ARCHITECTURAL_EVENTS, IA32_A_PMC0, IA32_FIXED_CTR0, IA32_PERF_GLOBAL_CTRL, IA32_PERF_GLOBAL_STATUS,
    MAX_FIXED, fixed_control, global, selector,
};
use crate::port::{PmuPort, PortError};
use crate::registers::FixedControl;
use pmu_api::Completion;

/// Instructions retired (20.2.1.2, table 20-1).
const INSTRUCTIONS: u64 = ARCHITECTURAL_EVENTS[1].key as u64;
/// Branch instructions retired.
const BRANCHES: u64 = ARCHITECTURAL_EVENTS[5].key as u64;
/// The fixed counter of retired instructions (20.2.2, table 20-2).
const FIXED_INSTRUCTIONS: u32 = 0;

/// Whether a counter with this hardware value of IA32_PERFEVTSELi, enabled by IA32_PERF_GLOBAL_CTRL, counts the
/// instruction. It is the only event of its cycle: a counter mask above 1 never counts it, nor does an inverted one of 1
/// (20.2.1.1: the comparison with the events of a cycle); edges are not counted, since what the cycles before held is
/// unknown.
pub const fn counts_completion(selector: u64, completion: Completion) -> bool {
    let ring = if completion.user { selector::USR } else { selector::OS };
    let mask = selector & selector::COUNTER_MASK;
    let one = selector::COUNTER_MASK & selector::COUNTER_MASK.wrapping_neg();
    let event = selector & selector::EVENT;
    selector & selector::ENABLE != 0
        && selector & ring != 0
        && selector & selector::EDGE == 0
        && (mask == 0 || mask == one && selector & selector::INVERT == 0)
        && (event == INSTRUCTIONS || completion.branch && event == BRANCHES)
}

/// The same for fixed counter 0 with this hardware value of IA32_FIXED_CTR_CTRL.
pub const fn fixed_counts_completion(control: u64, completion: Completion) -> bool {
    let field = FixedControl(control).field(FIXED_INSTRUCTIONS);
    field & if completion.user { fixed_control::USR } else { fixed_control::OS } != 0
}

impl Vpmu<'_> {
    /// Accounts for what the VMM completed; whether a PMI is due.
    ///
    /// # Errors
    /// [`PortError::ILLEGAL_OPERATION`] where the kernel accounts itself: nothing changes. The port's refusal.
    pub fn account(
        &mut self,
        port: &mut impl PmuPort,
        completed: Option<Completion>,
    ) -> Result<bool, PortError> {
        if !self.has_counters() {
            return Ok(false);
        }
        if !self.hardware.is_without_extension() {
            return Err(PortError::ILLEGAL_OPERATION);
        }
        if let Some(completion) = completed {
            self.credit(port, completion)?;
        }
        let status = port.read(IA32_PERF_GLOBAL_STATUS)? & self.geometry.counter_bits();
        // A bit that the guest clears is seen clear here before its counter can overflow again: the guest counts only
        // after an entry, and this is asked before each entry after a write.
        let due = status & self.interrupting() & !self.reported != 0;
        self.reported = status;
        Ok(due)
    }

    /// The counters that are to interrupt, as bits of IA32_PERF_GLOBAL_STATUS.
    fn interrupting(&self) -> u64 {
        let general = (0..).zip(self.selectors).map(|(i, selector)| u64::from(selector.interrupts()) << i);
        let fixed = (0..u32::from(MAX_FIXED))
            .map(|i| u64::from(self.fixed_control.interrupts(i)) << (global::FIXED_SHIFT + i));
        general.chain(fixed).fold(0, |bits, bit| bits | bit)
    }

    fn credit(&self, port: &mut impl PmuPort, completion: Completion) -> Result<(), PortError> {
        let enabled = port.read(IA32_PERF_GLOBAL_CTRL)?;
        let mut overflowed = 0;
        let (width, fixed_width) = (self.geometry.width_mask(), self.geometry.fixed_width_mask());
        for (i, selector) in (0..u32::from(self.geometry.general_counters())).zip(self.selectors) {
            if enabled >> i & 1 != 0 && counts_completion(self.filter.selector(selector), completion) {
                overflowed |= u64::from(increment(port, IA32_A_PMC0 + i, width)?) << i;
            }
        }
        // The first of the fixed counters.
        let (bit, msr) = (global::FIXED_SHIFT, IA32_FIXED_CTR0);
        if self.geometry.has_fixed(FIXED_INSTRUCTIONS)
            && enabled >> bit & 1 != 0
            && fixed_counts_completion(self.filter.fixed_control(self.fixed_control), completion)
        {
            overflowed |= u64::from(increment(port, msr, fixed_width)?) << bit;
        }
        if overflowed != 0 {
            let status = port.read(IA32_PERF_GLOBAL_STATUS)?;
            port.write(IA32_PERF_GLOBAL_STATUS, (status | overflowed) & self.geometry.counter_bits())?;
        }
        Ok(())
    }
}

/// Adds 1 to a counter; whether it wraps, which sets its overflow bit (20.2.2).
fn increment(port: &mut impl PmuPort, msr: u32, mask: u64) -> Result<bool, PortError> {
    let value = (port.read(msr)? + 1) & mask;
    port.write(msr, value)?;
    Ok(value == 0)
}
