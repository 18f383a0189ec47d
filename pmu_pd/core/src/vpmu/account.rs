//! Instructions that the VMM completes for the guest, on a kernel that does not account for them.
//!
//! An instruction that exits is not retired (volume 3C, 26.1), so that hardware does not count it. When the VMM has done
//! what it does, to the guest it has retired: counters of retired instructions, and of retired branches if it is one,
//! gain 1, once, after its effect.

use super::{Trouble, Vpmu, Written};
use crate::arch::{
    ARCHITECTURAL_EVENTS, IA32_A_PMC0, IA32_FIXED_CTR_CTRL, IA32_FIXED_CTR0, IA32_PERF_GLOBAL_CTRL,
    IA32_PERF_GLOBAL_STATUS, IA32_PERF_GLOBAL_STATUS_RESET, IA32_PERF_GLOBAL_STATUS_SET, IA32_PERFEVTSEL0,
    MAX_FIXED, fixed_control, global, selector,
};
use crate::port::{PmuPort, PortError};
use crate::registers::FixedControl;
use pmu_api::{Completion, Privilege};

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

/// RDMSR and WRMSR are an operating system's (volume 2, RDMSR: #GP(0) above CPL 0, before any VM exit).
const SUPERVISOR: Completion = Completion { branch: false, user: false };

