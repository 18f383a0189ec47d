//! Programs whose instructions are known one by one.

/// What the PMU sees of an instruction. Each takes one core cycle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// Neither a branch nor a memory access.
    Plain,
    /// A conditional branch; all of a program are the same instruction.
    Conditional {
        /// Whether it was taken.
        taken: bool,
    },
    /// A near call or return (with its access to the stack).
    Call,
    /// A load from this cache line of the program's buffer.
    Load(u64),
}

/// A program. Its loop counter is loaded before the counters are enabled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// n times: five NOP, DEC, JNZ.
    Loop(u32),
    /// n times: CALL to a RET, DEC, JNZ.
    Calls(u32),
    /// For n cache lines in order: load, ADD, DEC, JNZ.
    Loads(u32),
}

impl Program {
    /// Instructions that it executes.
    pub const fn instructions(self) -> u64 {
        match self {
            Program::Loop(n) => 7 * n as u64,
            Program::Calls(n) | Program::Loads(n) => 4 * n as u64,
        }
    }

    /// Branch instructions among them.
    pub const fn branches(self) -> u64 {
        match self {
            Program::Loop(n) | Program::Loads(n) => n as u64,
            Program::Calls(n) => 3 * n as u64,
        }
    }

    /// Every instruction in order.
    pub fn ops(self) -> impl Iterator<Item = Op> {
        (0..self.instructions()).map(move |i| {
            let (n, period) = match self {
                Program::Loop(n) => (n, 7),
                Program::Calls(n) | Program::Loads(n) => (n, 4),
            };
            let (turn, place) = (i / period, i % period);
            match self {
                _ if place == period - 1 => Op::Conditional { taken: turn + 1 < u64::from(n) },
                Program::Calls(_) if place < 2 => Op::Call,
                Program::Loads(_) if place == 0 => Op::Load(turn),
                _ => Op::Plain,
            }
        })
    }
}
