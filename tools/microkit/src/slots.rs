//! The capability space of a protection domain (docs/architecture.md).

/// The endpoint on which this protection domain receives.
pub const INPUT: u64 = 1;
/// The endpoint to which the kernel sends this protection domain's faults.
pub const FAULTS: u64 = 2;
/// Slot 10 + channel: the notification that the channel signals.
pub const BASE_OUTPUT_NOTIFICATION: u64 = 10;
/// Slot 74 + channel: the endpoint that the channel calls.
pub const BASE_ENDPOINT: u64 = 74;
/// Slot 138 + channel: the interrupt that the channel acknowledges.
pub const BASE_IRQ: u64 = 138;
/// Slot 330 + vCPU: the VCPU with the run right.
pub const BASE_VCPU: u64 = 330;
/// Slot 394 + identifier: the I/O ports.
pub const BASE_IOPORT: u64 = 394;
/// Slot 458 + channel: the VCPU, with the PMU right alone, of the virtual machine at the channel's other end.
pub const BASE_VCPU_PMU: u64 = 458;
/// Channels have the indices 0 to 61.
pub const MAX_CHANNELS: usize = 62;
/// I/O ports have the identifiers 0 to 62.
pub const MAX_IOPORTS: usize = 63;
/// Bytes in `microkit_name`.
pub const PD_NAME_LENGTH: usize = 64;
