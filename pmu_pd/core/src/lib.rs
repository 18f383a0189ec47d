//! The vPMU: registers, geometry, event filter, state machine, snapshot.
