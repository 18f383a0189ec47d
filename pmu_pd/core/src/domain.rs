//! The policy domain: one VM for each channel, and the manager.

mod vm;

pub use vm::Vm;

use crate::policy::{Policy, PolicyError, VmPolicy};
use crate::port::PmuPort;
use crate::statistics::RegionCells;
use core::sync::atomic::AtomicU64;
use heapless::Vec;
use pmu_api::{FilterReason, MAX_VMS, Message, Refusal, Reply, Request, UnavailableReason};

/// Everything that the domain knows. `P` reaches one VCPU's PMU context; each VM has its own and no other.
#[derive(Debug)]
pub struct Domain<'a, P> {
    vms: Vec<Vm<'a, P>, MAX_VMS>,
    manager: Option<u8>,
    update: &'a [AtomicU64],
    statistics: &'a RegionCells,
    /// Why there are no VMs, if the policy is not one.
    invalid: Option<PolicyError>,
}

impl<'a, P: PmuPort> Domain<'a, P> {
    /// The domain for the policy in `policy`. `port` makes the port for a channel. The manager writes replacement filters
    /// into `update` (empty if there is no such region).
    pub fn new(
        policy: &'a [AtomicU64],
        update: &'a [AtomicU64],
        statistics: &'a RegionCells,
        port: impl FnMut(u8) -> P,
    ) -> Self {
        Self::restricted(policy, update, statistics, |_| {}, port)
    }

    /// The same, where the kernel cannot give every VM what the policy does: `restrict` changes what a VM gets before its
    /// port is made.
    pub fn restricted(
        policy: &'a [AtomicU64],
        update: &'a [AtomicU64],
        statistics: &'a RegionCells,
        mut restrict: impl FnMut(&mut VmPolicy<'a>),
        mut port: impl FnMut(u8) -> P,
    ) -> Self {
        let mut domain = Self { vms: Vec::new(), manager: None, update, statistics, invalid: None };
        match Policy::parse(policy) {
            Err(error) => {
                statistics.start(core::iter::empty());
                domain.invalid = Some(error);
            }
            Ok(policy) => {
                domain.manager = policy.manager;
                statistics.start(policy.vms.iter().map(|vm| u64::from(vm.channel)));
                for (mut vm, cells) in policy.vms.into_iter().zip(statistics.vms()) {
                    restrict(&mut vm);
                    // Both vectors hold MAX_VMS.
                    let _ = domain.vms.push(Vm::new(&vm, port(vm.channel), cells));
                }
            }
        }
        domain
    }

    /// Why the policy was refused, if it was.
    pub const fn policy_error(&self) -> Option<PolicyError> {
        self.invalid
    }

    /// The VMs in the policy's order.
    pub fn vms(&self) -> &[Vm<'a, P>] {
        &self.vms
    }

    /// The same, to be changed.
    pub fn vms_mut(&mut self) -> &mut [Vm<'a, P>] {
        &mut self.vms
    }

    /// Answers the message that came over `channel` at TSC time `now`. Never panics, whatever the message.
    pub fn handle(&mut self, channel: u8, message: &Message, now: u64) -> Message {
        if let Some(vm) = self.vms.iter_mut().find(|vm| vm.channel() == channel) {
            return vm.handle(message, now).encode();
        }
        let reply = if self.manager == Some(channel) { self.manage(message) } else { self.stranger() };
        reply.encode()
    }

    /// A message on a channel that the policy does not name.
    fn stranger(&self) -> Reply {
        self.statistics.count_stranger();
        let reason =
            if self.invalid.is_some() { UnavailableReason::PolicyInvalid } else { UnavailableReason::NoVm };
        Reply::Refused(Refusal::Unavailable(reason))
    }

    fn manage(&mut self, message: &Message) -> Reply {
        match Request::decode(message) {
            Err(malformed) => {
                self.statistics.count_stranger();
                Reply::Malformed(malformed)
            }
            Ok(Request::ReplaceFilter { vm }) => match self.replace_filter(vm) {
                Ok(()) => Reply::Replaced,
                Err(reason) => Reply::Refused(Refusal::Filter(reason)),
            },
            Ok(_) => Reply::Refused(Refusal::NotVmm),
        }
    }

    /// Takes VM `vm`'s filter from the update region: the same form, the same checks. Everything is checked before
    /// anything changes.
    fn replace_filter(&mut self, vm: u32) -> Result<(), FilterReason> {
        let update = Policy::parse(self.update).map_err(|_| FilterReason::Invalid)?;
        let index = usize::try_from(vm).map_err(|_| FilterReason::NoVm)?;
        let (Some(vm), Some(new)) = (self.vms.get_mut(index), update.vms.get(index)) else {
            return Err(FilterReason::NoVm);
        };
        if new.channel != vm.channel() {
            return Err(FilterReason::NoVm);
        }
        vm.replace_filter(new.filter)
    }
}
