//! What a process costs, how it was started and what it may open: /proc (proc(5)) and
//! its limits.

use std::fs;
use std::io;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// A process, by its number.
#[derive(Clone, Copy, Debug)]
pub struct Process {
    pid: u32,
}

/// The memory of a process, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// Its own: not of files, and really there.
    pub anonymous_bytes: u64,
    /// All of it that is really there.
    pub resident_bytes: u64,
}

impl Process {
    /// The process with the number `pid`.
    pub fn new(pid: u32) -> Self {
        Self { pid }
    }

    /// The time that its threads have spent on a CPU, by the scheduler's own
    /// accounting. Threads that have ended are not counted any more.
    ///
    /// # Errors
    ///
    /// When there is no such process, or the kernel does not keep accounts.
    pub fn cpu(&self) -> io::Result<Duration> {
        let mut nanos = 0;
        for thread in fs::read_dir(format!("/proc/{}/task", self.pid))? {
            let path = thread?.path().join("schedstat");
            match fs::read_to_string(path) {
                Ok(text) => nanos += first_number(&text).ok_or_else(unreadable)?,
                // A thread that has just ended.
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) if Errno::from_io_error(&e) == Some(Errno::SRCH) => {}
                Err(e) => return Err(e),
            }
        }
        Ok(Duration::from_nanos(nanos))
    }

    /// The memory it has now.
    ///
    /// # Errors
    ///
    /// When there is no such process, or it belongs to somebody else.
    pub fn memory(&self) -> io::Result<Memory> {
        let text = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.pid))?;
        Ok(Memory {
            anonymous_bytes: kilobytes(&text, "Anonymous:").ok_or_else(unreadable)? * 1024,
            resident_bytes: kilobytes(&text, "Rss:").ok_or_else(unreadable)? * 1024,
        })
    }
}

/// Lets this process open as many descriptors as it may at all, and returns how
/// many those are.
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
    Ok(most.map_or(usize::MAX, |most| {
        usize::try_from(most).unwrap_or(usize::MAX)
    }))
}

/// Whether this process was started with `signal` ignored, and nothing has been made of
/// it since. False when the kernel does not tell.
pub(crate) fn is_ignored(signal: i32) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mut lines = status.lines();
    let mask = lines.find_map(|line| line.strip_prefix("SigIgn:"));
    // Bit 0 is for signal 1.
    let bits = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    bits.is_some_and(|bits| bits >> (signal - 1) & 1 == 1)
}

/// The value of the line that begins with `name`.
fn kilobytes(text: &str, name: &str) -> Option<u64> {
    first_number(text.lines().find_map(|line| line.strip_prefix(name))?)
}

fn first_number(text: &str) -> Option<u64> {
    text.split_ascii_whitespace().next()?.parse().ok()
}

fn unreadable() -> io::Error {
    io::Error::other("/proc has it in a form that is not known here")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_its_own_figures() {
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
    fn there_is_not_every_process() {
        // Above the greatest that the kernel gives, proc_sys_kernel(5).
        let none = Process::new(1 << 23);
        assert_eq!(none.cpu().unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(none.memory().unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
