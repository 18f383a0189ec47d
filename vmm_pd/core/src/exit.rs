//! A VM exit: what the kernel hands over, and what it means.

use crate::arch::Interruption;
use crate::registers::{Operand, Registers};

/// What `VMEnter` returns with, as words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RawExit {
    /// Basic exit reason (SDM vol. 3D, appendix C), with [`reason::ENTRY_FAILED`] if VM entry failed in the guest's state;
    /// all ones if the instruction that enters failed.
    pub reason: u32,
    /// Exit qualification; for a PMI the vector.
    pub qualification: u64,
    /// Length in bytes of the instruction that exited, where the reason is an instruction.
    pub instruction_length: u64,
    /// Guest-physical address, for EPT violations.
    pub guest_physical: u64,
    /// RIP of the instruction that exited.
    pub rip: u64,
    /// RFLAGS.
    pub rflags: u64,
    /// Interruptibility state (SDM vol. 3C, table 25-3).
    pub interruptibility: u32,
    /// CR3.
    pub cr3: u64,
    /// VM-entry interruption information: valid if the injection that was asked for did not happen.
    pub injection: Interruption,
    /// General-purpose registers.
    pub registers: Registers,
}

/// A VM exit by its meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VmExit {
    /// An exception of the guest that is intercepted, or an NMI of the host.
    ExceptionOrNmi,
    /// The kernel passes on an external interrupt; its vector is known to be the PMI's.
    ExternalInterrupt {
        /// The vector.
        vector: u8,
    },
    /// Triple fault.
    TripleFault,
    /// INIT signal.
    InitSignal,
    /// Start-up IPI.
    StartupIpi,
    /// The guest can take an interrupt now.
    InterruptWindow,
    /// The guest can take an NMI now.
    NmiWindow,
    /// Task switch.
    TaskSwitch,
    /// CPUID.
    Cpuid,
    /// HLT.
    Hlt,
    /// INVD.
    Invd,
    /// RDPMC.
    Rdpmc,
    /// RDMSR.
    Rdmsr,
    /// WRMSR.
    Wrmsr,
    /// An instruction that does not exist on the machine that the guest sees: VMX, SMX, MONITOR, MWAIT, ...
    Undefined,
    /// Access to a control register.
    ControlRegister(ControlRegisterAccess),
    /// MOV to or from a debug register.
    DebugRegister(DebugRegisterAccess),
    /// IN, OUT, INS or OUTS.
    Io(IoAccess),
    /// VM entry failed: the guest's state is not valid.
    EntryFailure,
    /// PAUSE.
    Pause,
    /// An access that the extended page tables do not allow.
    EptViolation(EptViolation),
    /// The VMX-preemption timer ran out.
    PreemptionTimer,
    /// WBINVD.
    Wbinvd,
    /// XSETBV.
    Xsetbv,
    /// A reason that the VMM does not know.
    Unknown(u32),
}

/// An exit qualification for control registers (SDM vol. 3C, table 28-3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ControlRegisterAccess {
    /// MOV to CRn.
    Write {
        /// n
        register: u8,
        /// Where the value comes from.
        source: Operand,
    },
    /// MOV from CRn.
    Read {
        /// n
        register: u8,
        /// Where the value goes.
        destination: Operand,
    },
    /// CLTS.
    Clts,
    /// LMSW with its operand.
    Lmsw(u16),
}

/// An exit qualification for debug registers (SDM vol. 3C, table 28-4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DebugRegisterAccess {
    /// The number of the debug register, 0 to 7.
    pub register: u8,
    /// Whether the guest reads it.
    pub read: bool,
    /// The other operand.
    pub operand: Operand,
}

/// An exit qualification for I/O (SDM vol. 3C, table 28-5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IoAccess {
    /// The port.
    pub port: u16,
    /// 1, 2 or 4 bytes.
    pub bytes: u8,
    /// IN, not OUT.
    pub input: bool,
    /// INS or OUTS.
    pub string: bool,
    /// INS or OUTS with REP.
    pub repeat: bool,
}

impl IoAccess {
    /// The bits that an access of this size transfers.
    pub const fn mask(self) -> u32 {
        match self.bytes {
            1 => 0xff,
            2 => 0xffff,
            _ => u32::MAX,
        }
    }
}

/// An exit qualification for EPT violations (SDM vol. 3C, table 28-7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EptViolation {
    /// The guest-physical address.
    pub address: u64,
    /// The access was a data read.
    pub read: bool,
    /// The access was a data write.
    pub write: bool,
    /// The access was an instruction fetch.
    pub fetch: bool,
    /// The access was to the final address of a linear address, not to a paging structure.
    pub linear: bool,
}

