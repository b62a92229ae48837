//! A process's CPU time, memory, ignored signals and resource limits (proc(5),
//! setrlimit(2)).

use std::fs;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use rustix::param::clock_ticks_per_second;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use signal_hook::consts::SIGXFSZ;
use signal_hook::flag;

/// A process, by its PID.
#[derive(Clone, Copy, Debug)]
pub struct Process {
    pid: u32,
}

/// The memory of a process, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// Resident memory without files: heap and stack.
    pub anonymous_bytes: u64,
    /// All resident memory, files included.
    pub resident_bytes: u64,
}

impl Process {
    /// The process with this PID. It need not exist.
    pub fn new(pid: u32) -> Self {
        Self { pid }
    }

    /// The CPU time of the process's live threads, by the scheduler's accounting; threads
    /// that have ended do not count. Where the kernel keeps no such accounts, as OpenWrt's, that of
    /// the process in ticks of its clock.
    ///
    /// # Errors
    ///
    /// If there is no such process, or no /proc.
    pub fn cpu(&self) -> io::Result<Duration> {
        match self.scheduled() {
            Err(e) if e.kind() == io::ErrorKind::NotFound => self.ticked(),
            scheduled => scheduled,
        }
    }

    fn ticked(&self) -> io::Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid))?;
        // `PID (NAME) STATE ...`, where NAME may contain anything.
        let fields = stat.rsplit_once(')').map(|(_, fields)| fields);
        // proc_pid_stat(5): utime, stime.
        let mut ticks = fields.unwrap_or_default().split_ascii_whitespace().skip(11);
        let mut next = || -> Option<u64> { ticks.next()?.parse().ok() };
        let (user, system) = next().zip(next()).ok_or_else(unreadable)?;
        let millis = 1000 * (user + system) / clock_ticks_per_second();
        Ok(Duration::from_millis(millis))
    }

    fn scheduled(&self) -> io::Result<Duration> {
        let mut nanos = 0;
        // The first thread lives as long as the process, or is kept until all have ended.
        fs::metadata(format!("/proc/{}/schedstat", self.pid))?;
        for thread in fs::read_dir(format!("/proc/{}/task", self.pid))? {
            let path = thread?.path().join("schedstat");
            match fs::read_to_string(path) {
                Ok(text) => nanos += first_number(&text).ok_or_else(unreadable)?,
                // The thread has just ended.
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) if Errno::from_io_error(&e) == Some(Errno::SRCH) => {}
                Err(e) => return Err(e),
            }
        }
        Ok(Duration::from_nanos(nanos))
    }

    /// The process's current memory: from smaps_rollup, or where the kernel is built without,
    /// as OpenWrt's, from what it counts as it goes, which may be some pages off.
    ///
    /// # Errors
    ///
    /// If there is no such process, it belongs to another user, or there is no /proc.
    pub fn memory(&self) -> io::Result<Memory> {
        match self.memory_of("smaps_rollup", ["Anonymous:", "Rss:"]) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => self.counted_memory(),
            memory => memory,
        }
    }

    fn counted_memory(&self) -> io::Result<Memory> {
        self.memory_of("status", ["RssAnon:", "VmRSS:"])
    }

    fn memory_of(&self, file: &str, [anonymous, resident]: [&str; 2]) -> io::Result<Memory> {
        let text = fs::read_to_string(format!("/proc/{}/{file}", self.pid))?;
        Ok(Memory {
            anonymous_bytes: kilobytes(&text, anonymous).ok_or_else(unreadable)? * 1024,
            resident_bytes: kilobytes(&text, resident).ok_or_else(unreadable)? * 1024,
        })
    }
}

/// Raises this process's soft limit of open descriptors to the hard limit, and returns that.
///
/// # Errors
///
/// Those of setrlimit(2).
pub fn raise_descriptor_limit() -> io::Result<usize> {
    let most = getrlimit(Resource::Nofile).maximum;
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: most,
            maximum: most,
        },
    )?;
    Ok(count(most))
}

/// This process's soft limit of open descriptors.
pub(crate) fn descriptor_limit() -> usize {
    count(getrlimit(Resource::Nofile).current)
}

/// `None`: no limit.
fn count(limit: Option<u64>) -> usize {
    limit.map_or(usize::MAX, |limit| {
        usize::try_from(limit).unwrap_or(usize::MAX)
    })
}

/// Has a write beyond the file-size limit (`ulimit -f`, systemd's `LimitFSIZE=`) fail with
/// EFBIG. By default the kernel ends the process with SIGXFSZ instead.
///
/// # Errors
///
/// Those of sigaction(2).
pub fn survive_file_size_limit() -> io::Result<()> {
    // Nobody reads the flag: the error of write(2) tells as much.
    flag::register(SIGXFSZ, Arc::default()).map(drop)
}

/// Whether this process ignores `signal`, as after nohup(1). False if /proc is unavailable, as on
/// other systems.
pub(crate) fn is_ignored(signal: i32) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mut lines = status.lines();
    let mask = lines.find_map(|line| line.strip_prefix("SigIgn:"));
    // Bit 0 is for signal 1.
    let bits = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    bits.is_some_and(|bits| bits >> (signal - 1) & 1 == 1)
}

/// The number in the line that begins with `name`.
fn kilobytes(text: &str, name: &str) -> Option<u64> {
    first_number(text.lines().find_map(|line| line.strip_prefix(name))?)
}

fn first_number(text: &str) -> Option<u64> {
    text.split_ascii_whitespace().next()?.parse().ok()
}

fn unreadable() -> io::Error {
    io::Error::other("unexpected format in /proc")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measures_this_process() {
        let own = Process::new(std::process::id());
        let memory = own.memory().unwrap();
        assert!(memory.anonymous_bytes > 0);
        assert!(memory.resident_bytes >= memory.anonymous_bytes);
        let before = own.cpu().unwrap();
        let mut sum = 0_u64;
        while own.cpu().unwrap() <= before {
            sum = std::hint::black_box(sum + 1);
        }
    }

    #[test]
    fn a_kernel_without_its_accounts_tells_much_the_same() {
        let own = Process::new(std::process::id());
        let (exact, counted) = (own.memory().unwrap(), own.counted_memory().unwrap());
        let is_near = |a: u64, b: u64| a.abs_diff(b) < a.max(b) / 4;
        assert!(is_near(exact.anonymous_bytes, counted.anonymous_bytes));
        assert!(is_near(exact.resident_bytes, counted.resident_bytes));
        let begun = own.ticked().unwrap();
        let mut sum = 0_u64;
        while own.ticked().unwrap() <= begun {
            sum = std::hint::black_box(sum + 1);
        }
        assert!(own.ticked().unwrap() < begun + Duration::from_secs(60));
    }

    #[test]
    fn a_missing_process_is_an_error() {
        // Above the kernel's maximum PID, proc_sys_kernel(5).
        let none = Process::new(1 << 23);
        assert_eq!(none.cpu().unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(none.memory().unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
