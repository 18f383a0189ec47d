//! The two interrupt controllers of a PC (Intel 8259A data sheet, order number 231468): the second one's output is
//! input 2 of the first.

/// Inputs of a controller.
const INPUTS: u8 = 8;
/// The first controller's input that the second one drives.
const CASCADE: u8 = 2;
/// ICW1: it is one; an ICW4 will follow; the controller is alone.
const ICW1: u8 = 1 << 4;
const ICW1_NEEDS_ICW4: u8 = 1 << 0;
const ICW1_SINGLE: u8 = 1 << 1;
/// ICW4: automatic end of interrupt; special fully nested mode.
const ICW4_AUTOMATIC_END: u8 = 1 << 1;
const ICW4_FULLY_NESTED: u8 = 1 << 4;
/// OCW3 and not OCW2; poll; a register is chosen to be read, and which; special mask mode is set, and to what.
const OCW3: u8 = 1 << 3;
const OCW3_POLL: u8 = 1 << 2;
const OCW3_READ: u8 = 1 << 1;
const OCW3_IN_SERVICE: u8 = 1 << 0;
const OCW3_SET_SPECIAL_MASK: u8 = 1 << 6;
const OCW3_SPECIAL_MASK: u8 = 1 << 5;
/// A poll finds an interrupt.
const POLL_INTERRUPT: u8 = 1 << 7;
/// Inputs that may be level-triggered (edge/level control registers of a PC): not the timer's, the keyboard's, the
/// cascade; not the clock's and the coprocessor's.
const LEVEL_ALLOWED: [u8; 2] = [0xf8, 0xde];

/// What the next write of the odd port is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    /// Nobody has initialised it: the mask is kept, and nothing is signalled.
    Icw1,
    Icw2,
    Icw3,
    Icw4,
    /// Initialised: OCW1.
    Mask,
}

/// One 8259A.
#[derive(Debug, Clone)]
struct Controller {
    expected: Expected,
    single: bool,
    needs_icw4: bool,
    /// Bits 7:3 of the vectors.
    base: u8,
    automatic_end: bool,
    rotate_at_automatic_end: bool,
    fully_nested: bool,
    special_mask: bool,
    read_in_service: bool,
    poll: bool,
    /// The input with the lowest priority.
    lowest: u8,
    lines: u8,
    level: u8,
    requests: u8,
    in_service: u8,
    mask: u8,
}

impl Controller {
    const fn new() -> Self {
        Self {
            expected: Expected::Icw1,
            single: false,
            needs_icw4: false,
            base: 0,
            automatic_end: false,
            rotate_at_automatic_end: false,
            fully_nested: false,
            special_mask: false,
            read_in_service: false,
            poll: false,
            lowest: INPUTS - 1,
            lines: 0,
            level: 0,
            requests: 0,
            in_service: 0,
            mask: 0,
        }
    }

    /// An input changes. A request is withdrawn with its input ("the IR input must remain high").
    const fn set_line(&mut self, input: u8, high: bool) {
        let bit = 1 << (input % INPUTS);
        if high {
            if self.level & bit != 0 || self.lines & bit == 0 {
                self.requests |= bit;
            }
            self.lines |= bit;
        } else {
            self.lines &= !bit;
            self.requests &= !bit;
        }
    }

    /// Chooses the level-triggered inputs: of these, the high ones ask. One that becomes edge-triggered must rise anew.
    const fn set_level(&mut self, level: u8) {
        self.requests = self.requests & !(self.level & !level) | self.lines & level;
        self.level = level;
    }

    /// The input of `set` with the highest priority: those after the lowest one first.
    fn first(&self, set: u8) -> Option<u8> {
        (1..=INPUTS).map(|i| (self.lowest + i) % INPUTS).find(|input| set & 1 << input != 0)
    }

    /// How far an input is behind the one with the highest priority.
    const fn rank(&self, input: u8) -> u8 {
        input.wrapping_sub(self.lowest + 1) % INPUTS
    }

    /// The request that the controller signals now, if it does.
    fn pending(&self) -> Option<u8> {
        if self.expected != Expected::Mask {
            return None;
        }
        let request = self.first(self.requests & !self.mask)?;
        let mut blocking = self.in_service;
        if self.special_mask {
            // In the special mask mode a masked interrupt in service inhibits no other.
            blocking &= !self.mask;
        }
        if self.fully_nested {
            // A further request of the second controller is recognised while one is in service.
            blocking &= !(1 << CASCADE);
        }
        match self.first(blocking) {
            Some(service) if self.rank(service) <= self.rank(request) => None,
            _ => Some(request),
        }
    }

    /// The request is taken: in service, unless the controller ends it by itself.
    const fn take(&mut self, input: u8) {
        let bit = 1 << input;
        if self.level & bit == 0 {
            self.requests &= !bit;
        }
        if !self.automatic_end {
            self.in_service |= bit;
        } else if self.rotate_at_automatic_end {
            self.lowest = input;
        }
    }

    const fn initialise(&mut self, value: u8) {
        let (lines, level) = (self.lines, self.level);
        *self = Self::new();
        // "The edge sense circuit is reset": an input must rise anew.
        self.lines = lines;
        self.level = level;
        self.requests = lines & level;
        self.single = value & ICW1_SINGLE != 0;
        self.needs_icw4 = value & ICW1_NEEDS_ICW4 != 0;
        self.expected = Expected::Icw2;
    }

