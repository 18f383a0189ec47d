//! The ports of the machine, and the interrupt lines behind them.

use super::*;

const NOW: u64 = 0;

fn out(devices: &mut Devices, port: u16, bytes: u8, value: u32) -> IoOutcome {
    devices.write(IoAccess { port, bytes, input: false, string: false, repeat: false }, value, NOW)
}

fn input(devices: &mut Devices, port: u16, bytes: u8) -> u32 {
    devices.read(IoAccess { port, bytes, input: true, string: false, repeat: false }, NOW)
}

/// Vectors from 0x20 on, and this mask.
fn pic(devices: &mut Devices, mask: u32) {
    for (port, value) in [(0x20, 0x11), (0x21, 0x20), (0x21, 4), (0x21, 1), (0x21, mask)] {
        out(devices, port, 1, value);
    }
}

#[test]
fn the_exit_port_takes_the_bits_that_were_written() {
    let mut devices = Devices::default();
    assert_eq!(out(&mut devices, 0xf4, 1, 0x1234), IoOutcome::Ended(StopReason::Exit(0x34)));
    assert_eq!(out(&mut devices, 0xf4, 4, 0x1234), IoOutcome::Ended(StopReason::Exit(0x1234)));
}

#[test]
fn only_the_whole_word_shuts_down() {
    let mut devices = Devices::default();
    for byte in *b"ShutShutdow" {
        assert_eq!(out(&mut devices, 0x8900, 1, byte.into()), IoOutcome::Written);
    }
    assert_eq!(out(&mut devices, 0x8900, 1, b'n'.into()), IoOutcome::Ended(StopReason::Shutdown));
}

#[test]
fn acpi_and_the_reset_register_end_the_machine() {
    let mut devices = Devices::default();
    assert_eq!(out(&mut devices, 0x604, 2, 5 << 10 | 1 << 13), IoOutcome::Ended(StopReason::Shutdown));
    assert_eq!(out(&mut devices, 0xcf9, 1, 6), IoOutcome::Ended(StopReason::Reset));
    assert_eq!(out(&mut devices, 0x64, 1, 0xfe), IoOutcome::Ended(StopReason::Reset));
}

/// PCI Local Bus 3.0, 3.2.2.3.2: 32 bits at 0xcf8 are the configuration address, and none of it the reset register.
#[test]
fn a_pci_address_does_not_reset_the_machine() {
    let mut devices = Devices::default();
    for function in 0..8 {
        assert_eq!(out(&mut devices, 0xcf8, 4, 0x8000_0000 | function << 8), IoOutcome::Written);
        assert_eq!(input(&mut devices, 0xcfc, 4), u32::MAX);
    }
    assert_eq!(input(&mut devices, 0xcf8, 4), u32::MAX);
    assert_eq!(devices.unknown(), 0);
}

#[test]
fn interrupt_controller_masks_are_kept() {
    let mut devices = Devices::default();
    out(&mut devices, 0x21, 1, 0xfb);
    assert_eq!(input(&mut devices, 0x21, 1), 0xfb);
    assert_eq!(input(&mut devices, 0xa1, 1), 0);
}

#[test]
fn an_unknown_port_is_counted_and_the_pci_bus_is_empty() {
    let mut devices = Devices::default();
    assert_eq!(input(&mut devices, 0xcfc, 4), u32::MAX);
    assert_eq!(devices.unknown(), 0);
    assert_eq!(input(&mut devices, 0x1234, 2), 0xffff);
    out(&mut devices, 0x1234, 1, 0);
    assert_eq!(devices.unknown(), 2);
    assert_eq!(input(&mut devices, 0xffff, 4), u32::MAX, "it does not wrap to a device");
}

/// The number of the machine's processors and its memory, as a Multiboot test kernel asks for them.
#[test]
fn the_firmware_configuration_is_selected_by_a_word_and_read_by_bytes() {
    let mut devices = Devices::default();
    devices.set_memory(128 << 20);
    let word = |devices: &mut Devices, item| {
        out(devices, 0x510, 2, item);
        u32::from_le_bytes(core::array::from_fn(|_| input(devices, 0x511, 1).to_le_bytes()[0]))
    };
    assert_eq!(word(&mut devices, 0), u32::from_le_bytes(*b"QEMU"));
    assert_eq!((word(&mut devices, 5), word(&mut devices, 3)), (1, 128 << 20));
}

/// Line 0 to input 0 of the 8259A and to pin 2 of the I/O APIC.
#[test]
fn the_timer_interrupts_at_both_controllers() {
    let mut devices = Devices::new(11_931_820);
    pic(&mut devices, 0xfe);
    devices.ioapic.write(0, 0x14);
    devices.ioapic.write(0x10, 0x30);
    for (port, value) in [(0x43, 0x34), (0x40, 0), (0x40, 1)] {
        out(&mut devices, port, 1, value);
    }
    let deadline = devices.deadline().expect("it runs");
    devices.tick(deadline - 1);
    assert!(!devices.external_interrupt() && !devices.ioapic.has_message());
    devices.tick(deadline);
    assert!(devices.external_interrupt() && devices.ioapic.has_message());
    assert_eq!(devices.acknowledge(), 0x20);
    assert!(!devices.external_interrupt());
    out(&mut devices, 0x20, 1, 0x20);
    assert!(!devices.external_interrupt(), "an edge counts once");
    let next = devices.deadline().expect("it repeats");
    devices.tick(next);
    assert_eq!((devices.external_interrupt(), next), (true, 2 * deadline));
}

/// COM1 is line 4; each byte that is sent is an edge.
#[test]
fn com1_interrupts_when_its_transmitter_is_empty() {
    let mut devices = Devices::default();
    pic(&mut devices, 0xef);
    out(&mut devices, 0x3fc, 1, 8);
    out(&mut devices, 0x3f9, 1, 2);
    for byte in *b"ab" {
        assert_eq!(devices.acknowledge(), 0x24);
        assert_eq!(out(&mut devices, 0x3f8, 1, byte.into()), IoOutcome::Output(byte));
        assert!(!devices.external_interrupt(), "in service");
        out(&mut devices, 0x20, 1, 0x20);
        assert!(devices.external_interrupt(), "a new edge");
    }
    assert_eq!(input(&mut devices, 0x3fa, 1), 2);
    assert!(!devices.external_interrupt(), "it is withdrawn");
}

/// A test kernel's own line, level-triggered by the I/O APIC's entry.
#[test]
fn a_line_can_be_raised_by_a_port() {
    let mut devices = Devices::default();
    pic(&mut devices, 0);
    devices.ioapic.write(0, 0x10 + 2 * 6);
    devices.ioapic.write(0x10, 0x8045);
    out(&mut devices, 0x2006, 1, 1);
    assert!(devices.external_interrupt() && devices.ioapic.has_message());
    out(&mut devices, 0x2006, 1, 0);
    assert!(!devices.external_interrupt() && !devices.ioapic.has_message());
    out(&mut devices, 0x2017, 1, 1);
    assert!(!devices.external_interrupt(), "lines from 16 on are the I/O APIC's alone");
}

/// Every port, every size: no device lends another its bytes, and nothing panics.
#[test]
fn every_port_answers() {
    let mut devices = Devices::default();
    for port in 0..=u16::MAX {
        for bytes in [1, 2, 4] {
            let value = input(&mut devices, port, bytes);
            assert_eq!(u64::from(value) >> (8 * bytes), 0);
            out(&mut devices, port, bytes, 0xa5a5_a5a5);
        }
    }
}
