//! What the kernel is configured to be.

/// Which kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Config {
    /// Prints on the serial line, checks its assertions, has the debug system calls.
    Debug,
    /// None of these.
    Release,
}

impl Config {
    /// "debug" or "release".
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Config::Debug => "debug",
            Config::Release => "release",
        }
    }

    /// The text of `autoconf.h`. It replaces the published one, which is a verification configuration.
    pub(crate) fn header(self) -> String {
        let debug = if self == Config::Debug { DEBUG } else { &[] };
        let mut text = String::from("#define AUTOCONF_INCLUDED\n");
        for (name, value) in COMMON.iter().chain(debug) {
            text += &format!("#define CONFIG_{name} {value}\n");
        }
        text
    }
}

const COMMON: &[(&str, &str)] = &[
    ("KERNEL_MASTER", "1"),
    ("WORD_SIZE", "64"),
    ("ARCH_X86", "1"),
    ("ARCH_X86_64", "1"),
    ("PLAT_PC99", "1"),
    ("HAVE_FPU", "1"),
    ("IRQ_IOAPIC", "1"),
    ("MAX_NUM_IOAPIC", "1"),
    ("XAPIC", "1"),
    ("VTX", "1"),
    ("MAX_VPIDS", "64"),
    ("SYSCALL", "1"),
    ("FXSAVE", "1"),
    ("XSAVE_SIZE", "512"),
    ("FSGSBASE_INST", "1"),
    ("MULTIBOOT_GRAPHICS_MODE_NONE", "1"),
    ("ROOT_CNODE_SIZE_BITS", "16"),
    ("TIMER_TICK_MS", "2"),
    ("TIME_SLICE", "5"),
    ("RETYPE_FAN_OUT_LIMIT", "256"),
    ("MAX_NUM_WORK_UNITS_PER_PREEMPTION", "100"),
    ("MAX_NUM_BOOTINFO_UNTYPED_CAPS", "230"),
    ("FASTPATH", "1"),
    ("NUM_DOMAINS", "1"),
    ("DOMAIN_SCHEDULE", "\"\""),
    ("NUM_PRIORITIES", "256"),
    ("MAX_NUM_NODES", "1"),
    ("CACHE_LN_SZ", "64"),
    ("KERNEL_STACK_BITS", "12"),
    ("FPU_MAX_RESTORES_SINCE_SWITCH", "64"),
    ("OPTIMISATION_O2", "1"),
];

const DEBUG: &[(&str, &str)] =
    &[("DEBUG_BUILD", "1"), ("PRINTING", "1"), ("IRQ_REPORTING", "1"), ("USER_STACK_TRACE_LENGTH", "0")];

#[cfg(test)]
mod tests {
    use super::Config;

    #[test]
    fn only_the_debug_kernel_prints() {
        assert!(Config::Debug.header().contains("CONFIG_PRINTING 1"));
        assert!(!Config::Release.header().contains("PRINTING"));
    }
}
