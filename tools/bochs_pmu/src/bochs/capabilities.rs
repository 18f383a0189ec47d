//! VM-exit control bit 30, "save IA32_PERF_GLOBAL_CTRL", which Bochs does not know.

use super::{Cpu, Functions};
use crate::stop::stop;

/// What a VMX capability MSR says about a word of supported control bits.
#[derive(Clone, Copy)]
struct Capability {
    allowed: u32,
    required: u32,
}

impl Capability {
    fn new(msr: u64, default1: u32) -> Self {
        let half = |value: u64| u32::try_from(value & 0xFFFF_FFFF).unwrap_or(0);
        Self { allowed: half(msr >> 32), required: half(msr) | default1 }
    }

    /// Whether `word` can be the supported bits: none that is not allowed, and all that are allowed, but those
    /// which are required anyway.
    fn fits(self, word: u32) -> bool {
        word != 0 && word & !self.allowed == 0 && self.allowed & !word & !self.required == 0
    }
}

/// The capability MSRs of the words in the order of Bochs's table, and their default-1 controls (SDM vol. 3D,
/// A.2 to A.5): pin-based, primary and secondary processor-based, exit, entry.
const CAPABILITIES: [(u32, u32); 5] =
    [(0x481, 0x16), (0x482, 0x0401_E172), (0x48B, 0), (0x483, 0x3_6DFF), (0x484, 0x11FF)];
const EXIT_CONTROLS: usize = 3;
const ENTRY_CONTROLS: usize = 4;
const SAVE_PERF_GLOBAL_CTRL: u32 = 1 << 30;
const EXIT_LOAD_PERF_GLOBAL_CTRL: u64 = 1 << 12;
const ENTRY_LOAD_PERF_GLOBAL_CTRL: u64 = 1 << 13;

fn read(cpu: &Cpu, functions: &Functions, msr: u32) -> u64 {
    let mut value = 0;
    // SAFETY: the processor is live and `value` is where the result goes.
    if !unsafe { (functions.rdmsr)(cpu.object, msr, &raw mut value) } {
        stop(format!("the CPU model has VMX but no MSR {msr:#x}; choose another with `cpu: model=`"));
    }
    value
}

/// Offers the control: sets its bit among the supported ones, which are found by what the capability MSRs say.
pub fn offer_save_perf_global_ctrl(cpu: &Cpu, functions: &Functions) {
    let read = |msr| read(cpu, functions, msr);
    let capabilities = CAPABILITIES.map(|(msr, default1)| Capability::new(read(msr), default1));
    let first = cpu.object.cast::<u32>();
    // SAFETY: the processor's object is readable, aligned for words, and nothing writes it meanwhile.
    let words = unsafe { std::slice::from_raw_parts(first, cpu.size / size_of::<u32>()) };
    let fits = |at: &usize| capabilities.iter().zip(&words[*at..]).all(|(c, &word)| c.fits(word));
    let found: Vec<usize> = (0..words.len() - capabilities.len()).filter(fits).collect();
    let [at] = found[..] else {
        stop(format!("the VMX capabilities of the processor fit {} places instead of 1", found.len()));
    };
    // SAFETY: a word of the object; the slice is not used any more.
    unsafe { *first.add(at + EXIT_CONTROLS) |= SAVE_PERF_GLOBAL_CTRL };
    let exit = read(CAPABILITIES[EXIT_CONTROLS].0) >> 32;
    let entry = read(CAPABILITIES[ENTRY_CONTROLS].0) >> 32;
    let wanted = u64::from(SAVE_PERF_GLOBAL_CTRL) | EXIT_LOAD_PERF_GLOBAL_CTRL;
    if exit & wanted != wanted || entry & ENTRY_LOAD_PERF_GLOBAL_CTRL == 0 {
        stop("the CPU model does not offer the VM-entry and VM-exit controls of IA32_PERF_GLOBAL_CTRL");
    }
}
