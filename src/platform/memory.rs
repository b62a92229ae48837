//! How much memory this process may come to use: of its own, and of the kernel's for TCP.

use std::fs;
use std::path::Path;

use rustix::param::page_size;
use rustix::process::{Resource, getrlimit};

use crate::platform::system::IS_LINUX;

/// Memory of a system that does not tell what it has, as other systems than Linux: enough for a
/// full room, and little beside the memory of any machine that such a system runs on.
const UNTOLD_BYTES: usize = 256 * 1024 * 1024;

/// What is there to be used, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Headroom {
    /// Memory of the process and of the kernel on its behalf.
    pub machine_bytes: usize,
    /// Memory of the process itself.
    pub process_bytes: usize,
    /// Socket buffers of the kernel, all processes together.
    pub tcp_bytes: usize,
}

impl Headroom {
    /// As the system tells now: available memory (proc_meminfo(5)), the limit of the
    /// control group (cgroups(7)) and of the address space (setrlimit(2)), and
    /// the level from which the kernel is short of TCP memory (tcp(7): `tcp_mem`).
    pub fn now() -> Self {
        let available = kilobytes("/proc/meminfo", "MemAvailable:").filter(|_| IS_LINUX);
        let tcp = fs::read_to_string("/proc/sys/net/ipv4/tcp_mem").ok();
        let pages = tcp.and_then(|text| text.split_ascii_whitespace().nth(1)?.parse().ok());
        let tcp = pages.map(|pages: usize| pages.saturating_mul(page_size()));
        Self::within(available, cgroup_bytes(), address_space_bytes(), tcp)
    }

    fn within(
        available: Option<usize>,
        cgroup: Option<usize>,
        address_space: Option<usize>,
        tcp: Option<usize>,
    ) -> Self {
        let below = |most: usize, limit: Option<usize>| limit.map_or(most, |it| it.min(most));
        // A control group is charged for its sockets, too.
        let machine_bytes = below(available.unwrap_or(UNTOLD_BYTES), cgroup);
        let process_bytes = below(machine_bytes, address_space);
        Self {
            machine_bytes,
            process_bytes,
            tcp_bytes: below(process_bytes, tcp),
        }
    }
}

/// What the limit of the address space leaves.
fn address_space_bytes() -> Option<usize> {
    let limit = getrlimit(Resource::As).current?;
    let used = kilobytes("/proc/self/status", "VmSize:").unwrap_or(0);
    Some(usize::try_from(limit).ok()?.saturating_sub(used))
}

/// Where a hierarchy of control groups is mounted, what begins the line of proc_pid_cgroup(5)
/// that has our place in it, and the files of its limit and usage.
struct Hierarchy {
    prefix: &'static str,
    root: &'static str,
    limit: &'static str,
    usage: &'static str,
}

/// Version 2, and version 1, which older and smaller systems have.
const HIERARCHIES: [Hierarchy; 2] = [
    Hierarchy {
        prefix: "0::/",
        root: "/sys/fs/cgroup",
        limit: "memory.max",
        usage: "memory.current",
    },
    Hierarchy {
        prefix: "memory:/",
        root: "/sys/fs/cgroup/memory",
        limit: "memory.limit_in_bytes",
        usage: "memory.usage_in_bytes",
    },
];

/// What the limits of our control group and of those around it leave.
fn cgroup_bytes() -> Option<usize> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    HIERARCHIES.iter().filter_map(|it| it.left(&groups)).min()
}

impl Hierarchy {
    fn left(&self, groups: &str) -> Option<usize> {
        // Of version 1 the line begins with a number and a colon.
        let line = groups.lines().find_map(|line| {
            let numbered = line.split_once(':').map(|(_, rest)| rest);
            let line = line.strip_prefix(self.prefix);
            line.or_else(|| numbered?.strip_prefix(self.prefix))
        })?;
        let group = Path::new(self.root).join(line);
        let groups = group.ancestors().take_while(|it| it.starts_with(self.root));
        let left = groups.filter_map(|group| {
            let number = |name| -> Option<usize> {
                let text = fs::read_to_string(group.join(name)).ok()?;
                text.trim().parse().ok()
            };
            // `max` where nothing is bounded.
            let limit = number(self.limit)?;
            Some(limit.saturating_sub(number(self.usage).unwrap_or(0)))
        });
        left.min()
    }
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
    fn the_least_bound_holds_and_there_is_one_where_nothing_is_told() {
        let of = |available, cgroup, address_space, tcp| {
            let headroom = Headroom::within(available, cgroup, address_space, tcp);
            [
                headroom.machine_bytes,
                headroom.process_bytes,
                headroom.tcp_bytes,
            ]
        };
        assert_eq!(of(Some(70), Some(60), Some(50), Some(40)), [60, 50, 40]);
        assert_eq!(of(Some(70), None, Some(80), Some(90)), [70; 3]);
        assert_eq!(of(None, None, None, None), [UNTOLD_BYTES; 3]);
        assert_eq!(of(None, Some(60), None, None), [60; 3]);
    }

    #[test]
    fn a_machine_that_runs_tests_has_some_memory() {
        let Headroom {
            machine_bytes,
            process_bytes,
            tcp_bytes,
        } = Headroom::now();
        let some = 1024 * 1024;
        assert!(process_bytes > some && tcp_bytes > some);
        assert!(tcp_bytes <= process_bytes && process_bytes <= machine_bytes);
    }
}
