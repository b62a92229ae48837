//! A program under test: its pipes, its end, and what the kernel reports about it.

use std::collections::HashSet;
use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Once};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Resource, Rlimit, Signal, getrlimit, kill_process, pidfd_open, prlimit,
};

use super::lines::LineReader;
use super::{PATIENCE, eventually};

/// The binary under test. Cargo names it for tests and benches; examples build it themselves.
pub(crate) const CHAT: &str = match option_env!("CARGO_BIN_EXE_chat") {
    Some(path) => path,
    None => concat!(env!("CARGO_MANIFEST_DIR"), "/target/debug/chat"),
};

/// The environment variable that names another binary for the server tests, such as the release.
const UNDER_TEST: &str = "CHAT_UNDER_TEST";

const A_SECOND: Duration = Duration::from_secs(1);

/// `chat` with these arguments, its standard streams piped.
pub(crate) fn chat<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Command {
    let mut command = Command::new(under_test());
    command.args(arguments);
    piped(command)
}

/// The binary that the tests run: [`CHAT`], unless the environment names another.
pub(crate) fn under_test() -> OsString {
    env::var_os(UNDER_TEST).unwrap_or_else(|| CHAT.into())
}

/// `chat client`, connecting to `to`, which shows no times unless it is told to.
pub(crate) fn chat_client(to: SocketAddr) -> Command {
    chat_to("client", to, &["--no-time"])
}

/// A command that joins a room, connecting to `to`, with more arguments.
pub(crate) fn chat_to(command: &str, to: SocketAddr, arguments: &[&str]) -> Command {
    let (ip, port) = (to.ip().to_string(), to.port().to_string());
    chat([&[command, &ip, &port], arguments].concat())
}

