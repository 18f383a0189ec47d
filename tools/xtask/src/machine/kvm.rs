//! What the host must have for guests of a guest with a PMU.

use std::fs;

const DEVICE: &str = "/dev/kvm";
const NESTED: &str = "/sys/module/kvm_intel/parameters/nested";
const PMU: &str = "/sys/module/kvm/parameters/enable_pmu";

/// What is missing on this host, in one sentence; [`None`] if nothing is.
pub fn missing() -> Option<String> {
    let opened = fs::OpenOptions::new().read(true).write(true).open(DEVICE);
    let parameter = |file| fs::read_to_string(file).ok();
    explain(opened.err().map(|e| e.to_string()), parameter(NESTED).as_deref(), parameter(PMU).as_deref())
}

fn explain(device: Option<String>, nested: Option<&str>, pmu: Option<&str>) -> Option<String> {
    let on = |value: Option<&str>| matches!(value.map(str::trim), Some("Y" | "1"));
    let mut missing = Vec::new();
    missing.extend(device.map(|error| format!("access to {DEVICE} ({error})")));
    if !on(nested) {
        missing.push(format!("nested VT-x ({NESTED} is {})", nested.map_or("absent", str::trim)));
    }
    // Kernels before 5.17 have no such parameter: they always give the PMU.
    if pmu.is_some() && !on(pmu) {
        missing.push(format!("a virtual PMU ({PMU} is {})", pmu.map_or("absent", str::trim)));
    }
    let list = missing.join(", ");
    (!missing.is_empty())
        .then(|| format!("this host cannot run `--machine kvm`: it lacks {list}; use `--machine bochs`"))
}

#[cfg(test)]
mod tests {
    use super::explain;

    #[test]
    fn each_missing_part_is_named() {
        assert_eq!(explain(None, Some("Y\n"), Some("Y\n")), None);
        assert_eq!(explain(None, Some("1\n"), None), None);
        let all = explain(Some("not found".into()), None, Some("N\n")).expect("much is missing");
        for part in ["/dev/kvm (not found)", "nested is absent", "enable_pmu is N"] {
            assert!(all.contains(part), "{part}: {all}");
        }
        let one = explain(None, Some("N\n"), Some("Y\n")).expect("one is missing");
        assert!(one.contains("nested is N") && !one.contains("/dev/kvm"), "{one}");
    }
}
