//! Which values a guest may write: a value with a bit outside its mask gives #GP(0). Pure functions without
//! branches on the value.

use crate::arch::{fixed_control, global, selector};

/// Bits that IA32_PERFEVTSELi of counter `index` must not have set. AnyThread (bit 21), bits 63:35 and
/// Adaptive_Record (bit 34, PEBS) always; IN_TX (bit 32) without TSX; IN_TXCP (bit 33) without TSX or on a
/// counter other than 2 (20.2.1.1, 20.2.5.1, 20.3.6.5). Pin control (bit 19) is accepted.
pub const fn selector_reserved(index: usize, tsx: bool) -> u64 {
    let in_tx = selector::IN_TX * tsx as u64;
    let in_txcp = selector::IN_TXCP * (tsx & (index == selector::IN_TXCP_COUNTER)) as u64;
    selector::RESERVED & !(in_tx | in_txcp)
}

/// `per_field` in the field of each fixed counter of `counters` (bits 3:0).
pub const fn spread(counters: u64, per_field: u64) -> u64 {
    let low_bits = counters & 1 | (counters & 2) << 3 | (counters & 4) << 6 | (counters & 8) << 9;
    low_bits * (per_field & fixed_control::FIELD)
}

/// Bits that IA32_FIXED_CTR_CTRL may have set: in the fields of present counters all but AnyThread (20.2.2).
pub const fn fixed_control_allowed(fixed: u64) -> u64 {
    spread(fixed, fixed_control::ALLOWED)
}

/// One bit for each counter: `general` lowest bits, and `fixed` (a bitmap) from bit 32 on. What
/// IA32_PERF_GLOBAL_CTRL and IA32_PERF_GLOBAL_STATUS_SET may have set (20.2.2, 20.2.4.2). `general` is
/// at most 32.
pub const fn counter_bits(general: u32, fixed: u64) -> u64 {
    width_mask(general) | fixed << global::FIXED_SHIFT
}

/// Bits that IA32_PERF_GLOBAL_OVF_CTRL, _STATUS_RESET and _STATUS_SET may have set: the counters', OvfBuf (bit 62) and
/// CondChgd (63), which every version has (20.2.2, figure 20-5; volume 4, table 2-2); neither is ever set in the status.
/// Trace_ToPA_PMI (55), LBR_Frz (58), CTR_Frz (59), ASCI (60) and Ovf_Uncore (61) come with what no vPMU has (20.2.4).
pub const fn status_allowed(counters: u64) -> u64 {
    counters | global::OVERFLOW_BUFFER | global::CONDITION_CHANGED
}

/// `width` lowest bits, `width` at most 64.
pub const fn width_mask(width: u32) -> u64 {
    if width >= 64 { u64::MAX } else { (1 << width) - 1 }
}

/// A write to IA32_PMCi at its legacy address: bits 31:0, sign-extended, cut to the counter's width (20.2.6).
pub const fn legacy_counter_value(value: u64, width_mask: u64) -> u64 {
    let low = value & 0xFFFF_FFFF;
    let sign = low >> 31;
    (low | sign.wrapping_neg() << 32) & width_mask
}
