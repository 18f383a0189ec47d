//! A selector write through the policy domain, for counting instructions: `step_cost step` or `step_cost message`
//! (with decoding and encoding) runs it [`WRITES`] times under filters of every size. Prints that number and the size of
//! a VM's state.
#![allow(clippy::unwrap_used)]

use pmu_api::{Reply, Request};
use pmu_core::{Domain, KernelMode, PmuPort, PortError, RawGeometry, RegionCells};
use std::hint::black_box;
use std::sync::atomic::AtomicU64;

/// How often each form is run; the callgrind total is divided by it.
const WRITES: u64 = 1000;

/// A context that costs next to nothing: the kernel's part is measured elsewhere.
#[derive(Debug)]
struct Context {
    selectors: [u64; 8],
}

impl PmuPort for Context {
    fn geometry(&mut self) -> Result<RawGeometry, PortError> {
        let leaf_a = [5 | 8 << 8 | 48 << 16 | 8 << 24, 0, 0xF, 4 | 48 << 5 | 1 << 15];
        Ok(RawGeometry {
            leaf_a,
            perf_capabilities: 1 << 13,
            flags: RawGeometry::SAVES_GLOBAL_CONTROL | RawGeometry::USABLE,
        })
    }

    fn set_mode(&mut self, _: KernelMode) -> Result<(), PortError> {
        Ok(())
    }

    fn read(&mut self, _: u32) -> Result<u64, PortError> {
        Ok(0)
    }

    fn write(&mut self, msr: u32, value: u64) -> Result<(), PortError> {
        self.selectors[msr as usize & 7] = value;
        Ok(())
    }
}

/// The code to count: collection is on inside it alone.
#[inline(never)]
fn measured_step(domain: &mut Domain<'_, Context>, request: &Request) -> Reply {
    domain.vms_mut()[0].step(request, 0)
}

#[inline(never)]
fn measured_message(domain: &mut Domain<'_, Context>, message: &pmu_api::Message) -> pmu_api::Message {
    domain.handle(1, message, 0)
}

fn domain(entries: u64) -> Domain<'static, Context> {
    let list: Vec<String> =
        (0..entries).map(|i| format!("{{ event = {}, umask = {} }}", i % 256, i / 256)).collect();
    let filter = format!("[vm.filter]\naction = \"allow\"\nevents = [{}]\n", list.join(", "));
    let words = pmu_policy::compile(&format!("[[vm]]\nname = \"a\"\nchannel = 1\n{filter}")).unwrap().words;
    let region: &[AtomicU64] = words.into_iter().map(AtomicU64::new).collect::<Vec<_>>().leak();
    Domain::new(region, &[], Box::leak(Box::new(RegionCells::new())), |_| Context { selectors: [0; 8] })
}

fn main() {
    let form = std::env::args().nth(1).expect("step or message");
    let mut domains: Vec<_> = [0, 1, 30, 300].map(domain).into();
    for i in 0..WRITES {
        let count = domains.len() as u64;
        let domain = &mut domains[usize::try_from(i % count).unwrap()];
        // Every selector, permitted and denied events.
        let msr = 0x186 + u32::try_from(i % 8).unwrap();
        let request = Request::Write { msr, value: 0x43_0000 | (i * 41) & 0xFFFF };
        match form.as_str() {
            "step" => assert_eq!(measured_step(black_box(domain), black_box(&request)), Reply::Done),
            "message" => {
                let reply = measured_message(black_box(domain), black_box(&request.encode()));
                assert_eq!(Reply::decode(&reply), Ok(Reply::Done));
            }
            other => panic!("{other} is no form"),
        }
    }
    println!("{WRITES} {}", size_of::<pmu_core::Vm<'static, Context>>());
}
