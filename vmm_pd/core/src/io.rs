//! I/O ports: a table of devices; a port that no device has reads all ones and ignores writes, counted.

use crate::exit::IoAccess;
use crate::uart::Uart;

/// Writing ends the guest with this exit code.
const EXIT: u16 = 0xf4;
/// Writing the letters of [`SHUTDOWN_TEXT`] switches the machine off.
const SHUTDOWN: u16 = 0x8900;
const SHUTDOWN_TEXT: &[u8] = b"Shutdown";
/// COM1.
const COM1: u16 = 0x3f8;
const COM1_LAST: u16 = COM1 + 7;
/// Mask registers of the two interrupt controllers (8259A), which have no interrupt to deliver.
const PIC_MASKS: [u16; 2] = [0x21, 0xa1];

/// Ports that software touches on every PC and that may do nothing here: first, last, what they read.
const INERT: &[(u16, u16, u8)] = &[
    (0x20, 0x20, 0),      // interrupt controller commands
    (0xa0, 0xa0, 0),      // the second one's
    (0x40, 0x43, 0),      // interval timer
    (0x61, 0x61, 0),      // system control port B
    (0x60, 0x60, 0xff),   // keyboard controller
    (0x64, 0x64, 0xff),   // its status
    (0x70, 0x71, 0),      // real-time clock
    (0x80, 0x80, 0xff),   // diagnostics, used as a delay
    (0xcf8, 0xcff, 0xff), // PCI configuration: nothing here
    (0x2e8, 0x2ef, 0xff), // COM4
    (0x2f8, 0x2ff, 0xff), // COM2
    (0x3e8, 0x3ef, 0xff), // COM3
];

/// What an access to a port brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IoOutcome {
    /// An IN reads this value.
    Read(u32),
    /// An OUT is done.
    Written,
    /// The guest sends a byte on COM1.
    Output(u8),
    /// The guest ends itself with this code.
    Exit(u32),
    /// The guest switches the machine off.
    Shutdown,
}

/// The devices on the ports.
#[derive(Debug, Clone, Default)]
pub struct Ports {
    /// COM1.
    pub uart: Uart,
    masks: [u8; 2],
    shutdown: usize,
    unknown: u64,
}

impl Ports {
    /// Accesses to ports that no device has.
    pub const fn unknown(&self) -> u64 {
        self.unknown
    }

    /// IN.
    pub fn read(&mut self, access: IoAccess) -> IoOutcome {
        let byte = match access.port {
            COM1..=COM1_LAST => self.uart.read(access.port - COM1),
            port => match PIC_MASKS.iter().position(|mask| *mask == port) {
                Some(i) => self.masks[i],
                None => self.inert(port),
            },
        };
        // Each device is one byte wide; the bytes beyond are of no device.
        IoOutcome::Read((!0xff | u32::from(byte)) & access.mask())
    }

    /// OUT.
    pub fn write(&mut self, access: IoAccess, value: u32) -> IoOutcome {
        let [byte, ..] = value.to_le_bytes();
        match access.port {
            EXIT => return IoOutcome::Exit(value & access.mask()),
            SHUTDOWN => return self.shutdown(byte),
            COM1..=COM1_LAST => {
                return self
                    .uart
                    .write(access.port - COM1, byte)
                    .map_or(IoOutcome::Written, IoOutcome::Output);
            }
            port => match PIC_MASKS.iter().position(|mask| *mask == port) {
                Some(i) => self.masks[i] = byte,
                None => {
                    self.inert(port);
                }
            },
        }
        IoOutcome::Written
    }

    fn inert(&mut self, port: u16) -> u8 {
        let known = INERT.iter().find(|(first, last, _)| (*first..=*last).contains(&port));
        known.map_or_else(
            || {
                self.unknown += 1;
                0xff
            },
            |(_, _, value)| *value,
        )
    }

    fn shutdown(&mut self, byte: u8) -> IoOutcome {
        self.shutdown = match SHUTDOWN_TEXT.get(self.shutdown) {
            Some(expected) if *expected == byte => self.shutdown + 1,
            _ => usize::from(byte == SHUTDOWN_TEXT[0]),
        };
        if self.shutdown == SHUTDOWN_TEXT.len() { IoOutcome::Shutdown } else { IoOutcome::Written }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn out(ports: &mut Ports, port: u16, bytes: u8, value: u32) -> IoOutcome {
        ports.write(IoAccess { port, bytes, input: false, string: false }, value)
    }

    fn input(ports: &mut Ports, port: u16, bytes: u8) -> IoOutcome {
        ports.read(IoAccess { port, bytes, input: true, string: false })
    }

    #[test]
    fn the_exit_port_takes_the_bits_that_were_written() {
        let mut ports = Ports::default();
        assert_eq!(out(&mut ports, 0xf4, 1, 0x1234), IoOutcome::Exit(0x34));
        assert_eq!(out(&mut ports, 0xf4, 4, 0x1234), IoOutcome::Exit(0x1234));
    }

    #[test]
    fn only_the_whole_word_shuts_down() {
        let mut ports = Ports::default();
        for byte in *b"ShutShutdow" {
            assert_eq!(out(&mut ports, 0x8900, 1, byte.into()), IoOutcome::Written);
        }
        assert_eq!(out(&mut ports, 0x8900, 1, b'n'.into()), IoOutcome::Shutdown);
    }

    #[test]
    fn interrupt_controller_masks_are_kept() {
        let mut ports = Ports::default();
        out(&mut ports, 0x21, 1, 0xfb);
        assert_eq!(input(&mut ports, 0x21, 1), IoOutcome::Read(0xfb));
        assert_eq!(input(&mut ports, 0xa1, 1), IoOutcome::Read(0));
    }

    #[test]
    fn an_unknown_port_is_counted_and_the_pci_bus_is_empty() {
        let mut ports = Ports::default();
        assert_eq!(input(&mut ports, 0xcfc, 4), IoOutcome::Read(u32::MAX));
        assert_eq!(ports.unknown(), 0);
        assert_eq!(input(&mut ports, 0x1234, 2), IoOutcome::Read(0xffff));
        out(&mut ports, 0x1234, 1, 0);
        assert_eq!(ports.unknown(), 2);
    }
}
