//! The PMU policy protection domain.
