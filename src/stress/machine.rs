//! The machine under a test, as its results name it.

use std::ffi::CStr;
use std::fmt;
use std::fs;
use std::thread;

use rustix::system::uname;

/// A machine: CPU, cores and kernel.
#[derive(Debug)]
pub struct Machine {
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    /// Its name and release.
    pub(crate) kernel: String,
}

impl Machine {
    /// This machine, as uname(2), /proc and the device tree have it.
    pub fn this() -> Self {
        let system = uname();
        let text = |name: &CStr| name.to_string_lossy().into_owned();
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let cpus = read("/proc/cpuinfo");
        Self {
            cpu: model(&cpus)
                .or_else(|| model(&format!("model name: {}", read("/proc/device-tree/model"))))
                .unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
            // Of all, though this thread may be bound to some.
            cores: match cpus
                .lines()
                .filter(|line| line.starts_with("processor\t"))
                .count()
            {
                0 => thread::available_parallelism().map_or(1, usize::from),
                cores => cores,
            },
            kernel: format!("{} {}", text(system.sysname()), text(system.release())),
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cpu, cores, kernel } = self;
        write!(f, "{cpu}, {cores} cores, {kernel}")
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
