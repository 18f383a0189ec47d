//! Debug output through the kernel, where the SDK's configuration has it. Upstream exports its own macros there only.

use core::fmt::{self, Write};

struct Kernel;

impl Write for Kernel {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        sel4::sel4_cfg_if! {
            if #[sel4_cfg(PRINTING)] {
                text.bytes().for_each(sel4::debug_put_char);
            } else {
                let _ = text;
            }
        }
        Ok(())
    }
}

#[doc(hidden)]
pub fn print(arguments: fmt::Arguments<'_>) {
    // Our writer never fails; an error of a value's own formatting is not worth another panic.
    let _ = Kernel.write_fmt(arguments);
}

/// Like `print!`, by the kernel's debug output. Prints nothing where the kernel has none.
#[macro_export]
macro_rules! debug_print {
    ($($arg:tt)*) => { $crate::_sdk::print(::core::format_args!($($arg)*)) };
}

/// Like `println!`, by the kernel's debug output. Prints nothing where the kernel has none.
#[macro_export]
macro_rules! debug_println {
    () => { $crate::debug_print!("\n") };
    ($($arg:tt)*) => { $crate::debug_print!("{}\n", ::core::format_args!($($arg)*)) };
}
