//! The capability space of a protection domain (Microkit manual, "Internals").

/// Slot 330 + vCPU: the VCPU.
pub const BASE_VCPU: u64 = 330;
/// Slot 394 + identifier: the I/O ports.
pub const BASE_IOPORT: u64 = 394;
/// I/O ports have the identifiers 0 to 62.
pub const MAX_IOPORTS: usize = 63;
