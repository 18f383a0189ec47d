//! The message of a VM exit. The places of its words are the kernel's: [`super::layout`]. (The SDK's runtime has this file,
//! too.)

use super::layout;

/// The guest's general registers but RSP and RIP, which are VMCS fields, in the order of the kernel's
/// messages.
#[derive(Debug, Copy, Clone, Default, Eq, PartialEq)]
#[allow(missing_docs, reason = "the SDM's names")]
pub struct VcpuRegisters {
    pub rax: u64,
    pub rbx: u64,
    pub rcx: u64,
    pub rdx: u64,
    pub rsi: u64,
    pub rdi: u64,
    pub rbp: u64,
    pub r8: u64,
    pub r9: u64,
    pub r10: u64,
    pub r11: u64,
    pub r12: u64,
    pub r13: u64,
    pub r14: u64,
    pub r15: u64,
}

impl VcpuRegisters {
    /// How many registers there are.
    pub const COUNT: usize = 15;

    /// The registers in the kernel's order.
    pub fn to_words(&self) -> [u64; Self::COUNT] {
        let r = self;
        [
            r.rax, r.rbx, r.rcx, r.rdx, r.rsi, r.rdi, r.rbp, r.r8, r.r9, r.r10, r.r11, r.r12, r.r13, r.r14,
            r.r15,
        ]
    }

    /// The registers from the kernel's order.
    pub fn from_words(words: [u64; Self::COUNT]) -> Self {
        let [rax, rbx, rcx, rdx, rsi, rdi, rbp, r8, r9, r10, r11, r12, r13, r14, r15] = words;
        Self { rax, rbx, rcx, rdx, rsi, rdi, rbp, r8, r9, r10, r11, r12, r13, r14, r15 }
    }
}

/// A VM exit (SDM 25.9 and 28.2).
#[derive(Debug, Copy, Clone, Default, Eq, PartialEq)]
pub struct VmExit {
    /// The exit reason. Bit 31 is set if VM entry failed; the SDK's kernel cuts bits 31:16 off.
    pub reason: u64,
    /// The exit qualification. For a PMI (reason 1, on the bundled kernel), the PMI's vector.
    pub qualification: u64,
    /// The VM-exit instruction length in bytes, where the exit has one.
    pub instruction_length: u64,
    /// The guest-physical address, for EPT violations and misconfigurations.
    pub guest_physical: u64,
    /// The guest's RFLAGS.
    pub rflags: u64,
    /// The guest's interruptibility state (SDM 25.4.2).
    pub interruptibility: u64,
    /// The guest's CR3.
    pub cr3: u64,
    /// The guest's general registers.
    pub registers: VcpuRegisters,
}

impl VmExit {
    /// The exit in `VMEnter`'s fourth result word and the IPC buffer's message registers, of which the kernel
    /// fills those from the fifth on.
    pub(crate) fn from_message(reason: u64, registers: &[u64]) -> Self {
        let words = core::array::from_fn(|i| registers[layout::FAULT_REGISTERS + i]);
        Self {
            reason,
            qualification: registers[layout::FAULT_QUALIFICATION],
            instruction_length: registers[layout::FAULT_INSTRUCTION_LENGTH],
            guest_physical: registers[layout::FAULT_GUEST_PHYSICAL],
            rflags: registers[layout::FAULT_RFLAGS],
            interruptibility: registers[layout::FAULT_GUEST_INTERRUPTIBILITY],
            cr3: registers[layout::FAULT_CR3],
            registers: VcpuRegisters::from_words(words),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{VcpuRegisters, VmExit};

    #[test]
    fn every_word_of_the_message_has_its_place() {
        let registers: [u64; 25] = core::array::from_fn(|i| 100 + i as u64);
        let exit = VmExit::from_message(31, &registers);
        assert_eq!((exit.reason, exit.qualification, exit.instruction_length), (31, 104, 105));
        assert_eq!((exit.guest_physical, exit.rflags, exit.interruptibility), (106, 107, 108));
        assert_eq!((exit.cr3, exit.registers.rax, exit.registers.r15), (109, 110, 124));
        assert_eq!(exit.registers.to_words()[..], registers[10..]);
    }

    #[test]
    fn registers_keep_their_order() {
        let registers = VcpuRegisters { rax: 1, rsi: 5, r8: 8, ..Default::default() };
        assert_eq!(registers.to_words(), [1, 0, 0, 0, 5, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(VcpuRegisters::from_words(registers.to_words()), registers);
    }
}
