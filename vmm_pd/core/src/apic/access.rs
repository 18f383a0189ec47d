//! Reads and writes of the local APIC's registers, by memory and by MSR (SDM vol. 3A, tables 11-1 and 11-6).

use super::{GeneralProtection, LVT_ENTRIES, LVT_MASKED, LVT_TIMER, LocalApic, Mode, SVR_ENABLED};
use crate::arch::msr;

/// Error status: a vector below 16 was to be sent (11.5.3).
pub(super) const ERROR_SENT_VECTOR: u32 = 1 << 5;
/// Error status: a received interrupt has a vector below 16 (11.5.3).
pub(super) const ERROR_RECEIVED_VECTOR: u32 = 1 << 6;
/// Error status: access to a reserved address (11.5.3).
const ERROR_REGISTER: u32 = 1 << 7;
/// Version 0x14 with six LVT entries (11.4.8).
const VERSION: u32 = 0x14 | (u32::from_le_bytes([LVT_ENTRIES.to_le_bytes()[0], 0, 0, 0]) - 1) << 16;

/// Register numbers: the offset in the page, or the MSR number from 0x800 on, in steps of 16 or 1.
mod number {
    pub const ID: u32 = 0x02;
    pub const VERSION: u32 = 0x03;
    pub const TASK_PRIORITY: u32 = 0x08;
    pub const ARBITRATION_PRIORITY: u32 = 0x09;
    pub const PROCESSOR_PRIORITY: u32 = 0x0a;
    pub const END_OF_INTERRUPT: u32 = 0x0b;
    pub const LOGICAL_DESTINATION: u32 = 0x0d;
    pub const DESTINATION_FORMAT: u32 = 0x0e;
    pub const SPURIOUS: u32 = 0x0f;
    pub const IN_SERVICE: u32 = 0x10;
    pub const TRIGGER_MODE: u32 = 0x18;
    pub const REQUESTED: u32 = 0x20;
    pub const ERRORS: u32 = 0x28;
    pub const COMMAND: u32 = 0x30;
    pub const COMMAND_HIGH: u32 = 0x31;
    pub const LVT: u32 = 0x32;
    pub const LVT_LAST: u32 = 0x37;
    pub const INITIAL_COUNT: u32 = 0x38;
    pub const CURRENT_COUNT: u32 = 0x39;
    pub const DIVIDE: u32 = 0x3e;
    pub const SELF_IPI: u32 = 0x3f;
}

/// The bits of each LVT entry that exist and can be written (figure 11-8).
const LVT_WRITABLE: [u32; LVT_ENTRIES] = [0x7_00ff, 0x1_07ff, 0x1_07ff, 0x1_a7ff, 0x1_a7ff, 0x1_00ff];
/// Bits of the low half of the ICR that can be written (figure 11-12); bits 12 and 13 are not among them.
const COMMAND_WRITABLE: u64 = 0xc_cfff;
/// ICR: to the processor itself (11.6.1).
const COMMAND_TO_SELF: u64 = 1 << 18;
/// Bits of the spurious-interrupt vector register (figure 11-23).
const SPURIOUS_WRITABLE: u32 = 0x3ff;

/// Whether table 11-1 has no register with this number. LVT CMCI, 0x2f, does not exist with six entries (11.5.1).
const fn is_reserved(register: u32) -> bool {
    matches!(register, 0 | 1 | 4..=7 | 0x29..=0x2f | 0x3a..=0x3d | 0x3f..)
}

impl LocalApic {
    /// A 32-bit read at `offset` of the APIC's page. What cannot be read is 0, and an error if it is reserved.
    pub fn read_memory(&mut self, offset: u32, now: u64) -> u32 {
        let value = (self.mode == Mode::XApic).then(|| self.read(offset >> 4, now)).flatten();
        value.unwrap_or_else(|| {
            self.missing(offset >> 4);
            0
        })
    }

    /// A register that is not there, or not for this access.
    fn missing(&mut self, register: u32) {
        if is_reserved(register) {
            self.error(ERROR_REGISTER);
        }
    }

    /// A 32-bit write at `offset` of the APIC's page. Reserved bits and read-only registers are ignored.
    pub fn write_memory(&mut self, offset: u32, value: u32, now: u64) {
        match offset >> 4 {
            number::ID => {}
            number::END_OF_INTERRUPT => self.end_of_interrupt(),
            number::LOGICAL_DESTINATION => self.logical_destination = value & 0xff00_0000,
            number::DESTINATION_FORMAT => self.destination_format = value | 0x0fff_ffff,
            number::COMMAND => {
                self.command = self.command >> 32 << 32 | u64::from(value) & COMMAND_WRITABLE;
                self.send(self.command);
            }
            number::COMMAND_HIGH => {
                self.command = self.command & u64::from(u32::MAX) | u64::from(value & 0xff00_0000) << 32;
            }
            other => {
                if self.write(other, value, now).is_none() {
                    self.missing(other);
                }
            }
        }
    }

    /// RDMSR of 0x800 to 0x8ff.
    ///
    /// # Errors
    /// Not in x2APIC mode, or no readable register has this number (11.12.1.3).
    pub fn read_msr(&mut self, register: u32, now: u64) -> Result<u64, GeneralProtection> {
        if self.mode != Mode::X2Apic {
            return Err(GeneralProtection);
        }
        match register.wrapping_sub(msr::X2APIC_FIRST) {
            number::COMMAND => Ok(self.command),
            // 11.12.10.2: the logical ID is derived from the ID, here 0.
            number::LOGICAL_DESTINATION => Ok(1),
            number::ARBITRATION_PRIORITY | number::DESTINATION_FORMAT | number::COMMAND_HIGH => {
                Err(GeneralProtection)
            }
            number => self.read(number, now).map(u64::from).ok_or(GeneralProtection),
        }
    }

