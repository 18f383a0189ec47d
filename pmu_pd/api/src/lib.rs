//! The protocol between a VMM and the PMU policy domain.
