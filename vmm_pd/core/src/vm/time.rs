//! The MSRs of the time-stamp counter.

use super::Vm;
use crate::apic::GeneralProtection;
use crate::arch::{Field, msr, primary};
use crate::pmu::PmuLink;
use crate::vcpu::Vcpu;

impl<L: PmuLink> Vm<L> {
    pub(super) fn read_time<V: Vcpu>(&mut self, vcpu: &V, number: u32) -> Result<u64, GeneralProtection> {
        match number {
            msr::TSC => Ok(self.tsc.read(vcpu.now())),
            msr::TSC_ADJUST if self.switched.bundled() => Ok(self.tsc.adjust()),
            msr::TSC_DEADLINE => Ok(self.apic.tsc_deadline(vcpu.now())),
            _ => Err(GeneralProtection),
        }
    }

    pub(super) fn write_time<V: Vcpu>(
        &mut self,
        vcpu: &mut V,
        number: u32,
        value: u64,
    ) -> Result<(), GeneralProtection> {
        let now = vcpu.now();
        match number {
            msr::TSC_DEADLINE => {
                self.apic.set_tsc_deadline(value, self.tsc.read(now), now);
                return Ok(());
            }
            msr::TSC if self.switched.bundled() => self.tsc.write(value, now),
            msr::TSC_ADJUST if self.switched.bundled() => self.tsc.set_adjust(value),
            _ => return Err(GeneralProtection),
        }
        self.apic.tsc_moved(self.tsc.read(now), now);
        vcpu.write(Field::TscOffset, self.tsc.offset());
        self.primary_controls |= primary::TSC_OFFSETTING;
        Ok(())
    }
}
