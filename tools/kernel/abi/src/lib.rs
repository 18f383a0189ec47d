//! System calls, invocations and boot information of the bundled kernel.
