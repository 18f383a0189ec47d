//! System description to capability distribution.
