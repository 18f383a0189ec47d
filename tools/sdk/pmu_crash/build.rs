//! The kernel of the SDK is stock: it has no PMU extension.

fn main() {
    println!("cargo::rustc-cfg=stock_kernel");
    println!("cargo::rerun-if-changed=build.rs");
}
