//! The bytes of an instruction, read one after another.

use crate::arch::LONGEST_INSTRUCTION;

pub struct Bytes<'a> {
    bytes: &'a [u8],
    position: u8,
}

impl<'a> Bytes<'a> {
    /// No instruction is longer than the longest one.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes: &bytes[..bytes.len().min(LONGEST_INSTRUCTION)], position: 0 }
    }

    /// Bytes that were read.
    pub const fn position(&self) -> u8 {
        self.position
    }

    pub fn byte(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(usize::from(self.position))?;
        self.position += 1;
        Some(byte)
    }

    pub fn skip(&mut self, count: u8) -> Option<()> {
        (0..count).try_for_each(|_| self.byte().map(|_| ()))
    }

    /// A constant of so many bytes, sign-extended.
    pub fn immediate(&mut self, count: u8) -> Option<u64> {
        let (mut value, mut last) = (0, 0);
        for i in 0..u32::from(count) {
            last = self.byte()?;
            value |= u64::from(last) << (8 * i);
        }
        let negative = last & 0x80 != 0;
        Some(if negative { value | u64::MAX << (8 * u32::from(count)) } else { value })
    }
}
