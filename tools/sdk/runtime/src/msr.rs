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

        /// Whether this kernel has the calls.
        pub const AVAILABLE: bool = true;

        /// Reads an MSR that the processor must have.
        pub fn read(msr: u32) -> Result<u64, Error> {
            Ok(calls::read(msr))
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
