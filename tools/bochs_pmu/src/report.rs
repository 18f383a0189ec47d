//! What happened in a run, as JSON.
#![forbid(unsafe_code)]

use crate::costs::Costs;
use crate::settings::Settings;
use serde::Serialize;
use std::collections::BTreeMap;

/// Instructions and cycles on one side of VMX.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Span {
    /// Instructions retired.
    pub instructions: u64,
    /// Unhalted core cycles, charged ones included.
    pub cycles: u64,
}

/// Performance-monitoring interrupts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Pmis {
    /// Overflows whose counter asked for one.
    pub requested: u64,
    /// Delivered by the local APIC.
    pub delivered: u64,
    /// Lost because the LVT entry was masked.
    pub masked: u64,
}

/// What a processor had done when a guest wrote to the port of marks, without the exit by that.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Mark {
    /// Outside VMX non-root operation.
    pub host: Span,
    /// In VMX non-root operation.
    pub guest: Span,
    /// VM exits by basic exit reason.
    pub vm_exits: BTreeMap<u32, u64>,
    /// Performance-monitoring interrupts.
    pub pmis: Pmis,
}

/// What one processor did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Outside VMX non-root operation.
    pub host: Span,
    /// In VMX non-root operation.
    pub guest: Span,
    /// VM entries that succeeded.
    pub vm_entries: u64,
    /// VM exits and failed VM entries by basic exit reason.
    pub vm_exits: BTreeMap<u32, u64>,
    /// Performance-monitoring interrupts.
    pub pmis: Pmis,
    /// Cycles charged by the cost model.
    pub charged_cycles: u64,
    /// A line for each mark.
    pub marks: Vec<Mark>,
}

impl Totals {
    /// Adds a mark.
    pub fn mark(&mut self) {
        let Self { host, guest, vm_exits, pmis, .. } = self;
        let mark = Mark { host: *host, guest: *guest, vm_exits: vm_exits.clone(), pmis: *pmis };
        self.marks.push(mark);
    }
}

/// The whole report.
#[derive(Serialize)]
pub struct Report<'a> {
    /// Ticks of the machine's clock since power-up (its TSC, unless software wrote that).
    pub ticks: u64,
    /// Instructions from an overflow to its PMI.
    pub skid: u64,
    /// What events cost.
    pub costs: &'a Costs,
    /// One entry for each processor.
    pub processors: Vec<&'a Totals>,
}

impl Report<'_> {
    /// Writes the report where the settings say, all or nothing.
    pub fn write(&self, settings: &Settings) -> Result<(), String> {
        let Some(path) = &settings.report else { return Ok(()) };
        let mut text = serde_json::to_string_pretty(self).map_err(|e| e.to_string())?;
        text.push('\n');
        let mut partial = path.clone().into_os_string();
        partial.push(".partial");
        std::fs::write(&partial, text)
            .and_then(|()| std::fs::rename(&partial, path))
            .map_err(|e| format!("BOCHS_PMU_REPORT: {} cannot be written: {e}", path.display()))
    }
}
