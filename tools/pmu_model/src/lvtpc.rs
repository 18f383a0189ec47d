//! The local APIC's LVT performance-monitoring entry (SDM vol. 3A, 12.5.1) and the delivery of a PMI.

/// An overflow whose counter asks for an interrupt. Handed to [`Lvtpc::deliver`], now or later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct PmiRequest;

/// The LVT performance-monitoring counter register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lvtpc(pub u32);

/// What the local APIC delivers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The vector; without a meaning for an NMI.
    pub vector: u8,
    /// The delivery mode field, 0 fixed, 2 SMI, 4 NMI, 5 INIT, 7 ExtINT.
    pub mode: u8,
}

impl Lvtpc {
    /// The mask bit.
    pub const MASKED: u32 = 1 << 16;
    /// The delivery mode of an NMI.
    pub const NMI: u8 = 4;

    /// Delivers a PMI: `None` when the entry is masked, in which case the PMI is lost; otherwise what is
    /// delivered, and the entry becomes masked (SDM vol. 3A, 12.5.1: "when a performance-monitoring counters
    /// interrupt is generated, the mask bit for its associated LVT entry is set").
    #[must_use]
    pub fn deliver(&mut self, PmiRequest: PmiRequest) -> Option<Delivery> {
        if self.0 & Self::MASKED != 0 {
            return None;
        }
        let [vector, second, ..] = self.0.to_le_bytes();
        self.0 |= Self::MASKED;
        Some(Delivery { vector, mode: second & 7 })
    }
}
