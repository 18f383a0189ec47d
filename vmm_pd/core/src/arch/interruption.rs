//! Events that an entry injects or an exit tells of.

use super::vector;

/// VM-entry or VM-exit interruption information (SDM vol. 3C, 25.8.3 and 25.9.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Interruption(pub u32);

/// What kind of event an [`Interruption`] is (bits 10:8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InterruptionType {
    /// External interrupt.
    External,
    /// Non-maskable interrupt.
    Nmi,
    /// Hardware exception.
    Exception,
    /// Privileged software exception: INT1.
    PrivilegedSoftware,
    /// A type that the VMM never injects (software interrupts and exceptions, other events).
    Other(u32),
}

impl Interruption {
    const VALID: u32 = 1 << 31;
    const ERROR_CODE: u32 = 1 << 11;
    /// Nothing to inject.
    pub const NONE: Self = Self(0);

    /// An external interrupt.
    pub const fn external(vector: u8) -> Self {
        Self(Self::VALID | vector as u32)
    }

    /// A non-maskable interrupt.
    pub const fn nmi() -> Self {
        Self(Self::VALID | 2 << 8 | vector::NMI as u32)
    }

    /// A hardware exception without error code.
    pub const fn exception(vector: u8) -> Self {
        Self(Self::VALID | 3 << 8 | vector as u32)
    }

    /// A hardware exception with the error code that the VMCS holds: 0 in a new one, and unless a page fault was the last.
    pub const fn exception_with_code(vector: u8) -> Self {
        Self(Self::VALID | Self::ERROR_CODE | 3 << 8 | vector as u32)
    }

    /// Whether it delivers an error code.
    pub const fn has_error_code(self) -> bool {
        self.0 & Self::ERROR_CODE != 0
    }

    /// The same event without an error code.
    #[must_use]
    pub const fn without_error_code(self) -> Self {
        Self(self.0 & !Self::ERROR_CODE)
    }

    /// Whether there is an event.
    pub const fn is_valid(self) -> bool {
        self.0 & Self::VALID != 0
    }

    /// The vector (bits 7:0).
    pub const fn vector(self) -> u8 {
        self.0.to_le_bytes()[0]
    }

    /// The kind of event.
    pub const fn kind(self) -> InterruptionType {
        match self.0 >> 8 & 7 {
            0 => InterruptionType::External,
            2 => InterruptionType::Nmi,
            3 => InterruptionType::Exception,
            5 => InterruptionType::PrivilegedSoftware,
            other => InterruptionType::Other(other),
        }
    }
}
