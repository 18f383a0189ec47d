//! Lines to the serial line: by the PD that several VMMs share, else by COM1 where system.xml gives it to us,
//! else by the kernel's debug output.

use crate::serial;
use core::fmt::{self, Write};
use sel4_microkit::ioport::IoPort;
use sel4_microkit::{Channel, debug_print, pd_name, var};
use vmm_core::trace::Line;
use vmm_core::{Observer, Outcome, RawExit};

/// Longest line that is kept in one piece, in bytes.
pub const LONGEST_LINE: usize = 512;
type Buffer = heapless::Vec<u8, LONGEST_LINE>;

/// What stands before a line of the guest, so that it cannot speak for us.
const GUEST: &[u8] = b"guest: ";
/// No channel.
const NONE: usize = usize::MAX;

/// Where lines go.
#[derive(Clone, Copy)]
enum Output {
    /// To the serial line's PD.
    Shared(Channel),
    Com1(IoPort),
    Kernel,
}

impl Output {
    fn find() -> Self {
        let channel = *var!(serial_channel: usize = NONE);
        if channel != NONE {
            Self::Shared(Channel::new(channel))
        } else if serial::COM1.exists() {
            serial::set_up(serial::COM1);
            Self::Com1(serial::COM1)
        } else {
            Self::Kernel
        }
    }

    fn line(self, line: &[u8]) {
        match self {
            Self::Shared(channel) => serial::call(channel, line),
            Self::Com1(port) => serial::write(port, line),
            Self::Kernel => line.iter().for_each(|byte| debug_print!("{}", char::from(*byte))),
        }
    }
}

/// The guest's lines and ours.
pub struct Console {
    guest: Buffer,
    own: Buffer,
    output: Output,
    trace: bool,
}

impl Console {
    pub fn new(trace: bool) -> Self {
        let mut console = Self { guest: Buffer::new(), own: Buffer::new(), output: Output::find(), trace };
        console.begin();
        console
    }

    /// Prints a line of our own.
    pub fn line(&mut self, arguments: fmt::Arguments<'_>) {
        self.text(format_args!("{arguments}\n"));
    }

    /// Prints text of our own.
    pub fn text(&mut self, arguments: fmt::Arguments<'_>) {
        // Our writer never fails; an error of a value's own formatting is not worth a panic.
        let _ = self.write_fmt(arguments);
    }

    /// Prints what the guest has begun to say.
    pub fn flush(&mut self) {
        if !self.guest.is_empty() {
            self.observe(b'\n');
        }
    }

    /// On a shared line, our name stands before each line.
    fn begin(&mut self) {
        self.own.clear();
        if let (Output::Shared(_), Ok(name)) = (self.output, pd_name()) {
            // A name has at most 64 bytes.
            let _ = self.own.extend_from_slice(name.as_bytes());
            let _ = self.own.extend_from_slice(b" | ");
        }
    }

    fn own_byte(&mut self, byte: u8) {
        if self.own.len() == LONGEST_LINE - 1 && byte != b'\n' {
            self.own_byte(b'\n');
        }
        // There is room: the line is shorter than the buffer.
        let _ = self.own.push(byte);
        if byte == b'\n' {
            self.output.line(&self.own);
            self.begin();
        }
    }

    fn observe(&mut self, byte: u8) {
        // The mark and the name need room besides.
        if byte == b'\n' || self.guest.len() == LONGEST_LINE / 2 {
            let line = core::mem::take(&mut self.guest);
            GUEST.iter().chain(&line).for_each(|byte| self.own_byte(*byte));
            self.own_byte(b'\n');
        }
        if !matches!(byte, b'\n' | b'\r') {
            let _ = self.guest.push(byte);
        }
    }
}

impl Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.bytes().for_each(|byte| self.own_byte(byte));
        Ok(())
    }
}

impl Observer for Console {
    fn output(&mut self, byte: u8) {
        self.observe(byte);
    }

    fn exit(&mut self, exit: &RawExit, outcome: &Outcome) {
        if self.trace {
            self.line(format_args!("{}", Line { exit, outcome }));
        }
    }
}
