//! A Multiboot kernel that tries what test kernels need. The command line says which parts: `part=NAME,...`, by default
//! all that end well, and for the others `end=NAME`.
#![no_std]
#![no_main]

mod counting;
mod debug;
mod ends;
mod interrupts;
mod legacy;
mod memory;
mod state;
mod strings;
mod time;
mod x2apic;

use guest::cpu::cpuid;
use guest::multiboot::Information;
use guest::println;

guest::multiboot_guest!(main);

/// What was found right and wrong.
#[derive(Debug, Default)]
pub struct Checks {
    right: u32,
    wrong: u32,
}

impl Checks {
    /// One thing that is to be so.
    pub fn is(&mut self, what: &str, holds: bool) {
        self.equal(what, u64::from(holds), 1);
    }

    /// Two values that are to be equal.
    pub fn equal(&mut self, what: &str, found: u64, expected: u64) {
        if found == expected {
            self.right += 1;
        } else {
            self.wrong += 1;
            println!("@wrong what={what} found={found:#x} expected={expected:#x}");
        }
    }
}

/// A part of this kernel.
type Part = fn(&mut Checks, &Information);

const PARTS: [(&str, Part); 10] = [
    ("information", information),
    ("memory", memory::check),
    ("legacy", legacy::check),
    ("x2apic", x2apic::check),
    ("interrupts", interrupts::check),
    ("debug", debug::check),
    ("strings", strings::check),
    ("time", time::check),
    ("state", state::check),
    ("counting", counting::check),
];

fn main(information: &Information) -> bool {
    guest::interrupts::install();
    println!("@line {}", information.command_line);
    println!("@pmu-version number={}", cpuid(0xa)[0] & 0xff);
    let mut checks = Checks::default();
    counting::capabilities(&mut checks);
    if let Some(end) = information.value("end") {
        ends::end(end);
    }
    let wanted = information.value("part");
    for (name, part) in
        PARTS.iter().filter(|(name, _)| wanted.is_none_or(|wanted| wanted.split(',').any(|one| one == *name)))
    {
        let before = checks.right + checks.wrong;
        part(&mut checks, information);
        println!("@part name={name} checks={}", checks.right + checks.wrong - before);
    }
    println!("@result right={} wrong={}", checks.right, checks.wrong);
    checks.wrong == 0 && checks.right > 0
}

/// The module's size and the sum of its bytes are said; memory sizes and map agree with each other.
fn information(checks: &mut Checks, information: &Information) {
    let kib = |bytes: u64| bytes >> 10;
    checks.equal("mem-lower", information.lower.into(), 640);
    checks.is("command-line-begins", information.command_line.starts_with("kernel "));
    let mut low = 0;
    let mut high = 0;
    for region in information.available() {
        match region.start {
            0 => low = kib(region.end),
            0x10_0000 => high = kib(region.end - region.start),
            _ => checks.is("known-region", false),
        }
    }
    checks.equal("map-low", low, information.lower.into());
    checks.equal("map-high", high, information.upper.into());
    let (count, place) = information.modules.clone();
    checks.is("one-module-at-most", count <= 1);
    if count == 1 {
        checks.equal("module-at-page", place.start % 4096, 0);
        let mut sum = 0u64;
        for at in place.clone().step_by(4) {
            let [a, b, c, d] = guest::multiboot::word_at(at).to_le_bytes();
            let inside = usize::try_from(place.end - at).unwrap_or(4).min(4);
            sum += [a, b, c, d].iter().take(inside).map(|byte| u64::from(*byte)).sum::<u64>();
        }
        println!("@module bytes={} sum={sum}", place.end - place.start);
    }
}
