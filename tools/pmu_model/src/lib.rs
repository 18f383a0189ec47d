//! The architectural PMU as a pure state machine.