/// Gives `command` a pipe for each of its standard streams, and hides from it what the
/// environment says of logs, of the user, and of a service manager that runs the tests.
pub(crate) fn piped(mut command: Command) -> Command {
    for variable in [
        "CHAT_NAME",
        "CHAT_ROOM",
        "HOME",
        "JOURNAL_STREAM",
        "LISTEN_FDS",
        "LOGNAME",
        "NOTIFY_SOCKET",
        "RUST_LOG",
        "STATE_DIRECTORY",
        "USER",
        "WATCHDOG_USEC",
        "XDG_STATE_HOME",
    ] {
        command.env_remove(variable);
    }
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// `command`, run by another program whose own arguments come first.
pub(crate) fn run_by(wrapper: &[&str], command: &Command) -> Command {
    let mut wrapped = Command::new(wrapper[0]);
    wrapped.args(&wrapper[1..]);
    wrapped.arg(command.get_program()).args(command.get_args());
    piped(wrapped)
}

static IGNORE_NO_SIGNAL: Once = Once::new();

/// Keeps programs from inheriting ignored signals, as set by a shell's background jobs or
/// nohup(1). A signal caught here is back at its default there (execve(2)); in this process
/// catching it changes nothing.
fn ignore_no_signal() {
    for signal in [Signal::HUP, Signal::INT, Signal::QUIT, Signal::TERM] {
        if is_ignored_here(signal) {
            let caught = Arc::new(AtomicBool::new(false));
            signal_hook::flag::register(signal.as_raw(), caught).expect("a signal to be caught");
        }
    }
}

fn is_ignored_here(signal: Signal) -> bool {
    let ignored = fs::read_to_string("/proc/self/status")
        .expect("proc(5)")
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .expect("a line `SigIgn: MASK` (proc_pid_status(5))");
    ignored & (1 << (signal.as_raw() - 1)) != 0
}

/// A running program, killed when dropped.
pub(crate) struct Process {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Option<LineReader<ChildStdout>>,
    stderr: Option<LineReader<ChildStderr>>,
}

/// What a program has done so far, and whether it sleeps.
#[derive(Debug, PartialEq)]
struct Activity {
    is_asleep: bool,
    cpu_ticks: u64,
    context_switches: Vec<String>,
}

/// What a program left behind.
pub(crate) struct Finished {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Process {
    #[track_caller]
    pub(crate) fn spawn(mut command: Command) -> Self {
        IGNORE_NO_SIGNAL.call_once(ignore_no_signal);
        let mut child = command.spawn().expect("a program that starts");
        Self {
            stdin: child.stdin.take(),
            stdout: child.stdout.take().map(LineReader::new),
            stderr: child.stderr.take().map(LineReader::new),
            child,
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Standard input; whoever takes it decides when it ends.
    pub(crate) fn take_stdin(&mut self) -> ChildStdin {
        self.stdin.take().expect("standard input is a pipe")
    }

    pub(crate) fn type_line(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().expect("standard input is a pipe");
        writeln!(stdin, "{line}").expect("a program that reads");
    }

    pub(crate) fn close_stdin(&mut self) {
        drop(self.take_stdin());
    }

    pub(crate) fn stdout(&mut self) -> &mut LineReader<ChildStdout> {
        self.stdout.as_mut().expect("standard output is a pipe")
    }

    pub(crate) fn stderr(&mut self) -> &mut LineReader<ChildStderr> {
        self.stderr.as_mut().expect("standard error is a pipe")
    }

    /// Closes the reading end of standard output, as `head -1` does.
    pub(crate) fn close_stdout(&mut self) {
        drop(self.stdout.take().expect("standard output is a pipe"));
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("a program that runs");
    }

    /// Stops the program once it sleeps, and returns when it has stopped.
    #[track_caller]
    pub(crate) fn stop(&self) {
        self.await_sleep();
        self.signal(Signal::STOP);
        self.await_stop();
    }

    /// Waits until the program has stopped.
    #[track_caller]
    pub(crate) fn await_stop(&self) {
        await_stop(self.pid());
    }

    /// Waits until the program sleeps.
    #[track_caller]
    pub(crate) fn await_sleep(&self) {
        self.await_state("S (sleeping)");
    }

    #[track_caller]
    fn await_state(&self, state: &str) {
        await_state(self.pid(), state);
    }

    pub(crate) fn is_running(&mut self) -> bool {
        let ended = self.child.try_wait().expect("a child of this process");
        ended.is_none()
    }

    /// The peak of resident memory, files included.
    pub(crate) fn peak_bytes(&self) -> usize {
        let peak = self.proc("status");
        let peak = peak.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kibibytes = peak.and_then(|peak| peak.trim().strip_suffix(" kB")?.parse().ok());
        let kibibytes: usize = kibibytes.expect("a line `VmHWM: … kB` (proc_pid_status(5))");
        kibibytes * 1024
    }

    /// Waits for the program to end.
    #[track_caller]
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let ended = self.ended_before(Instant::now() + PATIENCE);
        ended.expect("a program that ends in time")
    }

    /// Waits for the program to exit; a signal must not end it.
    #[track_caller]
    pub(crate) fn exit_code(&mut self) -> i32 {
        let status = self.wait();
        status
            .code()
            .unwrap_or_else(|| panic!("the program was ended by a signal: {status}"))
    }

    /// Waits for the program to end, and returns its unread output.
    #[track_caller]
    pub(crate) fn finish(&mut self) -> Finished {
        let stdout = self.stdout().rest();
        let stderr = self.stderr().rest();
        Finished {
            code: self.exit_code(),
            stdout,
            stderr,
        }
    }

    /// Expects the program to run until `moment`.
    #[track_caller]
    pub(crate) fn expect_to_run_until(&mut self, moment: Instant) {
        let ended = self.ended_before(moment);
        assert_eq!(ended, None, "the program ended too early");
    }

    /// Waits until the program ends, or until `deadline`.
    fn ended_before(&mut self, deadline: Instant) -> Option<ExitStatus> {
        loop {
            let ended = self.child.try_wait().expect("a child of this process");
            let time_left = deadline.saturating_duration_since(Instant::now());
            if ended.is_some() || time_left.is_zero() {
                return ended;
            }
            let pid = Pid::from_child(&self.child);
            let end = pidfd_open(pid, PidfdFlags::empty()).expect("a child not waited for");
            let timeout = Timespec::try_from(time_left).expect("a short duration");
            match poll(&mut [PollFd::new(&end, PollFlags::IN)], Some(&timeout)) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }

    pub(crate) fn descriptors(&self) -> usize {
        self.descriptor_numbers().len()
    }

    /// Lets the program open exactly `more` descriptors. Only its soft limit changes: undoing
    /// this needs no privileges.
    pub(crate) fn allow_more_descriptors(&self, more: usize) {
        let open = self.descriptor_numbers();
        // The limit is the first number that is refused.
        let first_refused = (0..).filter(|number| !open.contains(number)).nth(more);
        let limit = Rlimit {
            current: first_refused,
            maximum: getrlimit(Resource::Nofile).maximum,
        };
        prlimit(Some(Pid::from_child(&self.child)), Resource::Nofile, limit)
            .expect("a child of this process, and a limit below the hard one");
    }

    fn descriptor_numbers(&self) -> HashSet<u64> {
        fs::read_dir(format!("/proc/{}/fd", self.pid()))
            .expect("a program that runs")
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .collect()
    }

    pub(crate) fn threads(&self) -> usize {
        let folder = format!("/proc/{}/task", self.pid());
        fs::read_dir(folder).expect("a program that runs").count()
    }

    /// The program's private memory: heap and stacks, but no files.
    pub(crate) fn anonymous_bytes(&self) -> usize {
        anonymous_bytes(self.pid())
    }

    /// Expects the program to come to rest, and not to run once in the second after that.
    #[track_caller]
    pub(crate) fn expect_idle(&self) {
        self.expect_idle_for(A_SECOND);
    }

    /// [`expect_idle`](Self::expect_idle) for longer than a second.
    #[track_caller]
    pub(crate) fn expect_idle_for(&self, span: Duration) {
        let before = self.expect_settled(|before, now| before == now);
        // Time itself is tested: nothing happens in this span.
        thread::sleep(span);
        assert_eq!(self.activity(), before, "it ran within {span:?} of rest");
    }

    /// Expects the program to settle at next to no CPU time: it may check on something now and
    /// then, but does not spin.
    #[track_caller]
    pub(crate) fn expect_no_cpu_time(&self) {
        /// A hundredth of a second each. A spinning program takes more, even if it shares the
        /// CPU with ten others.
        const MOST_TICKS: u64 = 2;
        let is_next_to_none =
            |before: &Activity, now: &Activity| now.cpu_ticks - before.cpu_ticks <= MOST_TICKS;
        let before = self.expect_settled(is_next_to_none);
        // Time itself is tested: next to nothing happens in this second.
        thread::sleep(A_SECOND);
        let now = self.activity();
        assert!(is_next_to_none(&before, &now), "{before:?}, then {now:?}");
    }

    /// Waits until the program's activity is `quiet` for longer than any pause between two
    /// things it still has to do. It must sleep at both ends of that span: a program that waits
    /// for the CPU does nothing, either.
    #[track_caller]
    fn expect_settled(&self, quiet: impl Fn(&Activity, &Activity) -> bool) -> Activity {
        /// Presence is gathered for a second, and accepting pauses for a second.
        const SPAN: Duration = Duration::from_millis(1500);
        /// Longer than any grace that the program gives others.
        const SETTLING_TIME: Duration = Duration::from_secs(10);
        let deadline = Instant::now() + SETTLING_TIME;
        loop {
            let before = self.activity();
            // No event says that nothing more will happen.
            thread::sleep(SPAN);
            let now = self.activity();
            if before.is_asleep && now.is_asleep && quiet(&before, &now) {
                return now;
            }
            assert!(Instant::now() < deadline, "{before:?}, then {now:?}");
        }
    }

    fn activity(&self) -> Activity {
        Activity {
            is_asleep: self.proc("status").contains("State:\tS (sleeping)"),
            cpu_ticks: self.cpu_ticks(),
            context_switches: self.context_switches(),
        }
    }

    /// CPU time so far, as user and in the kernel (proc_pid_stat(5)).
    fn cpu_ticks(&self) -> u64 {
        const UTIME_AFTER_NAME: usize = 11;
        let stat = self.proc("stat");
        let (_, after_name) = stat.rsplit_once(')').expect("a name in brackets");
        after_name
            .split_whitespace()
            .skip(UTIME_AFTER_NAME)
            .take(2)
            .map(|ticks| ticks.parse::<u64>().expect("a number"))
            .sum()
    }

    /// Voluntary and involuntary context switches (proc_pid_status(5)).
    fn context_switches(&self) -> Vec<String> {
        let status = self.proc("status");
        let switches = status
            .lines()
            .filter(|line| line.contains("ctxt_switches:"));
        switches.map(str::to_owned).collect()
    }

    fn proc(&self, file: &str) -> String {
        proc(self.pid(), file)
    }
}

fn proc(pid: u32, file: &str) -> String {
    fs::read_to_string(format!("/proc/{pid}/{file}")).expect("a program that runs")
}

/// [`Process::await_stop`] by process ID.
#[track_caller]
pub(crate) fn await_stop(pid: u32) {
    await_state(pid, "T (stopped)");
}

#[track_caller]
fn await_state(pid: u32, state: &str) {
    let line = format!("State:\t{state}");
    eventually(&line, || proc(pid, "status").contains(&line).then_some(()));
}

/// [`Process::anonymous_bytes`] by process ID.
pub(crate) fn anonymous_bytes(pid: u32) -> usize {
    let memory = chat::platform::proc::Process::new(pid).memory();
    let bytes = memory.expect("a program that runs").anonymous_bytes;
    usize::try_from(bytes).expect("it fits into memory")
}

impl Drop for Process {
    /// Kills the program. If the test is failing, the program's standard error may say why.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking()
            && let Some(stderr) = &mut self.stderr
        {
            while let Ok(Some(line)) = stderr.read_line() {
                eprintln!("standard error of the program: {line}");
            }
        }
    }
}
