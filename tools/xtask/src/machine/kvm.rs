//! What the host must have for guests of a guest, and for their PMU.

use std::fs;

const DEVICE: &str = "/dev/kvm";
const NESTED: &str = "/sys/module/kvm_intel/parameters/nested";
const PMU: &str = "/sys/module/kvm/parameters/enable_pmu";

/// What the host says.
#[derive(Debug, Default)]
struct Host {
    /// Why the device cannot be opened for reading and writing.
    device: Option<String>,
    /// The parameter `nested` of kvm_intel, if that is loaded.
    nested: Option<String>,
    /// The parameter `enable_pmu` of kvm: Linux before 5.17 has none, and always gives the PMU.
    pmu: Option<String>,
}

impl Host {
    fn look() -> Self {
        let opened = fs::OpenOptions::new().read(true).write(true).open(DEVICE);
        let parameter = |file| fs::read_to_string(file).ok().map(|value: String| value.trim().to_owned());
        Self { device: opened.err().map(|e| e.to_string()), nested: parameter(NESTED), pmu: parameter(PMU) }
    }

    /// What is missing, each with its remedy.
    fn lacks(&self, pmu: bool) -> Vec<String> {
        let on = |value: &Option<String>| matches!(value.as_deref(), Some("Y" | "1"));
        let mut missing = Vec::new();
        if let Some(error) = &self.device {
            missing.push(format!(
                "access to {DEVICE} ({error}): load kvm_intel, and be root or in the group kvm"
            ));
        }
        match &self.nested {
            None => missing.push(format!("VT-x by kvm_intel ({NESTED} is absent)")),
            Some(value) if !on(&self.nested) => {
                missing.push(format!("nested VT-x ({NESTED} is {value}): load kvm_intel with nested=1"));
            }
            Some(_) => {}
        }
        if let Some(value) = self.pmu.as_ref().filter(|_| pmu && !on(&self.pmu)) {
            missing.push(format!("a virtual PMU ({PMU} is {value}): load kvm with enable_pmu=1"));
        }
        missing
    }
}

/// What is missing on this host, in one sentence; [`None`] if nothing is. `pmu`: whether the guest is to have one.
pub fn missing(pmu: bool) -> Option<String> {
    sentence(&Host::look().lacks(pmu))
}

fn sentence(missing: &[String]) -> Option<String> {
    let list = missing.join("; ");
    (!missing.is_empty())
        .then(|| format!("this host cannot run `--machine kvm`: it lacks {list}; or use `--machine bochs`"))
}

#[cfg(test)]
mod tests {
    use super::{Host, sentence};

    fn host(device: Option<&str>, nested: Option<&str>, pmu: Option<&str>) -> Host {
        let [device, nested, pmu] = [device, nested, pmu].map(|value| value.map(str::to_owned));
        Host { device, nested, pmu }
    }

    #[test]
    fn a_host_with_everything_is_taken() {
        for complete in [host(None, Some("Y"), Some("Y")), host(None, Some("1"), None)] {
            assert_eq!(sentence(&complete.lacks(true)), None, "{complete:?}");
        }
        assert_eq!(sentence(&host(None, Some("Y"), Some("N")).lacks(false)), None, "a guest without PMU");
    }

    /// Each fact alone: it is named, and nothing else is.
    #[test]
    fn each_missing_part_is_named_with_its_remedy() {
        let names = ["/dev/kvm (not found)", "VT-x by kvm_intel", "nested is N", "enable_pmu is N"];
        let hosts = [
            host(Some("not found"), Some("Y"), Some("Y")),
            host(None, None, Some("Y")),
            host(None, Some("N"), Some("Y")),
            host(None, Some("Y"), Some("N")),
        ];
        for (wanted, host) in names.iter().zip(&hosts) {
            let said = sentence(&host.lacks(true)).expect("something is missing");
            for name in names {
                assert_eq!(said.contains(name), name == *wanted, "{name}: {said}");
            }
            assert!(said.ends_with("or use `--machine bochs`"), "{said}");
        }
    }

    #[test]
    fn all_that_is_missing_is_said_at_once() {
        let said = sentence(&host(Some("refused"), None, Some("N")).lacks(true)).expect("much is missing");
        assert_eq!(said.matches("; ").count(), 3, "{said}");
    }
}
