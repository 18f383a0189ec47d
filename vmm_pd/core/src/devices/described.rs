//! What the guest's ACPI tables say of the devices. The build script, which makes the tables, reads this file too.

/// The page of the local APIC after reset (SDM vol. 3A, 11.4.1).
pub const APIC_BASE_ADDRESS: u64 = 0xfee0_0000;
/// The page of the I/O APIC.
pub const IOAPIC_ADDRESS: u64 = 0xfec0_0000;
/// Interrupt line of the timer.
pub const TIMER_LINE: u8 = 0;
/// The I/O APIC's pin of the timer; every other line has the pin of its number.
pub const TIMER_PIN: u8 = 2;

/// PM1a event block: status and enable, 16 bits each (4.8.3.1).
pub const PM1A_EVENT: u16 = 0x600;
/// PM1a control, 16 bits (4.8.3.2).
pub const PM1A_CONTROL: u16 = 0x604;
/// The power-management timer, 32 bits (4.8.3.3).
pub const PM_TIMER: u16 = 0x608;
/// What the tables' `\_S5` names as the sleep type for power-off.
pub const SLEEP_TYPE_OFF: u8 = 5;
/// The reset register of the tables.
pub const RESET: u16 = 0xcf9;
/// The value that resets the machine there.
pub const RESET_VALUE: u8 = 6;

/// Where the RSDP is; the other tables follow.
pub const RSDP: u64 = 0xe_0000;
