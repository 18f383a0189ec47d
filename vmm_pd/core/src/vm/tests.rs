//! The VMM with a virtual CPU that plays back exits, and a policy domain behind encoded messages.

mod control;
pub mod double;
mod exits;
mod halt;
mod interrupts;
mod memory;
mod random;
mod string;
mod time;
mod traps;
