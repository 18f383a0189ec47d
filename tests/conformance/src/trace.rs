//! The trace format of tests/spec/oracle/replay.ml.

use crate::filter::EventFilter;
use crate::hardware::Recorded;
use crate::registers::{Answer, FIXED, GENERAL, Geometry, Op, Registers};
use crate::system::System;
use pmu_api::{Completion, Mode};
use std::fmt::Write;

/// Something that carries out operations: pmu_core or the reference, for all VMs of a system.
pub trait Player {
    /// Carries out `op` for VM `vm`.
    fn step(&mut self, vm: usize, op: &Op) -> Answer;
    /// VM `vm`'s registers in the hardware while it runs.
    fn context(&self, vm: usize) -> Registers;
    /// Whether VM `vm`'s data registers are the hardware's.
    fn is_direct(&self, vm: usize) -> bool;
    /// Whether the hardware's registers are those of the specification, bit by bit.
    fn shows_contexts(&self) -> bool {
        true
    }
    /// What was completed with the last operation, if it was an access that the player itself completes, and whether that
    /// raised a PMI.
    fn accounted(&mut self) -> Option<(Completion, bool)> {
        None
    }
    /// Whether the kernel carried out the last operation, of VM `vm`, by itself, and the pairs it has recorded.
    fn kernel(&mut self, _vm: usize) -> (bool, Vec<Recorded>) {
        (false, Vec::new())
    }
}

impl Player for crate::Subject {
    fn step(&mut self, vm: usize, op: &Op) -> Answer {
        crate::Subject::step(self, vm, op)
    }
    fn context(&self, vm: usize) -> Registers {
        crate::Subject::context(self, vm)
    }
    fn is_direct(&self, vm: usize) -> bool {
        crate::Subject::is_direct(self, vm)
    }
    fn kernel(&mut self, vm: usize) -> (bool, Vec<Recorded>) {
        crate::Subject::kernel(self, vm)
    }
}

/// The reference of each VM of a system.
#[derive(Clone, Debug)]
pub struct References<'a> {
    system: &'a System,
    vms: Vec<crate::Reference>,
}

impl<'a> References<'a> {
    /// For `system`, after reset.
    pub fn new(system: &'a System) -> Self {
        Self { system, vms: (0..system.vms.len()).map(|vm| system.reference(vm)).collect() }
    }
}

impl Player for References<'_> {
    fn step(&mut self, vm: usize, op: &Op) -> Answer {
        self.vms[vm].step(op)
    }
    fn context(&self, vm: usize) -> Registers {
        self.vms[vm].context()
    }
    fn is_direct(&self, vm: usize) -> bool {
        self.system.is_direct(vm)
    }
}

fn complete(vm: usize, user: bool, branch: bool) -> String {
    format!("complete {vm} {} {}", u8::from(user), u8::from(branch))
}

fn list(words: &[u64]) -> String {
    if words.is_empty() {
        return "-".into();
    }
    words.iter().map(|word| format!("{word:#x}")).collect::<Vec<_>>().join(",")
}

fn geometry(g: &Geometry) -> String {
    let flags = [g.tsx, g.p6].map(u8::from);
    let Geometry { version, general, width, fixed, fixed_width, capabilities, .. } = g;
    let [tsx, p6] = flags;
    format!("{version} {general} {width} {fixed:#x} {fixed_width} {tsx} {p6} {capabilities:#x}")
}

fn filter(f: &EventFilter) -> String {
    format!("{} {} {:#x} {}", u8::from(f.deny), u8::from(f.masked), f.fixed, list(&f.entries))
}

fn registers(r: &Registers, general: usize, fixed: usize) -> String {
    let Registers { fixed_control, global_control, status, .. } = r;
    format!(
        "{} {fixed_control:#x} {global_control:#x} {status:#x} {} {}",
        list(&r.selectors[..general]),
        list(&r.general[..general]),
        list(&r.fixed[..fixed])
    )
}

/// A trace under way.
#[derive(Debug)]
pub struct Trace<'a> {
    system: &'a System,
    /// The text so far.
    pub text: String,
}

