//! What the processor can do.

use core::arch::x86_64::__cpuid;

/// Whether the processor has VT-x (SDM 25.6: CPUID.1:ECX.VMX\[bit 5\]).
pub(crate) fn has_vtx() -> bool {
    const VMX: u32 = 1 << 5;
    __cpuid(1).ecx & VMX != 0
}
