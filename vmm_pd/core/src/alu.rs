//! Arithmetic and logic on operands of 1, 2, 4 or 8 bytes, with the flags (SDM vol. 1, 3.4.3.1).

/// An operation, by its number in the opcode map (SDM vol. 2D, table A-6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the instructions' own names")]
pub enum Operation {
    Add,
    Or,
    AddWithCarry,
    SubtractWithBorrow,
    And,
    Subtract,
    ExclusiveOr,
    Compare,
}

impl Operation {
    /// The operation with this number; only bits 2:0 count.
    pub const fn from_number(number: u8) -> Self {
        match number & 7 {
            0 => Self::Add,
            1 => Self::Or,
            2 => Self::AddWithCarry,
            3 => Self::SubtractWithBorrow,
            4 => Self::And,
            5 => Self::Subtract,
            6 => Self::ExclusiveOr,
            _ => Self::Compare,
        }
    }
}

const CARRY: u64 = 1 << 0;
const PARITY: u64 = 1 << 2;
const AUXILIARY: u64 = 1 << 4;
const ZERO: u64 = 1 << 6;
const SIGN: u64 = 1 << 7;
const OVERFLOW: u64 = 1 << 11;

/// The bits of an operand of so many bytes.
pub const fn mask(bytes: u8) -> u64 {
    match bytes {
        1 => 0xff,
        2 => 0xffff,
        4 => 0xffff_ffff,
        _ => u64::MAX,
    }
}

/// `first` and `second`, of `bytes` bytes each, and RFLAGS: the result, and RFLAGS after it.
pub const fn compute(operation: Operation, first: u64, second: u64, bytes: u8, flags: u64) -> (u64, u64) {
    let mask = mask(bytes);
    let (first, second) = (first & mask, second & mask);
    let carry = flags & CARRY;
    let top = mask ^ mask >> 1;
    let (result, carries, overflows) = match operation {
        Operation::Or => (first | second, false, 0),
        Operation::And => (first & second, false, 0),
        Operation::ExclusiveOr => (first ^ second, false, 0),
        Operation::Add | Operation::AddWithCarry => {
            let carry = if matches!(operation, Operation::Add) { 0 } else { carry };
            let result = first.wrapping_add(second).wrapping_add(carry) & mask;
            let carries = result < first || carry != 0 && result == first;
            (result, carries, (first ^ result) & (second ^ result) & top)
        }
        Operation::Subtract | Operation::SubtractWithBorrow | Operation::Compare => {
            let borrow = if matches!(operation, Operation::SubtractWithBorrow) { carry } else { 0 };
            let result = first.wrapping_sub(second).wrapping_sub(borrow) & mask;
            let borrows = first < second || borrow != 0 && first == second;
            (result, borrows, (first ^ second) & (first ^ result) & top)
        }
    };
    let logical = matches!(operation, Operation::Or | Operation::And | Operation::ExclusiveOr);
    let auxiliary = if logical { 0 } else { (first ^ second ^ result) & 0x10 };
    let flags = flags & !(CARRY | PARITY | AUXILIARY | ZERO | SIGN | OVERFLOW)
        | if carries { CARRY } else { 0 }
        | if (result & 0xff).count_ones().is_multiple_of(2) { PARITY } else { 0 }
        | auxiliary
        | if result == 0 { ZERO } else { 0 }
        | if result & top != 0 { SIGN } else { 0 }
        | if overflows != 0 { OVERFLOW } else { 0 };
    (result, flags)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The processor's own results: every pair of bytes and carry, each operation.
    #[cfg(target_arch = "x86_64")]
    #[test]
    fn bytes_as_the_processor_computes_them() {
        const STATUS: u64 = CARRY | PARITY | AUXILIARY | ZERO | SIGN | OVERFLOW;
        for first in 0..=u8::MAX {
            for second in 0..=u8::MAX {
                for carry in [false, true] {
                    for number in 0..8 {
                        let operation = Operation::from_number(number);
                        let flags = 2 | STATUS & !CARRY | u64::from(carry);
                        let (result, after) = compute(operation, first.into(), second.into(), 1, flags);
                        let (expected, carries, overflows) =
                            by_wider_numbers(operation, first, second, carry);
                        assert_eq!(result, u64::from(expected), "{operation:?} {first} {second} {carry}");
                        let mut want = 2;
                        want |= if carries { CARRY } else { 0 };
                        want |= if overflows { OVERFLOW } else { 0 };
                        want |= if expected == 0 { ZERO } else { 0 };
                        want |= if expected >= 0x80 { SIGN } else { 0 };
                        want |= if expected.count_ones() % 2 == 0 { PARITY } else { 0 };
                        want |= if nibble_carries(operation, first, second, carry) { AUXILIARY } else { 0 };
                        assert_eq!(after, want, "{operation:?} {first} {second} {carry}");
                    }
                }
            }
        }
    }

    /// The result by signed and unsigned numbers that have room for it.
    fn by_wider_numbers(operation: Operation, first: u8, second: u8, carry: bool) -> (u8, bool, bool) {
        let wide = |sum: i32, signed: i32| {
            let [byte, ..] = sum.to_le_bytes();
            (byte, !(0..256).contains(&sum), !(-128..128).contains(&signed))
        };
        let (a, b, c) = (i32::from(first), i32::from(second), i32::from(carry));
        let (sa, sb) = (i32::from(first.cast_signed()), i32::from(second.cast_signed()));
        match operation {
            Operation::Add => wide(a + b, sa + sb),
            Operation::AddWithCarry => wide(a + b + c, sa + sb + c),
            Operation::Subtract | Operation::Compare => wide(a - b, sa - sb),
            Operation::SubtractWithBorrow => wide(a - b - c, sa - sb - c),
            Operation::Or => (first | second, false, false),
            Operation::And => (first & second, false, false),
            Operation::ExclusiveOr => (first ^ second, false, false),
        }
    }

    fn nibble_carries(operation: Operation, first: u8, second: u8, carry: bool) -> bool {
        let (a, b, c) = (first & 0xf, second & 0xf, u8::from(carry));
        match operation {
            Operation::Add => a + b > 0xf,
            Operation::AddWithCarry => a + b + c > 0xf,
            Operation::Subtract | Operation::Compare => a < b,
            Operation::SubtractWithBorrow => a < b + c,
            _ => false,
        }
    }

    #[test]
    fn wider_operands_keep_their_size() {
        assert_eq!(compute(Operation::Add, 0xffff_ffff, 1, 4, 2), (0, 2 | CARRY | ZERO | PARITY | AUXILIARY));
        assert_eq!(compute(Operation::Subtract, 0, 1, 8, 2).0, u64::MAX);
        assert_eq!(compute(Operation::Or, 0x1_8000, 0, 2, 2), (0x8000, 2 | SIGN | PARITY));
        let carried = compute(Operation::AddWithCarry, u64::MAX, 0, 8, 2 | CARRY);
        assert_eq!(carried, (0, 2 | CARRY | ZERO | PARITY | AUXILIARY));
    }
}
