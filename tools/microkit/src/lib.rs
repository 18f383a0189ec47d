//! Protection domain runtime for the bundled kernel.
