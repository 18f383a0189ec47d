//! Calls the server of the IPC test and prints by the serial port.

#![no_std]
#![no_main]

mod console;

use console::{Console, DATA};
use core::fmt::Write;
use sel4_microkit::ioport::IoPort;
use sel4_microkit::{
    Channel, Error, Handler, MessageInfo, NullHandler, debug_println, get_mr, protection_domain, set_mr,
};

const SERIAL: IoPort = IoPort::new(5);
/// COM1's scratch register keeps what is written to it.
const SCRATCH: u16 = DATA + 7;
const SERVER: Channel = Channel::new(0);
const REVERSE: u64 = 0xf_edcb;

#[protection_domain]
fn init() -> impl Handler {
    // Prints nothing here, and must not stop us.
    debug_println!("the kernel prints");
    let verdict = if works() == Ok(true) { "passed" } else { "FAILED" };
    let _ = writeln!(Console(SERIAL), "first line\nrelease: {verdict}");
    NullHandler::new()
}

fn works() -> Result<bool, Error> {
    SERIAL.out8(SCRATCH, 0x5a)?;
    let kept = SERIAL.in8(SCRATCH)? == 0x5a;
    // Outside the range, and a range that is not there.
    let refused = SERIAL.in8(DATA - 1).is_err()
        && SERIAL.out8(DATA + 8, 0).is_err()
        && IoPort::new(4).in8(DATA).is_err()
        && !IoPort::new(4).exists()
        && SERIAL.exists();
    [11, 22, 33].into_iter().enumerate().for_each(|(i, word)| set_mr(i, word));
    let reply = SERVER.pp_call(MessageInfo::new(REVERSE, 3));
    let reversed = reply.count() == 3 && [get_mr(0), get_mr(1), get_mr(2)] == [33, 22, 11];
    Ok(kept && refused && reversed)
}
