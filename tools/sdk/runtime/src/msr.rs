//! The system calls of the configuration *benchmark* that read and write any MSR. They take no capability: any protection
//! domain may call them, and a #GP(0) in one halts the kernel.

use crate::Error;

sel4::sel4_cfg_if! {
    if #[sel4_cfg(KERNEL_X86_DANGEROUS_MSR)] {
        mod calls {
            use core::arch::asm;
            use sel4::sys::syscall_id;

            pub fn read(msr: u32) -> u64 {
                let value;
                // SAFETY: the kernel's ABI: the call reads RDX and RDI, writes the registers named, and keeps the rest;
                // RSP is kept in R14.
                unsafe {
                    asm!("mov r14, rsp", "syscall", "mov rsp, r14",
                        in("rdx") i64::from(syscall_id::X86DangerousRDMSR),
                        inlateout("rdi") u64::from(msr) => _, inlateout("rsi") 0_u64 => _, lateout("r10") value,
                        lateout("r8") _, lateout("r9") _, lateout("r15") _, in("r12") 0_u64,
                        lateout("rcx") _, lateout("r11") _, lateout("r14") _);
                }
                value
            }

            pub fn write(msr: u32, value: u64) {
                // SAFETY: as above; the call also reads R10.
                unsafe {
                    asm!("mov r14, rsp", "syscall", "mov rsp, r14",
                        in("rdx") i64::from(syscall_id::X86DangerousWRMSR),
                        inlateout("rdi") u64::from(msr) => _, inlateout("rsi") 0_u64 => _,
                        inlateout("r10") value => _, inlateout("r8") 0_u64 => _, inlateout("r9") 0_u64 => _,
                        inlateout("r15") 0_u64 => _, in("r12") 0_u64,
                        lateout("rcx") _, lateout("r11") _, lateout("r14") _);
                }
            }
        }

        sel4::sel4_cfg_if! {
            if #[sel4_cfg(EXPORT_PMC_USER)] {
                /// IA32_A_PMC0 and IA32_FIXED_CTR0, the most of them, and what RDPMC adds to a fixed counter's index (SDM
                /// volume 2B, RDPMC).
                const A_PMC0: u32 = 0x4C1;
                const FIXED_CTR0: u32 = 0x309;
                const MAX_GENERAL: u32 = 8;
                const MAX_FIXED: u32 = 4;
                const FIXED: u32 = 1 << 30;

                /// The counter that `msr` is, by RDPMC.
                fn counter(msr: u32) -> Option<u64> {
                    let (general, fixed) = (msr.wrapping_sub(A_PMC0), msr.wrapping_sub(FIXED_CTR0));
                    let index = if general < MAX_GENERAL {
                        general
                    } else if fixed < MAX_FIXED {
                        FIXED | fixed
                    } else {
                        return None;
                    };
                    let (low, high): (u32, u32);
                    // SAFETY: this configuration sets CR4.PCE, and the processor has the counter, as it must for `read`.
                    unsafe {
                        core::arch::asm!("rdpmc", in("ecx") index, out("eax") low, out("edx") high,
                            options(nomem, nostack, preserves_flags));
                    }
                    Some(u64::from(high) << 32 | u64::from(low))
                }
            } else {
                fn counter(_: u32) -> Option<u64> {
                    None
                }
            }
        }

        /// Whether this kernel has the calls.
        pub const AVAILABLE: bool = true;

        /// Reads an MSR that the processor must have; a counter without a system call.
        pub fn read(msr: u32) -> Result<u64, Error> {
            Ok(counter(msr).unwrap_or_else(|| calls::read(msr)))
        }

        /// Writes a value to an MSR that the processor must have and that must take it.
        pub fn write(msr: u32, value: u64) -> Result<(), Error> {
            calls::write(msr, value);
            Ok(())
        }
    } else {
        /// Whether this kernel has the calls.
        pub const AVAILABLE: bool = false;

        /// Refused: only the configuration *benchmark* has the call.
        pub fn read(_: u32) -> Result<u64, Error> {
            Err(Error::IllegalOperation)
        }

        /// Refused: only the configuration *benchmark* has the call.
        pub fn write(_: u32, _: u64) -> Result<(), Error> {
            Err(Error::IllegalOperation)
        }
    }
}