/// Basic exit reasons (SDM vol. 3D, appendix C).
pub mod reason {
    /// One more than the largest reason that has a name in [`name`].
    pub const COUNT: usize = 70;
    /// `VMEnter`'s reason when VMLAUNCH or VMRESUME itself fails.
    pub const ENTRY_REFUSED: u32 = u32::MAX;
    /// In an exit reason: VM entry failed after it began to load the guest's state (SDM vol. 3C, 25.9.1).
    pub const ENTRY_FAILED: u32 = 1 << 31;
    /// An external interrupt, which the kernel passes on if it is a PMI.
    pub const PMI: u32 = 1;
    /// Triple fault.
    pub const TRIPLE_FAULT: u32 = 2;
    /// WRMSR.
    pub const WRMSR: u32 = 32;
    /// VMX-preemption timer.
    pub const PREEMPTION_TIMER: u32 = 52;

    /// A reason's name, in words that can be a key.
    pub const fn name(reason: u32) -> &'static str {
        if reason == ENTRY_REFUSED {
            return "entry-refused";
        }
        match reason & !ENTRY_FAILED {
            0 => "exception-or-nmi",
            PMI => "pmi",
            TRIPLE_FAULT => "triple-fault",
            3 => "init",
            4 => "sipi",
            7 => "interrupt-window",
            8 => "nmi-window",
            9 => "task-switch",
            10 => "cpuid",
            12 => "hlt",
            13 => "invd",
            11 => "getsec",
            14 => "invlpg",
            15 => "rdpmc",
            16 => "rdtsc",
            18 => "vmcall",
            19 => "vmclear",
            20 => "vmlaunch",
            21 => "vmptrld",
            22 => "vmptrst",
            23 => "vmread",
            24 => "vmresume",
            25 => "vmwrite",
            26 => "vmxoff",
            27 => "vmxon",
            28 => "cr-access",
            29 => "dr-access",
            30 => "io",
            17 => "rsm",
            31 => "rdmsr",
            WRMSR => "wrmsr",
            33 => "entry-failure-state",
            34 => "entry-failure-msr",
            36 => "mwait",
            37 => "monitor-trap",
            39 => "monitor",
            40 => "pause",
            41 => "entry-failure-machine-check",
            43 => "tpr-below-threshold",
            44 => "apic-access",
            45 => "virtual-eoi",
            46 => "gdtr-idtr-access",
            47 => "ldtr-tr-access",
            48 => "ept-violation",
            49 => "ept-misconfiguration",
            50 => "invept",
            51 => "rdtscp",
            PREEMPTION_TIMER => "preemption-timer",
            53 => "invvpid",
            54 => "wbinvd",
            55 => "xsetbv",
            56 => "apic-write",
            57 => "rdrand",
            58 => "invpcid",
            59 => "vmfunc",
            60 => "encls",
            61 => "rdseed",
            62 => "page-modification-log-full",
            63 => "xsaves",
            64 => "xrstors",
            67 => "umwait",
            68 => "tpause",
            69 => "loadiwkey",
            _ => "other",
        }
    }
}

impl RawExit {
    /// What the exit means. Reasons that the VMM does not know are kept.
    pub fn decode(&self) -> VmExit {
        let [byte, ..] = self.qualification.to_le_bytes();
        match self.reason {
            0 => VmExit::ExceptionOrNmi,
            reason::PMI => VmExit::ExternalInterrupt { vector: byte },
            reason::TRIPLE_FAULT => VmExit::TripleFault,
            3 => VmExit::InitSignal,
            4 => VmExit::StartupIpi,
            7 => VmExit::InterruptWindow,
            8 => VmExit::NmiWindow,
            9 => VmExit::TaskSwitch,
            10 => VmExit::Cpuid,
            12 => VmExit::Hlt,
            13 => VmExit::Invd,
            15 => VmExit::Rdpmc,
            28 => self.control_register(),
            29 => VmExit::DebugRegister(DebugRegisterAccess {
                register: byte & 7,
                read: byte & 1 << 4 != 0,
                operand: self.operand(),
            }),
            30 => self.io(),
            31 => VmExit::Rdmsr,
            reason::WRMSR => VmExit::Wrmsr,
            // The kernel of the Microkit SDK cuts ENTRY_FAILED off.
            33 | 34 | 41 => VmExit::EntryFailure,
            40 => VmExit::Pause,
            48 => VmExit::EptViolation(EptViolation {
                address: self.guest_physical,
                read: byte & 1 != 0,
                write: byte & 2 != 0,
                fetch: byte & 4 != 0,
                linear: self.qualification & 0x180 == 0x180,
            }),
            reason::PREEMPTION_TIMER => VmExit::PreemptionTimer,
            54 => VmExit::Wbinvd,
            55 => VmExit::Xsetbv,
            // GETSEC, VMX instructions, MWAIT, MONITOR, INVEPT, RDTSCP, INVVPID, RDRAND, INVPCID, VMFUNC,
            // ENCLS, RDSEED, XSAVES, XRSTORS: absent from the CPUID that the guest sees.
            11 | 18..=27 | 36 | 39 | 50 | 51 | 53 | 57..=61 | 63 | 64 => VmExit::Undefined,
            // ENTRY_REFUSED has the bit, too.
            failed if failed & reason::ENTRY_FAILED != 0 => VmExit::EntryFailure,
            other => VmExit::Unknown(other),
        }
    }

