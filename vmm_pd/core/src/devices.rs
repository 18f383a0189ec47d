//! The devices of the machine that the guest sees: a PC with the parts that kernels expect to find, and nothing else.
//! Each answers for its I/O ports by the table in this file. A port of no device reads all ones and takes no write,
//! and is counted.

mod clock;
pub mod described;
pub mod fw_cfg;
pub mod ioapic;
pub mod pic;
pub mod pit;
pub mod power;
pub mod rtc;
pub mod uart;

use crate::exit::IoAccess;
use crate::report::StopReason;
use described::{TIMER_LINE, TIMER_PIN};
use fw_cfg::FirmwareConfiguration;
use ioapic::IoApic;
use pic::Pic;
use pit::Pit;
use power::{End, Power};
use rtc::Rtc;
use uart::Uart;

/// Writing ends the guest with this exit code (QEMU's isa-debug-exit).
const EXIT: u16 = 0xf4;
/// Writing the letters of [`SHUTDOWN_TEXT`] switches the machine off.
const SHUTDOWN: u16 = 0x8900;
const SHUTDOWN_TEXT: &[u8] = b"Shutdown";
/// A byte written here is the level of an interrupt line: what a test kernel has in place of a device (QEMU's
/// pc-testdev).
const LINES: u16 = 0x2000;
const LINES_LAST: u16 = LINES + 23;
/// Interrupt lines of the two 8259A.
const PIC_LINES: u8 = 16;
/// COM1.
const COM1: u16 = 0x3f8;
const COM1_LAST: u16 = COM1 + 7;
/// Interrupt lines of COM1 and of the clock.
const COM1_LINE: u8 = 4;
const RTC_LINE: u8 = 8;

/// The rate of the time-stamp counter where nobody knows it, in Hz.
const UNKNOWN_TSC_HZ: u64 = 1_000_000_000;

/// PCI's configuration address: a register of 32 bits that takes nothing narrower (PCI Local Bus 3.0, 3.2.2.3.2). The bytes
/// of it are other registers' ports.
const PCI_ADDRESS: u16 = 0xcf8;
/// Bytes of an access to [`PCI_ADDRESS`].
const PCI_ADDRESS_BYTES: u8 = 4;

/// Ports that software touches on every PC and that do nothing here: first, last, what they read.
const INERT: &[(u16, u16, u8)] = &[
    (0x00, 0x1f, 0xff),         // DMA controller
    (0x60, 0x60, 0xff),         // keyboard controller
    (0x80, 0x8f, 0xff),         // diagnostics, used as a delay, and DMA pages
    (0xc0, 0xdf, 0xff),         // second DMA controller
    (0xf0, 0xf1, 0xff),         // coprocessor
    (PCI_ADDRESS, 0xcff, 0xff), // PCI configuration: nothing here
    (0x2e8, 0x2ef, 0xff),       // COM4
    (0x2f8, 0x2ff, 0xff),       // COM2
    (0x3e8, 0x3ef, 0xff),       // COM3
    (0x3c0, 0x3df, 0xff),       // display
];

/// What an OUT brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IoOutcome {
    /// It is done.
    Written,
    /// The guest sends a byte on COM1.
    Output(u8),
    /// The guest ends its machine.
    Ended(StopReason),
}

/// The devices.
#[derive(Debug, Clone)]
pub struct Devices {
    /// The I/O APIC.
    pub ioapic: IoApic,
    pic: Pic,
    pit: Pit,
    rtc: Rtc,
    uart: Uart,
    power: Power,
    firmware: FirmwareConfiguration,
    shutdown: usize,
    unknown: u64,
    /// The output of `pic`.
    external: bool,
    /// When `pit` or `rtc` acts next.
    deadline: Option<u64>,
}

impl Default for Devices {
    fn default() -> Self {
        Self::new(UNKNOWN_TSC_HZ)
    }
}

impl Devices {
    /// The devices of a machine whose time-stamp counter has this rate in Hz.
    pub fn new(tsc_hz: u64) -> Self {
        Self {
            ioapic: IoApic::default(),
            pic: Pic::default(),
            pit: Pit::new(tsc_hz),
            rtc: Rtc::new(tsc_hz),
            uart: Uart::default(),
            power: Power::new(tsc_hz),
            firmware: FirmwareConfiguration::default(),
            shutdown: 0,
            unknown: 0,
            external: false,
            deadline: None,
        }
    }

    /// Notes the size of the guest's memory in bytes where the guest looks for it.
    pub fn set_memory(&mut self, size: u64) {
        self.rtc.set_memory(size);
        self.firmware.set_memory(size);
    }

    /// Accesses to ports that no device has.
    pub const fn unknown(&self) -> u64 {
        self.unknown
    }

    /// Whether the 8259A asks for an interrupt.
    pub const fn external_interrupt(&self) -> bool {
        self.external
    }

    /// The processor acknowledges it: the vector.
    pub fn acknowledge(&mut self) -> u8 {
        let vector = self.pic.acknowledge();
        self.external = self.pic.output();
        vector
    }

    /// When [`Devices::tick`] is to be called next, in cycles of the time-stamp counter, as every time here.
    pub const fn deadline(&self) -> Option<u64> {
        self.deadline
    }