impl<'a> Trace<'a> {
    /// The first lines, for `system` as `player` has it.
    pub fn new(system: &'a System, player: &impl Player) -> Self {
        let mut text = format!("vpmu-trace 1\nhardware {}\n", geometry(&system.hardware));
        for (vm, config) in system.vms.iter().enumerate() {
            let first = filter(&system.filters[config.filter]);
            // A String takes every write.
            let flags = [player.is_direct(vm), config.mode == Mode::Passthrough].map(u8::from);
            let (most, cycles) = config.pmi_limit.map_or((0, 0), |limit| (limit.count, limit.cycles));
            let guest = geometry(&system.guest(vm));
            let _ = writeln!(text, "vm {guest} {} {} {most:#x} {cycles:#x} {first}", flags[0], flags[1]);
        }
        text.push_str("start\n");
        Self { system, text }
    }

    fn operation(&self, vm: usize, op: &Op, by_kernel: bool) -> String {
        let guest = if by_kernel { "approved" } else { "guest" };
        let guest_geometry = self.system.guest(vm);
        let (general, fixed) = (guest_geometry.general, guest_geometry.fixed_places());
        match op {
            Op::Open => format!("open {vm}"),
            Op::Read(msr) => format!("rd {vm} {msr:#x}"),
            Op::Write(msr, value) => format!("wr {vm} {msr:#x} {value:#x}"),
            Op::Rdpmc(ecx, cpl, pe, pce) => {
                format!("rdpmc {vm} {ecx:#x} {cpl} {} {}", u8::from(*pe), u8::from(*pce))
            }
            Op::Filter(index) => format!("filter {vm} {}", filter(&self.system.filters[*index])),
            Op::GuestRead(msr) => format!("{guest} {vm} {msr:#x}"),
            Op::GuestWrite(msr, value) => format!("{guest} {vm} {msr:#x} {value:#x}"),
            Op::Save => format!("save {vm}"),
            Op::Restore(r) => format!("restore {vm} {}", registers(r, general, fixed)),
            Op::DirectRead(msr) => format!("direct {vm} {msr:#x}"),
            Op::DirectWrite(msr, value) => format!("direct {vm} {msr:#x} {value:#x}"),
            Op::Overflow(now) => format!("overflow {vm} {now:#x}"),
            Op::Complete(user, branch) => complete(vm, *user, *branch),
            Op::Count(gps, fxs) => {
                format!("count {vm} {} {}", list(&gps[..general]), list(&fxs[..fixed]))
            }
        }
    }

    /// Carries out `op` and appends its line.
    pub fn step(&mut self, player: &mut impl Player, vm: usize, op: &Op) -> Answer {
        let answer = player.step(vm, op);
        let guest_geometry = self.system.guest(vm);
        let (general, fixed) = (guest_geometry.general, guest_geometry.fixed_places());
        let answer_text = match answer {
            Answer::Done => "done".into(),
            Answer::Value(value) => format!("value {value:#x}"),
            Answer::Completed { value, pmi } => {
                let value = value.map_or("done".into(), |value| format!("value {value:#x}"));
                format!("{value} {}", if pmi { "pmi" } else { "quiet" })
            }
            Answer::Fault => "gp".into(),
            Answer::Refused => "refused".into(),
            Answer::Saved(r) => format!("registers {}", registers(&r, general, fixed)),
            Answer::Deliver => "deliver".into(),
            Answer::Delay(cycles) => format!("delay {cycles:#x}"),
            Answer::Spurious => "spurious".into(),
            Answer::Pmi => "pmi".into(),
            Answer::Quiet => "quiet".into(),
            Answer::PmiOrQuiet => "?".into(),
        };
        let (by_kernel, recorded) = player.kernel(vm);
        let mut line = format!("{} = {answer_text}", self.operation(vm, op, by_kernel));
        let (general, fixed) = (self.system.hardware.general, self.system.hardware.fixed_places());
        let shown = if player.shows_contexts() { self.system.vms.len() } else { 0 };
        for other in 0..shown {
            line.push_str(" | ");
            line.push_str(&registers(&player.context(other), general, fixed));
        }
        self.text.push_str(&line);
        self.text.push('\n');
        if let Some((Completion { user, branch }, pmi)) = player.accounted() {
            let pmi = if pmi { "pmi" } else { "quiet" };
            self.text.push_str(&format!("{} = {pmi}\n", complete(vm, user, branch)));
        }
        for Recorded { msr, guest, hardware, dropped } in recorded {
            self.text.push_str(&format!("record {vm} {msr:#x} {dropped} = pair {guest:#x} {hardware:#x}\n"));
        }
        answer
    }
}

const _: () = assert!(GENERAL == 8 && FIXED == 4);
