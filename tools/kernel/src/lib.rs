//! Builds the bundled seL4 kernel with its mends and the PMU extension.