    /// Lets the timer and the clock act whose time has come.
    pub fn tick(&mut self, now: u64) {
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            if self.pit.deadline().is_some_and(|deadline| deadline <= now) && self.pit.interrupt(now) {
                self.set_line(TIMER_LINE, false);
                self.set_line(TIMER_LINE, true);
            }
            if self.rtc.deadline().is_some_and(|deadline| deadline <= now) {
                self.rtc.look(now);
                self.set_line(RTC_LINE, self.rtc.interrupt());
            }
            self.set_deadline();
        }
    }

    /// IN. Ports are a byte wide: a wider access reads those that follow.
    pub fn read(&mut self, access: IoAccess, now: u64) -> u32 {
        self.tick(now);
        if is_pci_address(access) {
            return u32::MAX;
        }
        let mut bytes = [0xff; 4];
        let mut known = false;
        for (i, byte) in (0..u16::from(access.bytes)).zip(&mut bytes) {
            if let Some(value) = self.read_byte(access.port.wrapping_add(i), now) {
                *byte = value;
                known = true;
            }
        }
        self.unknown += u64::from(!known);
        self.update();
        u32::from_le_bytes(bytes) & access.mask()
    }

    fn read_byte(&mut self, port: u16, now: u64) -> Option<u8> {
        Some(match port {
            COM1..=COM1_LAST => self.uart.read(port - COM1),
            fw_cfg::DATA => self.firmware.read(),
            // The selector cannot be read.
            fw_cfg::SELECTOR => 0xff,
            EXIT | SHUTDOWN | LINES..=LINES_LAST => 0xff,
            _ if Pic::has(port) => self.pic.read(port),
            _ if Pit::has(port) => self.pit.read(port, now),
            _ if Rtc::has(port) => {
                let value = self.rtc.read(port, now);
                self.clock_changed();
                value
            }
            _ if Power::has(port) => self.power.read(port, now),
            _ => return inert(port),
        })
    }

    /// OUT.
    pub fn write(&mut self, access: IoAccess, value: u32, now: u64) -> IoOutcome {
        self.tick(now);
        let value = value & access.mask();
        let [low, high, ..] = value.to_le_bytes();
        match access.port {
            EXIT => return IoOutcome::Ended(StopReason::Exit(value)),
            SHUTDOWN => return self.shutdown(low),
            _ if is_pci_address(access) => return IoOutcome::Written,
            fw_cfg::SELECTOR if access.bytes == 2 => {
                self.firmware.select(u16::from_le_bytes([low, high]));
                return IoOutcome::Written;
            }
            _ => {}
        }
        let mut outcome = IoOutcome::Written;
        let mut known = false;
        for (i, byte) in (0..u16::from(access.bytes)).zip(value.to_le_bytes()) {
            let Some(done) = self.write_byte(access.port.wrapping_add(i), byte, now) else { continue };
            known = true;
            if done != IoOutcome::Written {
                outcome = done;
            }
        }
        self.unknown += u64::from(!known);
        self.update();
        outcome
    }

    fn write_byte(&mut self, port: u16, value: u8, now: u64) -> Option<IoOutcome> {
        match port {
            COM1..=COM1_LAST => {
                let sent = self.uart.write(port - COM1, value);
                if sent.is_some() {
                    // The transmitter was full for a moment: its interrupt has an edge for each byte.
                    self.set_line(COM1_LINE, false);
                }
                return Some(sent.map_or(IoOutcome::Written, IoOutcome::Output));
            }
            fw_cfg::SELECTOR | fw_cfg::DATA => {}
            LINES..=LINES_LAST => {
                let [line, _] = (port - LINES).to_le_bytes();
                if line < PIC_LINES {
                    self.pic.set_line(line, value != 0);
                }
                self.ioapic.set_pin(line, value != 0);
            }
            _ if Pic::has(port) => self.pic.write(port, value),
            _ if Pit::has(port) => {
                if self.pit.write(port, value, now) {
                    self.set_line(TIMER_LINE, false);
                }
                self.set_deadline();
            }
            _ if Rtc::has(port) => {
                self.rtc.write(port, value, now);
                self.clock_changed();
            }
            _ if Power::has(port) => {
                return Some(match self.power.write(port, value) {
                    None => IoOutcome::Written,
                    Some(End::Off) => IoOutcome::Ended(StopReason::Shutdown),
                    Some(End::Reset) => IoOutcome::Ended(StopReason::Reset),
                });
            }
            _ => {
                inert(port)?;
            }
        }
        Some(IoOutcome::Written)
    }

    /// The clock has been read or written.
    fn clock_changed(&mut self) {
        self.set_line(RTC_LINE, self.rtc.interrupt());
        self.set_deadline();
    }

    fn set_deadline(&mut self) {
        self.deadline = match (self.pit.deadline(), self.rtc.deadline()) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
    }

    /// Brings the interrupt lines in line with their devices.
    fn update(&mut self) {
        self.set_line(COM1_LINE, self.uart.interrupt());
        self.external = self.pic.output();
    }

    /// Interrupt line `irq`, on both interrupt controllers.
    fn set_line(&mut self, irq: u8, high: bool) {
        self.pic.set_line(irq, high);
        self.ioapic.set_pin(if irq == TIMER_LINE { TIMER_PIN } else { irq }, high);
        self.external = self.pic.output();
    }

    fn shutdown(&mut self, byte: u8) -> IoOutcome {
        self.shutdown = match SHUTDOWN_TEXT.get(self.shutdown) {
            Some(expected) if *expected == byte => self.shutdown + 1,
            _ => usize::from(byte == SHUTDOWN_TEXT[0]),
        };
        if self.shutdown == SHUTDOWN_TEXT.len() {
            IoOutcome::Ended(StopReason::Shutdown)
        } else {
            IoOutcome::Written
        }
    }
}

fn is_pci_address(access: IoAccess) -> bool {
    access.port == PCI_ADDRESS && access.bytes == PCI_ADDRESS_BYTES
}

fn inert(port: u16) -> Option<u8> {
    INERT.iter().find(|(first, last, _)| (*first..=*last).contains(&port)).map(|(_, _, value)| *value)
}

#[cfg(test)]
mod tests;
