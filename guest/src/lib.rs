//! Bare-metal guests: workloads that exercise the vPMU.
