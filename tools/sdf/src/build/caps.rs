//! The capabilities of protection domains: what Microkit's slot layout says, with no right that is not used.

use super::Builder;
use crate::check::{machine_owner, pmu_channel};
use crate::model::ForeignKind;
use crate::slots::{
    BASE_CHILD_TCB, BASE_ENDPOINT, BASE_FOREIGN, BASE_IO_PORTS, BASE_IRQ, BASE_NOTIFICATION, BASE_VCPU,
    BASE_VCPU_PMU, CALL_BADGE, FAULT, FAULT_BADGE, INPUT,
};
use capdist::{Object, Rights, Tag};

/// To receive.
pub(super) const RECEIVE: Rights = Rights { read: true, write: false, grant: false };
/// To signal.
const SIGNAL: Rights = Rights { read: false, write: true, grant: false };
/// To call, which needs *grant* for the reply, or to deliver faults.
const CALL: Rights = Rights { read: false, write: true, grant: true };

impl Builder<'_> {
    /// Fills the CNodes.
    pub(super) fn capabilities(&mut self) {
        for index in 0..self.domains.len() {
            self.own(index);
            self.irqs(index);
            self.others(index);
        }
        self.channels();
    }

    /// Input, fault endpoint, vCPU, I/O ports.
    fn own(&mut self, index: usize) {
        let (domain, ids) = (&self.system.domains[index], self.domains[index]);
        let d = &mut self.distribution;
        match ids.endpoint {
            Some(endpoint) => {
                d.slot(ids.cnode, INPUT, endpoint, Tag::Endpoint { badge: 0, rights: RECEIVE });
            }
            None => {
                let tag = Tag::Notification { badge: 0, rights: RECEIVE };
                d.slot(ids.cnode, INPUT, ids.notification, tag);
            }
        }
        let parent = domain.parent.and_then(|p| Some((p.id, self.domains[p.domain].endpoint?)));
        let (endpoint, badge) = match parent {
            Some((id, endpoint)) => (endpoint, FAULT_BADGE | u64::from(id)),
            None => (self.faults, index as u64 + 1),
        };
        d.slot(ids.cnode, FAULT, endpoint, Tag::Endpoint { badge, rights: CALL });
        if let (Some(vcpu), Some(machine)) = (ids.vcpu, &domain.machine) {
            let tag = Tag::Vcpu { rights: Rights::VCPU_RUN };
            d.slot(ids.cnode, BASE_VCPU + machine.vcpu, vcpu, tag);
        }
        for ports in &domain.ports {
            let object = Object::IoPorts { first: ports.first, last: ports.last };
            let object = d.object(format!("ioports_{:#x}_{}", ports.first, domain.name), object);
            d.slot(ids.cnode, BASE_IO_PORTS + ports.id, object, Tag::IoPorts);
        }
    }

    fn irqs(&mut self, index: usize) {
        let (domain, ids) = (&self.system.domains[index], self.domains[index]);
        let d = &mut self.distribution;
        for irq in &domain.irqs {
            let object = d.object(format!("irq_{}_{}", irq.vector(), domain.name), Object::Irq(irq.irq));
            let signal = Tag::Notification { badge: 1 << irq.id, rights: SIGNAL };
            d.slot(object, 0, ids.notification, signal);
            d.slot(ids.cnode, BASE_IRQ + irq.id, object, Tag::Irq);
        }
    }

    /// Capabilities of other domains: children, what `cspace` asks for, PMUs.
    fn others(&mut self, index: usize) {
        let (domain, ids) = (&self.system.domains[index], self.domains[index]);
        let d = &mut self.distribution;
        if let Some(parent) = domain.parent {
            let cnode = self.domains[parent.domain].cnode;
            d.slot(cnode, BASE_CHILD_TCB + parent.id, ids.tcb, Tag::Tcb);
        }
        for cap in &domain.cspace {
            let Some(other) = self.system.domain(&cap.domain).map(|other| self.domains[other]) else {
                unreachable!("check::cspace refuses unknown names");
            };
            let (object, tag) = match cap.kind {
                ForeignKind::Tcb => (other.tcb, Tag::Tcb),
                ForeignKind::VSpace => (other.vspace, Tag::Table),
            };
            d.slot(ids.cnode, BASE_FOREIGN + cap.slot, object, tag);
        }
        for authority in &domain.pmu_of {
            let owner = machine_owner(self.system, &authority.machine);
            let channel = owner.and_then(|owner| pmu_channel(self.system, domain, owner));
            let vcpu = owner.and_then(|owner| self.domains[owner].vcpu);
            let (Some(channel), Some(vcpu)) = (channel, vcpu) else {
                unreachable!("check::pmu_authority refuses what has no machine or channel");
            };
            let tag = Tag::Vcpu { rights: Rights::VCPU_PMU };
            d.slot(ids.cnode, BASE_VCPU_PMU + channel, vcpu, tag);
        }
    }

    fn channels(&mut self) {
        for channel in &self.system.channels {
            for (from, to) in channel.directions() {
                let (cnode, peer) = (self.domains[from.domain].cnode, self.domains[to.domain]);
                let d = &mut self.distribution;
                if from.notify {
                    let tag = Tag::Notification { badge: 1 << to.id, rights: SIGNAL };
                    d.slot(cnode, BASE_NOTIFICATION + from.id, peer.notification, tag);
                }
                if let (true, Some(endpoint)) = (from.call, peer.endpoint) {
                    let badge = CALL_BADGE | u64::from(to.id);
                    d.slot(cnode, BASE_ENDPOINT + from.id, endpoint, Tag::Endpoint { badge, rights: CALL });
                }
            }
        }
    }
}
