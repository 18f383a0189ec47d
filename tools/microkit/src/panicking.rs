//! A panic names the protection domain and the place, then becomes a fault, which the monitor reports.

use crate::entry::trap;
use crate::{debug_println, pd_name};
use core::panic::PanicInfo;

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    debug_println!("{}: {info}", pd_name().unwrap_or("?"));
    trap()
}
