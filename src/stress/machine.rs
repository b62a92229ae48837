//! The machine under a test, as its results name it.

use std::fmt;
use std::fs;

/// A machine: CPU, cores and kernel.
#[derive(Debug)]
pub struct Machine {
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    /// The kernel's release.
    pub(crate) kernel: String,
}

impl Machine {
    /// This machine, as /proc and the device tree have it.
    pub fn this() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let cpus = read("/proc/cpuinfo");
        Self {
            cpu: model(&cpus)
                .or_else(|| model(&format!("model name: {}", read("/proc/device-tree/model"))))
                .unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
            cores: cpus
                .lines()
                .filter(|line| line.starts_with("processor\t"))
                .count(),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cpu, cores, kernel } = self;
        write!(f, "{cpu}, {cores} cores, Linux {kernel}")
    }
}

/// The name of the CPU in /proc/cpuinfo. Arm's has none, and MIPS has another word for it.
fn model(cpus: &str) -> Option<String> {
    let names = cpus.lines().filter_map(|line| line.split_once(':'));
    let mut names = names.filter(|(key, _)| ["model name", "cpu model"].contains(&key.trim()));
    let (_, name) = names.next()?;
    let name = name.trim_matches(|letter: char| letter.is_whitespace() || letter == '\0');
    (!name.is_empty()).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cpu_has_a_name_on_any_architecture() {
        let intel = "processor\t: 0\nmodel\t\t: 85\nmodel name\t: Xeon: fast\n";
        assert_eq!(model(intel).as_deref(), Some("Xeon: fast"));
        assert_eq!(
            model("cpu model\t: MIPS 24Kc V4.12\n").as_deref(),
            Some("MIPS 24Kc V4.12")
        );
        assert_eq!(model("processor\t: 0\nBogoMIPS\t: 108.00\n"), None);
        assert!(!Machine::this().kernel.is_empty());
    }
}
