//! Fault messages of the kernel, as text.

use core::fmt;
use sel4_abi::numbers::fault;

/// A fault, from the message that reports it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// A system call named a capability that is not there.
    Capability {
        /// Of the system call.
        instruction: u64,
        /// The capability's address.
        address: u64,
    },
    /// A system call that the kernel does not have.
    SystemCall {
        /// Of the system call.
        instruction: u64,
        /// Its number.
        number: u64,
    },
    /// A processor exception.
    Exception {
        /// That caused it.
        instruction: u64,
        /// Its vector (SDM 7.3.1, Table 7-1).
        vector: u64,
        /// Its error code.
        code: u64,
    },
    /// An access to memory that is not mapped so.
    Memory {
        /// That caused it.
        instruction: u64,
        /// The address that was accessed.
        address: u64,
        /// The page fault's error code (SDM 5.7).
        code: u64,
    },
    /// A message that is no fault.
    Unknown {
        /// Its label.
        label: u64,
    },
}

/// Position of the instruction pointer in the message of an unknown system call, and in the answer.
pub const UNKNOWN_SYSCALL_IP: usize = 15;

/// Positions in the messages (seL4's fault types).
mod place {
    pub const CAP_IP: usize = 0;
    pub const CAP_ADDRESS: usize = 1;
    pub const SYSCALL_NUMBER: usize = 18;
    pub const EXCEPTION_IP: usize = 0;
    pub const EXCEPTION_NUMBER: usize = 3;
    pub const EXCEPTION_CODE: usize = 4;
    pub const VM_IP: usize = 0;
    pub const VM_ADDRESS: usize = 1;
    pub const VM_CODE: usize = 3;
}

impl Fault {
    /// The fault that the message with this label reports; `word` gives the message's words.
    #[must_use]
    pub fn from_message(label: u64, word: impl Fn(usize) -> u64) -> Fault {
        match label {
            fault::CAP => {
                Fault::Capability { instruction: word(place::CAP_IP), address: word(place::CAP_ADDRESS) }
            }
            fault::UNKNOWN_SYSCALL => Fault::SystemCall {
                instruction: word(UNKNOWN_SYSCALL_IP),
                number: word(place::SYSCALL_NUMBER),
            },
            fault::USER_EXCEPTION => Fault::Exception {
                instruction: word(place::EXCEPTION_IP),
                vector: word(place::EXCEPTION_NUMBER),
                code: word(place::EXCEPTION_CODE),
            },
            fault::VM => Fault::Memory {
                instruction: word(place::VM_IP),
                address: word(place::VM_ADDRESS),
                code: word(place::VM_CODE),
            },
            label => Fault::Unknown { label },
        }
    }
}

/// Page-fault error code: the access was a write.
const WRITE: u64 = 1 << 1;
/// Page-fault error code: the access was an instruction fetch.
const FETCH: u64 = 1 << 4;

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Fault::Capability { instruction, address } => {
                write!(f, "cap fault: no capability at {address:#x}, instruction {instruction:#x}")
            }
            Fault::SystemCall { instruction, number } => {
                let number = number.cast_signed();
                write!(f, "unknown system call {number}, instruction {instruction:#x}")
            }
            Fault::Exception { instruction, vector, code } => {
                let name = exception(vector);
                write!(f, "exception {vector}{name}, error code {code:#x}, instruction {instruction:#x}")
            }
            Fault::Memory { instruction, address, code } => {
                let access = match (code & FETCH != 0, code & WRITE != 0) {
                    (true, _) => "instruction fetch",
                    (_, true) => "write",
                    _ => "read",
                };
                write!(f, "page fault: {access} at {address:#x}, instruction {instruction:#x}")
            }
            Fault::Unknown { label } => write!(f, "message with unknown label {label}"),
        }
    }
}

/// Names of the exceptions that programs cause (SDM 7.3.1, Table 7-1).
fn exception(vector: u64) -> &'static str {
    match vector {
        0 => " (divide error)",
        1 => " (debug)",
        3 => " (breakpoint)",
        4 => " (overflow)",
        5 => " (BOUND range exceeded)",
        6 => " (invalid opcode)",
        7 => " (device not available)",
        10 => " (invalid TSS)",
        11 => " (segment not present)",
        12 => " (stack-segment fault)",
        13 => " (general protection)",
        16 => " (x87 floating-point error)",
        17 => " (alignment check)",
        19 => " (SIMD floating-point error)",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::Fault;
    use std::string::ToString;

    fn text(label: u64, words: &[(usize, u64)]) -> std::string::String {
        let find = |index| words.iter().find(|(i, _)| *i == index).map_or(0, |(_, word)| *word);
        Fault::from_message(label, find).to_string()
    }

    // The positions are those of seL4 5.0.0's libsel4 for x86-64: VMFault (IP, Addr, PrefetchFault, FSR),
    // UserException (IP, Stack, FLAGS, Number, Code), UnknownSyscall (15 registers, IP, RSP, FLAGS, Syscall),
    // CapFault (IP, Addr).
    #[test]
    fn each_kind_names_instruction_and_address() {
        let page = |code| text(5, &[(0, 0x40_1000), (1, 0x10), (3, code)]);
        assert_eq!(page(0x4), "page fault: read at 0x10, instruction 0x401000");
        assert_eq!(page(0x6), "page fault: write at 0x10, instruction 0x401000");
        assert_eq!(page(0x14), "page fault: instruction fetch at 0x10, instruction 0x401000");
        let exception = text(3, &[(0, 0x40_2000), (3, 6), (4, 0)]);
        assert_eq!(exception, "exception 6 (invalid opcode), error code 0x0, instruction 0x402000");
        let call = text(2, &[(15, 0x40_3000), (18, (-99_i64).cast_unsigned())]);
        assert_eq!(call, "unknown system call -99, instruction 0x403000");
        assert_eq!(
            text(1, &[(0, 0x40_4000), (1, 77)]),
            "cap fault: no capability at 0x4d, instruction 0x404000"
        );
        assert_eq!(text(1234, &[]), "message with unknown label 1234");
    }
}
