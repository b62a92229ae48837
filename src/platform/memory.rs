//! How much memory this process may come to use: of its own, and of the kernel's for TCP.

use std::fs;
use std::path::Path;

use rustix::param::page_size;
use rustix::process::{Resource, getrlimit};

/// What is there to be used, in bytes. `usize::MAX` where nothing bounds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Headroom {
    /// Memory of the process itself.
    pub process_bytes: usize,
    /// Socket buffers of the kernel, all processes together.
    pub tcp_bytes: usize,
}

impl Headroom {
    /// As the system tells now: available memory (proc_meminfo(5)), the limit of the
    /// control group (cgroups(7), version 2) and of the address space (setrlimit(2)), and
    /// the level from which the kernel is short of TCP memory (tcp(7): `tcp_mem`).
    pub fn now() -> Self {
        let available = kilobytes("/proc/meminfo", "MemAvailable:");
        let process = [available, cgroup_bytes(), address_space_bytes()];
        let tcp = fs::read_to_string("/proc/sys/net/ipv4/tcp_mem").ok();
        let pages = tcp.and_then(|text| text.split_ascii_whitespace().nth(1)?.parse().ok());
        let tcp = pages.map(|pages: usize| pages.saturating_mul(page_size()));
        let least = |bounds: &[Option<usize>]| bounds.iter().flatten().copied().min();
        let process_bytes = least(&process).unwrap_or(usize::MAX);
        Self {
            process_bytes,
            // A control group is charged for its sockets, too.
            tcp_bytes: least(&[tcp, Some(process_bytes)]).unwrap_or(usize::MAX),
        }
    }
}

/// What the limit of the address space leaves.
fn address_space_bytes() -> Option<usize> {
    let limit = getrlimit(Resource::As).current?;
    let used = kilobytes("/proc/self/status", "VmSize:").unwrap_or(0);
    Some(usize::try_from(limit).ok()?.saturating_sub(used))
}

/// What the limit of the control group leaves.
fn cgroup_bytes() -> Option<usize> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let group = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let directory = Path::new("/sys/fs/cgroup").join(group);
    let number = |name| -> Option<usize> {
        let text = fs::read_to_string(directory.join(name)).ok()?;
        text.trim().parse().ok()
    };
    // `max` where nothing is bounded.
    let limit = number("memory.max")?;
    Some(limit.saturating_sub(number("memory.current").unwrap_or(0)))
}

/// The value of the line that begins with `name`.
fn kilobytes(path: &str, name: &str) -> Option<usize> {
    let text = fs::read_to_string(path).ok()?;
    let value = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kilobytes: usize = value.split_ascii_whitespace().next()?.parse().ok()?;
    Some(kilobytes.saturating_mul(1024))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_that_runs_tests_has_some_memory() {
        let Headroom {
            process_bytes,
            tcp_bytes,
        } = Headroom::now();
        let some = 1024 * 1024;
        assert!(process_bytes > some && tcp_bytes > some);
        assert!(tcp_bytes <= process_bytes);
    }
}
