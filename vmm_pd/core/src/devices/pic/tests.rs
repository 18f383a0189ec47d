//! The rules of the 8259A data sheet.

use super::Pic;

/// As a PC initialises them: vectors from 0x20 and 0x28, nothing masked.
fn pic() -> Pic {
    let mut pic = Pic::default();
    for (port, words) in [(0x20u16, [0x11u8, 0x20, 4, 1]), (0xa0, [0x11, 0x28, 2, 1])] {
        pic.write(port, words[0]);
        for word in &words[1..] {
            pic.write(port + 1, *word);
        }
    }
    pic
}

fn edge(pic: &mut Pic, irq: u8) {
    pic.set_line(irq, false);
    pic.set_line(irq, true);
}

/// "Initialization sequence": no request is signalled before the last ICW.
#[test]
fn vectors_are_those_of_icw2() {
    let mut pic = pic();
    edge(&mut pic, 4);
    assert!(pic.output());
    assert_eq!(pic.acknowledge(), 0x24);
    pic.write(0x20, 0x20);
    edge(&mut pic, 12);
    assert_eq!(pic.acknowledge(), 0x2c);
    edge(&mut pic, 6);
    pic.write(0x20, 0x11);
    edge(&mut pic, 7);
    assert!(!pic.output(), "ICW2 is missing");
    for word in [0x40, 4, 1] {
        pic.write(0x21, word);
    }
    assert_eq!(pic.acknowledge(), 0x47, "ICW1 forgot the request of before");
}

/// "Before normal operation can begin, each 8259A in the system must be brought to a starting point".
#[test]
fn before_initialisation_nothing_is_signalled() {
    let mut pic = Pic::default();
    pic.write(0x21, 0x5a);
    assert_eq!(pic.read(0x21), 0x5a);
    pic.write(0x21, 0);
    edge(&mut pic, 4);
    assert!(!pic.output());
}

/// "Fully nested mode".
#[test]
fn a_lower_or_equal_request_waits_for_the_end_of_interrupt() {
    let mut pic = pic();
    edge(&mut pic, 4);
    assert_eq!(pic.acknowledge(), 0x24);
    edge(&mut pic, 4);
    edge(&mut pic, 5);
    assert!(!pic.output());
    edge(&mut pic, 1);
    assert_eq!(pic.acknowledge(), 0x21);
    pic.write(0x20, 0x20);
    assert!(!pic.output(), "the first end is that of input 1");
    pic.write(0x20, 0x64);
    assert_eq!(pic.acknowledge(), 0x24);
    pic.write(0x20, 0x20);
    assert_eq!(pic.acknowledge(), 0x25);
}

/// "Cascade mode": an end for each of the two.
#[test]
fn the_second_controller_stands_between_inputs_1_and_3() {
    let mut pic = pic();
    edge(&mut pic, 9);
    edge(&mut pic, 3);
    assert_eq!(pic.acknowledge(), 0x29);
    assert!(!pic.output());
    pic.write(0xa0, 0x20);
    assert!(!pic.output());
    pic.write(0x20, 0x20);
    assert_eq!(pic.acknowledge(), 0x23);
}

#[test]
fn two_requests_of_the_second_controller_come_one_after_the_other() {
    let mut pic = pic();
    edge(&mut pic, 14);
    edge(&mut pic, 8);
    for vector in [0x28, 0x2e] {
        assert_eq!(pic.acknowledge(), vector);
        pic.write(0xa0, 0x20);
        pic.write(0x20, 0x20);
    }
    assert!(!pic.output());
}

/// "Interrupt mask register": a masked edge is kept.
#[test]
fn masks_hold_requests_back() {
    let mut pic = pic();
    pic.write(0x21, 0xef);
    assert_eq!(pic.read(0x21), 0xef);
    edge(&mut pic, 3);
    assert!(!pic.output());
    assert_eq!(pic.read(0x20), 1 << 3, "IRR");
    pic.write(0x21, 0);
    assert_eq!(pic.acknowledge(), 0x23);
    pic.write(0x20, 0x0b);
    assert_eq!(pic.read(0x20), 1 << 3, "ISR");
}

