//! Bits of control registers that the kernel keeps from guests, whatever their VMM wants.

use super::Shared;
use crate::programs::state;
use crate::root::Root;
use crate::vm::Vm;
use crate::vmcs::{self, exit};
use core::arch::asm;
use sel4_abi::numbers::guest_register as reg;

/// CR0.CD and CR0.NW.
const CD: u64 = 1 << 30;
const NW: u64 = 1 << 29;

/// Bits that bring registers which nothing switches: no VMM sets them, and a guest's attempt exits whatever the VMM says.
pub fn cr4(root: &mut Root, _: &Shared) {
    // KL, whose wrapping key is the processor's; PKE, CET, PKS, UINTR (SDM 2.5); FRED and what no processor has yet.
    const WITHHELD: u64 = 1 << 19 | 0xf << 22 | 0xffff_ffff << 32;
    let mut vm = Vm::new(root, 0);
    vm.bind(root);
    vm.load(root, state::write_cr4());
    let cr4 = vm.read_vmcs(root, vmcs::GUEST_CR4);
    assert_eq!(vm.write_vmcs(root, vmcs::GUEST_CR4, cr4 | WITHHELD), cr4);
    assert_eq!(vm.write_vmcs(root, vmcs::CR4_MASK, 0), WITHHELD);
    for bit in (0..64).filter(|bit| WITHHELD >> bit & 1 != 0) {
        vm.set(reg::EBX, cr4 | 1 << bit);
        assert_eq!(vm.enter(root).reason, exit::CONTROL_REGISTER, "CR4 bit {bit}");
    }
}

/// The bits of CR0 that say whether the caches are on, which every thread may read.
fn caching() -> u64 {
    let value: u64;
    // SAFETY: CR4.UMIP is clear; reading has no effect.
    unsafe { asm!("smsw {}", out(reg) value) };
    value & (CD | NW)
}

/// VM entry and VM exit leave CR0.CD and CR0.NW as they are (SDM 27.3.2.1, 28.5.1): a guest's MOV to CR0 that changes them
/// exits whatever its VMM wants.
pub fn caches(root: &mut Root, _: &Shared) {
    let before = caching();
    let mut vm = Vm::new(root, 0);
    vm.bind(root);
    vm.write_vmcs(root, vmcs::CR0_MASK, 0);
    for bits in [CD, CD | NW] {
        vm.load(root, state::write_cr0());
        vm.set(reg::EBX, vm.read_vmcs(root, vmcs::GUEST_CR0) | bits);
        let left = vm.enter(root);
        assert_eq!(caching(), before, "the host's CR0 after a guest has written {bits:#x}");
        assert_eq!(left.reason, exit::CONTROL_REGISTER, "CR0 bits {bits:#x}");
    }
    assert_eq!(vm.read_vmcs(root, vmcs::CR0_MASK), CD | NW);
    assert_eq!(vm.write_vmcs(root, vmcs::CR0_MASK, 1), CD | NW | 1);
}
