//! Changes of a valid snapshot, with the checksum made right again: restored, and then saved as the same, or refused
//! with nothing changed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pmu_api::Mode;
use pmu_core::geometry::Wanted;
use pmu_core::policy::{Policy, VmPolicy, policy_checksum};
use pmu_core::snapshot::{Buffer, SNAPSHOT_WORDS};
use pmu_core::{PmuPort, Vpmu};
use pmu_fuzz::{Context, policy, region};
use std::sync::OnceLock;

fuzz_target!(|input: (Vec<(u8, u64)>, Option<u8>, bool, bool)| {
    static POLICY: OnceLock<Policy<'static>> = OnceLock::new();
    let policy = &POLICY.get_or_init(|| Policy::parse(region(policy())).expect("it is valid")).vms[0];
    let (changes, version, tsx, sealed) = input;
    let wanted = Wanted { version: version.map(|v| v % 6), tsx, ..Wanted::default() };
    let policy = VmPolicy { wanted, mode: Mode::Mediated, ..*policy };
    let mut port = Context::default();
    let raw = port.geometry().expect("it is fixed");
    let mut vpmu = Vpmu::new(&raw, &policy).expect("the hardware has it");
    // IN_TX reaches no hardware of this context.
    vpmu.reset(&mut port).expect("the context takes it");
    let Ok(mut buffer) = vpmu.save(&mut port) else { return };
    for (place, value) in changes {
        buffer[usize::from(place) % Buffer::default().len()] = value;
    }
    if sealed {
        // Four words of padding: the policy's checksum begins at its word 4.
        let mut words = vec![0; 4];
        words.extend_from_slice(&buffer[..SNAPSHOT_WORDS - 1]);
        buffer[SNAPSHOT_WORDS - 1] = policy_checksum(&words);
    }
    if tsx && buffer[2..10].iter().any(|selector| selector >> 32 != 0) {
        return;
    }
    let before = port.clone();
    match vpmu.restore(&mut port, &buffer) {
        Ok(()) => assert_eq!(vpmu.save(&mut port), Ok(buffer)),
        Err(_) => assert_eq!(port, before),
    }
});
