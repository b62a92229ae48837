//! The job that this process belongs to, as a shell sees it (credentials(7)): whether it has
//! the foreground of its terminal, and whether it can be stopped and go on.

use std::fs;
use std::os::fd::BorrowedFd;
use std::process;

use rustix::io::Errno;
use rustix::termios::tcgetpgrp;
use signal_hook::consts::SIGTSTP;

use crate::platform::proc::is_ignored;

/// Where this process stands among those of its terminal, by their numbers. A group or session
/// whose leader is outside of our PID namespace has the number 0 (pid_namespaces(7)), which
/// getsid(2) and getpgrp(2) answer as well; rustix takes that for impossible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Job {
    group: i32,
    session: i32,
    /// The group that has the terminal's foreground. -1 without a terminal.
    foreground: i32,
}

impl Job {
    /// That of this process. `None` when the kernel does not tell.
    fn own() -> Option<Self> {
        Self::parse(&fs::read_to_string("/proc/self/stat").ok()?)
    }

    /// Reads a line of proc_pid_stat(5).
    fn parse(stat: &str) -> Option<Self> {
        // `PID (NAME) STATE PARENT GROUP SESSION TERMINAL FOREGROUND ...`, and a name may have
        // anything in it.
        let (_, fields) = stat.rsplit_once(')')?;
        let mut numbers = fields.split_ascii_whitespace().map(str::parse);
        Some(Self {
            group: numbers.nth(2)?.ok()?,
            session: numbers.next()?.ok()?,
            foreground: numbers.nth(1)?.ok()?,
        })
    }
}

/// Whether this process has the foreground of the terminal `fd`. Without that it is stopped when
/// it reads there (termios(3): SIGTTIN), or sets the mode (SIGTTOU). `None` when `fd` is not the
/// terminal of its session.
pub(crate) fn has_foreground(fd: BorrowedFd<'_>) -> Option<bool> {
    // An error: it is another session's terminal, or none at all. But OPNOTSUPP is how rustix
    // tells of a group that is outside of our PID namespace.
    match tcgetpgrp(fd) {
        Ok(_) | Err(Errno::OPNOTSUPP) => {}
        Err(_) => return None,
    }
    Some(Job::own().is_none_or(|job| job.foreground == job.group))
}

/// Whether there is a shell that can have this process go on after it was stopped: not if it is
/// its session's first, or of that one's group, or if the shell has said so.
pub(crate) fn can_be_resumed() -> bool {
    let is_first = Job::own().is_some_and(|job| job.session == job.group);
    !is_first && !is_init() && !is_ignored(SIGTSTP)
}

/// Whether this process is the first of its PID namespace, as of a container: then it is ended
/// and stopped by no signal of its own that it does not catch (pid_namespaces(7)).
pub(crate) fn is_init() -> bool {
    process::id() == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_read_whatever_the_process_is_called() {
        let job = Job::parse;
        let typed = "28960 (cat) R 28958 28958 28276 34816 28958 4194304 99 0";
        let expected = Job {
            group: 28958,
            session: 28276,
            foreground: 28958,
        };
        assert_eq!(job(typed), Some(expected));
        assert_eq!(job(&typed.replace("cat", "a) R 1 2 3")), Some(expected));
        assert_eq!(job("28960 (cat) R 28958 28958"), None);
        assert_eq!(job("28960"), None);
        assert_eq!(job(""), None);
    }

    #[test]
    fn leaders_may_be_out_of_sight() {
        let expected = Job {
            group: 0,
            session: 0,
            foreground: -1,
        };
        assert_eq!(Job::parse("1 (chat) S 0 0 0 0 -1 4194560"), Some(expected));
    }

    #[test]
    fn this_process_has_a_job() {
        assert!(Job::own().is_some());
    }

    #[test]
    fn what_is_no_terminal_has_no_foreground() {
        let file = fs::File::open("/dev/null").unwrap();
        assert_eq!(has_foreground(std::os::fd::AsFd::as_fd(&file)), None);
    }
}
