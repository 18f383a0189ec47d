//! The capability distribution: objects, capabilities, mappings.
