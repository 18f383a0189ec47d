//! Debug output through the kernel, where the kernel has it (configuration debug).

use core::fmt::{self, Write};

struct DebugWrite;

impl Write for DebugWrite {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        #[cfg(not(release_kernel))]
        text.bytes().for_each(sel4_abi::debug_put_char);
        #[cfg(release_kernel)]
        let _ = text;
        Ok(())
    }
}

#[doc(hidden)]
pub fn debug_print(arguments: fmt::Arguments<'_>) {
    // Our writer never fails; an error of a value's own formatting is not worth another panic.
    let _ = DebugWrite.write_fmt(arguments);
}

/// Like `print!`, by the kernel's debug output. Prints nothing on a release kernel.
#[macro_export]
macro_rules! debug_print {
    ($($arg:tt)*) => { $crate::_private::debug_print(::core::format_args!($($arg)*)) };
}

/// Like `println!`, by the kernel's debug output. Prints nothing on a release kernel.
#[macro_export]
macro_rules! debug_println {
    () => { $crate::debug_print!("\n") };
    ($($arg:tt)*) => { $crate::debug_print!("{}\n", ::core::format_args!($($arg)*)) };
}