    /// OCW2: rotation and end of interrupt (bits 7:5).
    fn end(&mut self, value: u8) {
        let input = value % INPUTS;
        match value >> 5 {
            0 => self.rotate_at_automatic_end = false,
            4 => self.rotate_at_automatic_end = true,
            command @ (1 | 5) => {
                // In the special mask mode a masked interrupt is not ended by a non-specific command.
                let served = if self.special_mask { self.in_service & !self.mask } else { self.in_service };
                if let Some(served) = self.first(served) {
                    self.in_service &= !(1 << served);
                    if command == 5 {
                        self.lowest = served;
                    }
                }
            }
            3 => self.in_service &= !(1 << input),
            6 => self.lowest = input,
            7 => {
                self.in_service &= !(1 << input);
                self.lowest = input;
            }
            _ => {}
        }
    }

    fn write_command(&mut self, value: u8) {
        if value & ICW1 != 0 {
            self.initialise(value);
        } else if value & OCW3 == 0 {
            self.end(value);
        } else {
            if value & OCW3_SET_SPECIAL_MASK != 0 {
                self.special_mask = value & OCW3_SPECIAL_MASK != 0;
            }
            self.poll = value & OCW3_POLL != 0;
            if !self.poll && value & OCW3_READ != 0 {
                self.read_in_service = value & OCW3_IN_SERVICE != 0;
            }
        }
    }

    const fn write_data(&mut self, value: u8) {
        self.expected = match self.expected {
            expected @ (Expected::Icw1 | Expected::Mask) => {
                self.mask = value;
                expected
            }
            Expected::Icw2 => {
                self.base = value & 0xf8;
                match (self.single, self.needs_icw4) {
                    (false, _) => Expected::Icw3,
                    (true, true) => Expected::Icw4,
                    (true, false) => Expected::Mask,
                }
            }
            // How the two are connected is known.
            Expected::Icw3 if self.needs_icw4 => Expected::Icw4,
            Expected::Icw3 => Expected::Mask,
            Expected::Icw4 => {
                self.automatic_end = value & ICW4_AUTOMATIC_END != 0;
                self.fully_nested = value & ICW4_FULLY_NESTED != 0;
                Expected::Mask
            }
        };
    }

    /// A read after a poll command takes the request as an acknowledge does.
    fn poll(&mut self) -> u8 {
        self.poll = false;
        match self.pending() {
            Some(input) => {
                self.take(input);
                POLL_INTERRUPT | input
            }
            None => 0,
        }
    }

    fn read(&mut self, data: bool) -> u8 {
        match (self.poll, data) {
            (true, _) => self.poll(),
            (false, true) => self.mask,
            (false, false) if self.read_in_service => self.in_service,
            (false, false) => self.requests,
        }
    }
}

/// Ports of the two controllers, from low to high.
const PORTS: [u16; 6] = [0x20, 0x21, 0xa0, 0xa1, 0x4d0, 0x4d1];

/// Both controllers.
#[derive(Debug, Clone)]
pub struct Pic {
    first: Controller,
    second: Controller,
}

impl Default for Pic {
    fn default() -> Self {
        Self { first: Controller::new(), second: Controller::new() }
    }
}

impl Pic {
    /// Whether the port is one of theirs.
    pub fn has(port: u16) -> bool {
        PORTS.contains(&port)
    }

    /// Interrupt line 0 to 15 becomes high or low. Line 2 is the cascade and has no device.
    pub fn set_line(&mut self, irq: u8, high: bool) {
        match irq {
            CASCADE => {}
            0..8 => self.first.set_line(irq, high),
            _ => self.second.set_line(irq % INPUTS, high),
        }
        self.cascade();
    }

    /// Whether the processor is asked for an interrupt.
    pub fn output(&self) -> bool {
        self.first.pending().is_some()
    }

    /// The processor acknowledges: the vector. Without a request it is the default one, of input 7, which is not in
    /// service then.
    pub fn acknowledge(&mut self) -> u8 {
        let Some(input) = self.first.pending() else { return self.first.base | 7 };
        self.first.take(input);
        if input != CASCADE {
            return self.first.base | input;
        }
        let vector = match self.second.pending() {
            Some(input) => {
                self.second.take(input);
                self.second.base | input
            }
            None => self.second.base | 7,
        };
        self.cascade();
        vector
    }

    /// IN.
    pub fn read(&mut self, port: u16) -> u8 {
        let value = match port {
            0x20 => self.first.read(false),
            0x21 => self.first.read(true),
            0xa0 => self.second.read(false),
            0xa1 => self.second.read(true),
            0x4d0 => self.first.level,
            _ => self.second.level,
        };
        self.cascade();
        value
    }

    /// OUT.
    pub fn write(&mut self, port: u16, value: u8) {
        match port {
            0x20 => self.first.write_command(value),
            0x21 => self.first.write_data(value),
            0xa0 => self.second.write_command(value),
            0xa1 => self.second.write_data(value),
            0x4d0 => self.first.set_level(value & LEVEL_ALLOWED[0]),
            _ => self.second.set_level(value & LEVEL_ALLOWED[1]),
        }
        self.cascade();
    }

    /// The cascade stays requested while the second controller asks.
    fn cascade(&mut self) {
        let asks = self.second.pending().is_some();
        self.first.set_line(CASCADE, false);
        if asks {
            self.first.set_line(CASCADE, true);
        }
    }
}

#[cfg(test)]
mod tests;
