//! Exit dispatch, CPUID, MSR routing and devices.