/// "If the IR input goes low before this time a default IR7 will occur", without its bit in the ISR.
#[test]
fn an_acknowledge_without_a_request_is_the_default_vector() {
    let mut pic = pic();
    edge(&mut pic, 4);
    pic.set_line(4, false);
    assert!(!pic.output());
    assert_eq!(pic.acknowledge(), 0x27);
    pic.write(0x20, 0x0b);
    assert_eq!(pic.read(0x20), 0);
}

/// "Edge and level triggered modes".
#[test]
fn an_edge_counts_once_and_a_level_as_long_as_it_lasts() {
    let mut pic = pic();
    edge(&mut pic, 5);
    pic.acknowledge();
    pic.write(0x20, 0x20);
    pic.set_line(5, true);
    assert!(!pic.output(), "no new edge");
    pic.write(0x4d0, 0xff);
    assert_eq!(pic.read(0x4d0), 0xf8, "inputs 0 to 2 are edge-triggered");
    pic.set_line(5, true);
    for _ in 0..2 {
        assert_eq!(pic.acknowledge(), 0x25);
        pic.write(0x20, 0x20);
    }
    pic.set_line(5, false);
    assert!(!pic.output());
}

/// "Edge and level triggered modes": a high level is a request, whenever the input has become level-triggered; an edge is
/// one that comes.
#[test]
fn an_input_that_is_high_changes_its_mode() {
    for (register, command, irq, bit) in [(0x4d0, 0x20, 5, 1 << 5), (0x4d1, 0xa0, 11, 1 << 3)] {
        let mut pic = pic();
        edge(&mut pic, irq);
        pic.acknowledge();
        pic.write(command, 0x20);
        pic.write(0x20, 0x20);
        assert!(!pic.output());
        pic.write(register, bit);
        assert!(pic.output(), "input {irq} is high");
        pic.write(register, 0);
        assert!(!pic.output(), "input {irq} has not risen");
        edge(&mut pic, irq);
        assert!(pic.output());
    }
}

/// "Automatic end of interrupt mode".
#[test]
fn an_automatic_end_leaves_nothing_in_service() {
    let mut pic = pic();
    for (port, word) in [(0x20, 0x11), (0x21, 0x20), (0x21, 4), (0x21, 3)] {
        pic.write(port, word);
    }
    edge(&mut pic, 3);
    pic.acknowledge();
    edge(&mut pic, 4);
    assert_eq!(pic.acknowledge(), 0x24);
}

/// "Automatic rotation" and "specific rotation".
#[test]
fn rotation_makes_an_input_the_lowest() {
    let mut pic = pic();
    edge(&mut pic, 3);
    pic.acknowledge();
    pic.write(0x20, 0xa0);
    edge(&mut pic, 3);
    edge(&mut pic, 4);
    assert_eq!(pic.acknowledge(), 0x24);
    pic.write(0x20, 0x20);
    pic.write(0x20, 0xc7);
    edge(&mut pic, 4);
    assert_eq!(pic.acknowledge(), 0x23);
}

/// "Special mask mode": a masked interrupt in service inhibits no other.
#[test]
fn special_mask_mode() {
    let mut pic = pic();
    edge(&mut pic, 3);
    pic.acknowledge();
    edge(&mut pic, 6);
    pic.write(0x21, 1 << 3);
    assert!(!pic.output());
    pic.write(0x20, 0x68);
    assert_eq!(pic.acknowledge(), 0x26);
}

/// "Poll command".
#[test]
fn a_poll_acknowledges() {
    let mut pic = pic();
    pic.write(0x20, 0x0c);
    assert_eq!(pic.read(0x20), 0);
    edge(&mut pic, 6);
    pic.write(0x20, 0x0c);
    assert_eq!(pic.read(0x20), 0x86);
    assert!(!pic.output(), "it is in service");
}