    /// WRMSR of 0x800 to 0x8ff.
    ///
    /// # Errors
    /// Not in x2APIC mode, a register that does not exist or is read-only, or a reserved bit (11.12.1.3).
    pub fn write_msr(&mut self, register: u32, value: u64, now: u64) -> Result<(), GeneralProtection> {
        if self.mode != Mode::X2Apic {
            return Err(GeneralProtection);
        }
        let number = register.wrapping_sub(msr::X2APIC_FIRST);
        if number == number::COMMAND {
            if value & !(COMMAND_WRITABLE | u64::from(u32::MAX) << 32) != 0 {
                return Err(GeneralProtection);
            }
            self.command = value;
            self.send(value);
            return Ok(());
        }
        let value = u32::try_from(value).map_err(|_| GeneralProtection)?;
        let writable = match number {
            number::END_OF_INTERRUPT | number::ERRORS => 0,
            number::TASK_PRIORITY | number::SELF_IPI => 0xff,
            number::SPURIOUS => SPURIOUS_WRITABLE,
            number::LVT..=number::LVT_LAST => LVT_WRITABLE[(number - number::LVT) as usize],
            number::DIVIDE => 0xb,
            _ => u32::MAX,
        };
        if value & !writable != 0 {
            return Err(GeneralProtection);
        }
        match number {
            number::END_OF_INTERRUPT => self.end_of_interrupt(),
            number::SELF_IPI => {
                self.send(COMMAND_TO_SELF | u64::from(value));
            }
            _ => self.write(number, value, now).ok_or(GeneralProtection)?,
        }
        Ok(())
    }

    /// RDMSR of IA32_TSC_DEADLINE: 0 once the time has come, masked or not (11.5.4.1).
    pub fn tsc_deadline(&mut self, now: u64) -> u64 {
        self.tick(now);
        self.timer.tsc_deadline()
    }

    /// WRMSR of IA32_TSC_DEADLINE.
    pub fn set_tsc_deadline(&mut self, value: u64, tsc: u64, now: u64) {
        self.timer.set_tsc_deadline(value, tsc, now);
    }

    /// The guest's time-stamp counter has got the value `tsc` at time `now`.
    pub fn tsc_moved(&mut self, tsc: u64, now: u64) {
        self.timer.tsc_moved(tsc, now);
    }

    /// The registers that both ways read alike; none where there is none.
    fn read(&self, register: u32, now: u64) -> Option<u32> {
        let word = (register & 7) as usize;
        Some(match register {
            number::ID => 0,
            number::VERSION => VERSION,
            number::TASK_PRIORITY => self.task_priority,
            number::ARBITRATION_PRIORITY | number::PROCESSOR_PRIORITY => u32::from(self.processor_priority()),
            number::LOGICAL_DESTINATION => self.logical_destination,
            number::DESTINATION_FORMAT => self.destination_format,
            number::SPURIOUS => self.spurious,
            number::IN_SERVICE..number::TRIGGER_MODE => self.in_service.word(word),
            number::TRIGGER_MODE..number::REQUESTED => self.level.word(word),
            number::REQUESTED..number::ERRORS => self.requested.word(word),
            number::ERRORS => self.errors_latched,
            number::COMMAND => crate::registers::low(self.command),
            number::COMMAND_HIGH => crate::registers::low(self.command >> 32),
            number::LVT..=number::LVT_LAST => self.lvt[(register - number::LVT) as usize],
            number::INITIAL_COUNT => self.timer.initial(),
            number::CURRENT_COUNT => self.timer.current(now),
            number::DIVIDE => self.timer.divide(),
            _ => return None,
        })
    }

    /// The registers that both ways write alike; none where there is none.
    fn write(&mut self, register: u32, value: u32, now: u64) -> Option<()> {
        match register {
            number::TASK_PRIORITY => self.task_priority = value & 0xff,
            number::SPURIOUS => {
                self.spurious = value & SPURIOUS_WRITABLE;
                if value & SVR_ENABLED == 0 {
                    // 11.4.7.2: software-disabled, every entry is masked and stays so.
                    self.lvt.iter_mut().for_each(|entry| *entry |= LVT_MASKED);
                }
            }
            // 11.5.3: a write shows the errors since the last one.
            number::ERRORS => self.errors_latched = core::mem::take(&mut self.errors),
            number::LVT..=number::LVT_LAST => {
                // An interrupt that was masked when its time came is lost.
                self.tick(now);
                self.write_lvt((register - number::LVT) as usize, value);
            }
            number::INITIAL_COUNT => self.timer.set_initial(value, now),
            number::DIVIDE => {
                self.tick(now);
                self.timer.set_divide(value, now);
            }
            _ => return None,
        }
        Some(())
    }

    fn write_lvt(&mut self, entry: usize, value: u32) {
        let disabled = if self.spurious & SVR_ENABLED == 0 { LVT_MASKED } else { 0 };
        self.lvt[entry] = value & LVT_WRITABLE[entry] | disabled;
        if entry == LVT_TIMER {
            self.timer.set_entry(value);
        }
    }
}