impl Vpmu<'_> {
    /// Accounts for what the VMM completed, other than an access of the PMU; whether a PMI is due.
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
        let due = self.is_watched(port)? && self.look(port)?;
        let due = completed.map_or(Ok(false), |completion| self.complete(port, completion))? || due;
        self.forget(port)?;
        Ok(due)
    }

    /// [`Vpmu::read`], accounted for where the kernel does not; and whether a PMI is due.
    ///
    /// # Errors
    /// As [`Vpmu::read`].
    pub fn accounted_read<P: PmuPort>(&mut self, port: &mut P, msr: u32) -> Result<(u64, bool), Trouble> {
        self.accounted(port, SUPERVISOR, false, |vpmu, port| vpmu.read(port, msr))
    }

    /// [`Vpmu::rdpmc`], accounted for where the kernel does not; and whether a PMI is due.
    ///
    /// # Errors
    /// As [`Vpmu::rdpmc`].
    pub fn accounted_rdpmc<P: PmuPort>(
        &mut self,
        port: &mut P,
        ecx: u32,
        privilege: Privilege,
    ) -> Result<(u64, bool), Trouble> {
        let completion = Completion { branch: false, user: privilege.cpl() != 0 };
        self.accounted(port, completion, false, |vpmu, port| vpmu.rdpmc(port, ecx, privilege))
    }

    /// [`Vpmu::write`], accounted for where the kernel does not; and whether a PMI is due.
    ///
    /// # Errors
    /// As [`Vpmu::write`].
    pub fn accounted_write<P: PmuPort>(
        &mut self,
        port: &mut P,
        msr: u32,
        value: u64,
    ) -> Result<(Written, bool), Trouble> {
        let status = matches!(msr, IA32_PERF_GLOBAL_STATUS_RESET | IA32_PERF_GLOBAL_STATUS_SET);
        self.accounted(port, SUPERVISOR, status, |vpmu, port| vpmu.write(port, msr, value))
    }

    /// The access, which changes the status or not, has its effect after what overflowed before it is known, and before
    /// it is counted itself.
    fn accounted<P: PmuPort, T>(
        &mut self,
        port: &mut P,
        completion: Completion,
        changes_status: bool,
        access: impl FnOnce(&mut Self, &mut P) -> Result<T, Trouble>,
    ) -> Result<(T, bool), Trouble> {
        let reported = self.reported;
        let before = if self.accounts() { Some(self.before(port)?) } else { None };
        // What an access that faults would have told is found again.
        let value = access(self, port).inspect_err(|_| self.reported = reported)?;
        let Some((watched, due)) = before else { return Ok((value, false)) };
        // No PMI comes of a status bit that the guest sets (20.2.4.2), nor of one from when no counter was to interrupt;
        // a bit that the guest clears can be set again.
        if (changes_status || !watched) && self.is_watched(port)? {
            self.look(port)?;
        }
        let due = self.complete(port, completion)? || due;
        self.forget(port)?;
        Ok((value, due))
    }

    /// Whether a counter that is to interrupt counts, and has overflowed since the last look.
    fn before(&mut self, port: &mut impl PmuPort) -> Result<(bool, bool), PortError> {
        let watched = self.is_watched(port)?;
        Ok((watched, watched && self.look(port)?))
    }

    /// Whether the kernel leaves accounting to this domain, and there is something to account.
    const fn accounts(&self) -> bool {
        self.has_counters() && self.hardware.is_without_extension()
    }

    /// Whether a counter that is to interrupt counts.
    fn is_watched(&self, port: &mut impl PmuPort) -> Result<bool, PortError> {
        let enabled = port.read(IA32_PERF_GLOBAL_CTRL)?;
        Ok(enabled != 0 && enabled & self.interrupting() != 0)
    }

    /// Whether a counter that is to interrupt has overflowed since the last look.
    fn look(&mut self, port: &mut impl PmuPort) -> Result<bool, PortError> {
        let status = self.status(port)?;
        let due = status & self.interrupting() & !self.reported != 0;
        self.reported = status;
        Ok(due)
    }

    /// Clears what was told where the guest has no register to do it by (before version 2: 20.2.1), so that the next
    /// overflow of the same counter shows.
    fn forget(&mut self, port: &mut impl PmuPort) -> Result<(), PortError> {
        if !self.geometry.has_global() && self.reported != 0 {
            port.write(IA32_PERF_GLOBAL_STATUS, 0)?;
            self.reported = 0;
        }
        Ok(())
    }

    /// Counts what was completed; whether that makes a PMI due, which each overflow does, whatever the status was
    /// (20.2.2).
    fn complete(&mut self, port: &mut impl PmuPort, completion: Completion) -> Result<bool, PortError> {
        let overflowed = self.credit(port, completion)?;
        self.reported |= overflowed;
        Ok(overflowed & self.interrupting() != 0)
    }

    /// The counters that are to interrupt, as bits of IA32_PERF_GLOBAL_STATUS.
    fn interrupting(&self) -> u64 {
        let general = (0..).zip(self.selectors).map(|(i, selector)| u64::from(selector.interrupts()) << i);
        let fixed = (0..u32::from(MAX_FIXED))
            .map(|i| u64::from(self.fixed_control.interrupts(i)) << (global::FIXED_SHIFT + i));
        general.chain(fixed).fold(0, |bits, bit| bits | bit)
    }

    /// Counts what was completed; the counters that overflowed, which also have their status bits.
    fn credit(&self, port: &mut impl PmuPort, completion: Completion) -> Result<u64, PortError> {
        let enabled = port.read(IA32_PERF_GLOBAL_CTRL)?;
        if enabled == 0 {
            return Ok(0);
        }
        let mut overflowed = 0;
        let (width, fixed_width) = (self.geometry.width_mask(), self.geometry.fixed_width_mask());
        for (i, selector) in (0..u32::from(self.geometry.general_counters())).zip(self.selectors) {
            // What the filter denies is not in the hardware's value.
            if enabled >> i & 1 != 0
                && selector.0 & selector::ENABLE != 0
                && counts_completion(port.read(IA32_PERFEVTSEL0 + i)?, completion)
            {
                overflowed |= u64::from(increment(port, IA32_A_PMC0 + i, width)?) << i;
            }
        }
        // The first of the fixed counters.
        let (bit, msr) = (global::FIXED_SHIFT, IA32_FIXED_CTR0);
        if self.geometry.has_fixed(FIXED_INSTRUCTIONS)
            && enabled >> bit & 1 != 0
            && fixed_counts_completion(port.read(IA32_FIXED_CTR_CTRL)?, completion)
        {
            overflowed |= u64::from(increment(port, msr, fixed_width)?) << bit;
        }
        if overflowed != 0 {
            let status = port.read(IA32_PERF_GLOBAL_STATUS)?;
            port.write(IA32_PERF_GLOBAL_STATUS, (status | overflowed) & self.geometry.counter_bits())?;
        }
        Ok(overflowed)
    }
}

/// Adds 1 to a counter; whether it wraps, which sets its overflow bit (20.2.2).
fn increment(port: &mut impl PmuPort, msr: u32, mask: u64) -> Result<bool, PortError> {
    let value = port.read(msr)?.wrapping_add(1) & mask;
    port.write(msr, value)?;
    Ok(value == 0)
}
