//! The root task: realises a capability distribution, then gives up its authority.
