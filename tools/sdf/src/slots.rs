//! The capability space of protection domains and of the monitor (docs/architecture.md).

/// The endpoint or notification on which a protection domain receives.
pub const INPUT: u32 = 1;
/// The endpoint to which the kernel sends a protection domain's faults.
pub const FAULT: u32 = 2;
/// Slot 10 + channel: the notification that the channel signals.
pub const BASE_NOTIFICATION: u32 = 10;
/// Slot 74 + channel: the endpoint that the channel calls.
pub const BASE_ENDPOINT: u32 = 74;
/// Slot 138 + channel: the interrupt.
pub const BASE_IRQ: u32 = 138;
/// Slot 202 + child: the child's TCB.
pub const BASE_CHILD_TCB: u32 = 202;
/// Slot 330 + vCPU: the VCPU with the run right alone.
pub const BASE_VCPU: u32 = 330;
/// Slot 394 + identifier: the I/O ports.
pub const BASE_IO_PORTS: u32 = 394;
/// Slot 458 + channel: the VCPU with the PMU right alone.
pub const BASE_VCPU_PMU: u32 = 458;
/// Slot 522 + slot: what `cspace` asks for.
pub const BASE_FOREIGN: u32 = 522;
/// A protection domain's CNode has 2^10 slots.
pub const CNODE_BITS: u8 = 10;

/// Badge bit of a protected procedure call; the rest is the callee's channel.
pub const CALL_BADGE: u64 = 1 << 63;
/// Badge bit of a child's fault; the rest is the child's identifier.
pub const FAULT_BADGE: u64 = 1 << 62;

/// The monitor's I/O ports, in systems with a kernel that cannot print.
pub const MONITOR_PORTS: u32 = 2;
/// The monitor's CNode has 2^2 slots: the endpoint is at [`INPUT`].
pub const MONITOR_CNODE_BITS: u8 = 2;
/// The ports of COM1.
pub const COM1: (u16, u16) = (0x3f8, 0x3ff);

/// Bits of a capability's address.
pub const ADDRESS_BITS: u8 = 64;
