//! Job control (credentials(7)): whether this process is in the foreground of its terminal,
//! and whether a shell could resume it after a stop.

use std::fs;
use std::os::fd::BorrowedFd;
use std::process;

use rustix::io::Errno;
use rustix::process::{
    Pid, Signal, getpgrp, getpid, getsid, kill_current_process_group, kill_process,
};
use rustix::stdio::stdin;
use rustix::termios::tcgetpgrp;
use signal_hook::consts::SIGTSTP;

use crate::platform::proc::is_ignored;
use crate::platform::system::IS_LINUX;

/// The process group and session of this process, and its terminal's foreground group. The ID
/// is 0 if the leader is outside our PID namespace (pid_namespaces(7)). getsid(2) and
/// getpgrp(2) return 0 as well then, which rustix treats as impossible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Job {
    group: i32,
    session: i32,
    /// -1 without a terminal.
    foreground: i32,
}

impl Job {
    /// Of this process, by /proc. `None` if that is unavailable.
    fn told() -> Option<Self> {
        Self::parse(&fs::read_to_string("/proc/self/stat").ok()?)
    }

    /// Of this process, whose terminal may be `fd`, by POSIX's calls: for systems without PID
    /// namespaces.
    fn asked(fd: BorrowedFd<'_>) -> Option<Self> {
        let session = getsid(None).ok()?;
        Some(Self {
            group: Pid::as_raw(Some(getpgrp())),
            session: Pid::as_raw(Some(session)),
            foreground: tcgetpgrp(fd).map_or(-1, |group| Pid::as_raw(Some(group))),
        })
    }

    fn own(fd: BorrowedFd<'_>) -> Option<Self> {
        if IS_LINUX {
            Self::told()
        } else {
            Self::asked(fd)
        }
    }

    /// Parses a line of proc_pid_stat(5).
    fn parse(stat: &str) -> Option<Self> {
        // `PID (NAME) STATE PARENT GROUP SESSION TERMINAL FOREGROUND ...`, where NAME may
        // contain anything.
        let (_, fields) = stat.rsplit_once(')')?;
        let mut numbers = fields.split_ascii_whitespace().map(str::parse);
        Some(Self {
            group: numbers.nth(2)?.ok()?,
            session: numbers.next()?.ok()?,
            foreground: numbers.nth(1)?.ok()?,
        })
    }
}

/// Which processes a signal is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SignalTarget {
    /// This process alone, which received it.
    Process,
    /// The terminal's foreground group: its key was typed.
    Foreground,
}

impl SignalTarget {
    /// Sends `signal` as the kernel would. A process may always signal itself and its group.
    pub(crate) fn send(self, signal: Signal) {
        let is_in_foreground = || has_foreground(stdin()) == Some(true);
        let _ = match self {
            Self::Foreground if is_in_foreground() => kill_current_process_group(signal),
            _ => kill_process(getpid(), signal),
        };
    }
}

/// Whether this process is in the foreground of the terminal `fd`. In the background, the kernel
/// stops it when it reads there (termios(3): SIGTTIN) or sets the mode (SIGTTOU). `None` if `fd`
/// is not the terminal of its session.
pub(crate) fn has_foreground(fd: BorrowedFd<'_>) -> Option<bool> {
    // An error means another session's terminal, or no terminal. Only OPNOTSUPP is how rustix
    // reports a group outside our PID namespace.
    match tcgetpgrp(fd) {
        Ok(_) | Err(Errno::OPNOTSUPP) => {}
        Err(_) => return None,
    }
    Some(Job::own(fd).is_none_or(|job| job.foreground == job.group))
}

/// Whether a shell can resume this process after a stop: not if it is in the group of the session
/// leader, or ignores SIGTSTP, as a shell without job control has it do.
pub(crate) fn can_be_resumed() -> bool {
    let is_first = Job::own(stdin()).is_some_and(|job| job.session == job.group);
    !is_first && !is_init() && !is_ignored(SIGTSTP)
}

/// Whether this process is the init of its PID namespace, as in a container: signals from within
/// the namespace that it does not handle neither end nor stop it (pid_namespaces(7)).
pub(crate) fn is_init() -> bool {
    process::id() == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_jobs_with_any_process_name() {
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
    fn leaders_may_be_outside_the_namespace() {
        let expected = Job {
            group: 0,
            session: 0,
            foreground: -1,
        };
        assert_eq!(Job::parse("1 (chat) S 0 0 0 0 -1 4194560"), Some(expected));
    }

    #[test]
    fn the_calls_tell_what_proc_does() {
        let told = Job::told().expect("/proc");
        let is_in_here = told.group > 0 && told.session > 0;
        // They cannot be asked where a leader is outside the namespace.
        if is_in_here {
            let asked = Job::asked(stdin()).expect("a session");
            assert_eq!((asked.group, asked.session), (told.group, told.session));
            if asked.foreground >= 0 {
                assert_eq!(asked.foreground, told.foreground);
            }
        }
    }

    #[test]
    fn a_file_has_no_foreground() {
        let file = fs::File::open("/dev/null").unwrap();
        assert_eq!(has_foreground(std::os::fd::AsFd::as_fd(&file)), None);
    }
}