    /// Bits 11:8 of the qualification.
    const fn operand(&self) -> Operand {
        let [_, second, ..] = self.qualification.to_le_bytes();
        Operand::from_number(second)
    }

    fn control_register(&self) -> VmExit {
        let [low, _, data_low, data_high, ..] = self.qualification.to_le_bytes();
        let register = low & 0xf;
        VmExit::ControlRegister(match low >> 4 & 3 {
            0 => ControlRegisterAccess::Write { register, source: self.operand() },
            1 => ControlRegisterAccess::Read { register, destination: self.operand() },
            2 => ControlRegisterAccess::Clts,
            _ => ControlRegisterAccess::Lmsw(u16::from_le_bytes([data_low, data_high])),
        })
    }

    const fn io(&self) -> VmExit {
        let [low, _, port_low, port_high, ..] = self.qualification.to_le_bytes();
        VmExit::Io(IoAccess {
            port: u16::from_le_bytes([port_low, port_high]),
            bytes: (low & 7) + 1,
            input: low & 1 << 3 != 0,
            string: low & 1 << 4 != 0,
            repeat: low & 1 << 5 != 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registers::Gpr;

    fn exit(reason: u32, qualification: u64) -> VmExit {
        RawExit { reason, qualification, ..RawExit::default() }.decode()
    }

    /// SDM vol. 3C, table 28-3.
    #[test]
    fn control_register_accesses() {
        let read = ControlRegisterAccess::Read { register: 8, destination: Operand::Gpr(Gpr::R9) };
        assert_eq!(exit(28, 0x918), VmExit::ControlRegister(read));
        let write = ControlRegisterAccess::Write { register: 0, source: Operand::Rsp };
        assert_eq!(exit(28, 0x400), VmExit::ControlRegister(write));
        assert_eq!(exit(28, 0x20), VmExit::ControlRegister(ControlRegisterAccess::Clts));
        assert_eq!(exit(28, 0xfff1_0030), VmExit::ControlRegister(ControlRegisterAccess::Lmsw(0xfff1)));
    }

    /// SDM vol. 3C, table 28-5.
    #[test]
    fn io_accesses() {
        let out = IoAccess { port: 0x3f8, bytes: 1, input: false, string: false, repeat: false };
        assert_eq!(exit(30, 0x03f8_0000), VmExit::Io(out));
        let ins = IoAccess { port: 0x510, bytes: 4, input: true, string: true, repeat: false };
        assert_eq!(exit(30, 0x0510_001b), VmExit::Io(ins));
        assert_eq!(exit(30, 0x0510_003b), VmExit::Io(IoAccess { repeat: true, ..ins }));
    }

    /// SDM vol. 3C, table 28-7: bit 7 says that bit 8 has a meaning.
    #[test]
    fn an_ept_violation_of_the_page_walk_is_not_linear() {
        let VmExit::EptViolation(walk) = exit(48, 0x081) else { panic!("not an EPT violation") };
        assert!(!walk.linear && walk.read && !walk.write);
        let VmExit::EptViolation(data) = exit(48, 0x182) else { panic!("not an EPT violation") };
        assert!(data.linear && !data.read && data.write);
    }

    #[test]
    fn an_unknown_reason_is_kept() {
        assert_eq!(exit(69, 0), VmExit::Unknown(69));
        assert_eq!(exit(0x1234, 0), VmExit::Unknown(0x1234));
    }

    /// SDM vol. 3C, 25.9.1 and 27.8: bit 31, with the basic reasons 33, 34 and 41; and what `VMEnter` says where no exit
    /// reason was written.
    #[test]
    fn a_failed_entry_is_one_whatever_its_reason() {
        for (basic, name) in
            [(33, "entry-failure-state"), (34, "entry-failure-msr"), (41, "entry-failure-machine-check")]
        {
            for number in [basic, 1 << 31 | basic] {
                assert_eq!((exit(number, 0), reason::name(number)), (VmExit::EntryFailure, name));
            }
        }
        assert_eq!(exit(reason::ENTRY_REFUSED, u64::MAX), VmExit::EntryFailure);
        assert_eq!(reason::name(reason::ENTRY_REFUSED), "entry-refused");
    }
}
