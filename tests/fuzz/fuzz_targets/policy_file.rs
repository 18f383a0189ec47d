//! Any text as a policy file: an error with a place, or a binary that the policy domain takes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pmu_core::Policy;
use std::sync::atomic::AtomicU64;

fuzz_target!(|text: &str| {
    match pmu_policy::compile(text) {
        Err(error) => assert!(error.line >= 1 && error.column >= 1 && !error.message.is_empty()),
        Ok(compiled) => {
            let region: Vec<AtomicU64> = compiled.words.into_iter().map(AtomicU64::new).collect();
            Policy::parse(&region).expect("what the compiler makes is a policy");
        }
    }
});
