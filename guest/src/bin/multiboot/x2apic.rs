//! IA32_APIC_BASE: off, on, x2APIC mode, and the ways between them (SDM vol. 3A, 11.4.3, 11.12.5).

use crate::Checks;
use guest::cpu::{cpuid, rdmsr, try_rdmsr, try_wrmsr, wrmsr};
use guest::multiboot::{Information, word_at};

const APIC_BASE: u32 = 0x1b;
const X2APIC: u64 = 1 << 10;
const ENABLED: u64 = 1 << 11;
/// Identification and version, as registers in memory and as MSRs.
const ID: u64 = 0xfee0_0020;
const VERSION: u64 = 0xfee0_0030;
const X2APIC_ID: u32 = 0x802;
const X2APIC_VERSION: u32 = 0x803;
/// CPUID leaf 1, EDX: a local APIC.
const APIC: u32 = 1 << 9;

pub fn check(checks: &mut Checks, _: &Information) {
    let off = rdmsr(APIC_BASE) & !(ENABLED | X2APIC);
    checks.equal("starts-as-xapic", rdmsr(APIC_BASE) & (ENABLED | X2APIC), ENABLED);
    let version = word_at(VERSION);
    checks.equal("id", u64::from(word_at(ID)), 0);
    checks.is("no-msr-in-xapic-mode", try_rdmsr(X2APIC_ID).is_err());

    wrmsr(APIC_BASE, off | ENABLED | X2APIC);
    checks.equal("same-version", rdmsr(X2APIC_VERSION), version.into());
    checks.equal("same-id", rdmsr(X2APIC_ID), 0);
    checks.is("id-is-read-only", try_wrmsr(X2APIC_ID, 1).is_err());
    checks.is("not-back-to-xapic", try_wrmsr(APIC_BASE, off | ENABLED).is_err());
    checks.is("x2apic-needs-enabled", try_wrmsr(APIC_BASE, off | X2APIC).is_err());

    wrmsr(APIC_BASE, off);
    checks.equal("no-apic-when-off", u64::from(cpuid(1)[3] & APIC), 0);
    checks.is("no-msr-when-off", try_rdmsr(X2APIC_VERSION).is_err());
    checks.is("not-from-off-to-x2apic", try_wrmsr(APIC_BASE, off | ENABLED | X2APIC).is_err());

    wrmsr(APIC_BASE, off | ENABLED);
    checks.equal("apic-again", u64::from(cpuid(1)[3] & APIC), APIC.into());
    checks.equal("version-again", u64::from(word_at(VERSION)), version.into());
}
