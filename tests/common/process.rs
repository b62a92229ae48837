//! A program under test: its pipes, its end, and what the kernel says of it.

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

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, prlimit};

use super::lines::LineReader;
use super::{LOOK_EVERY, eventually};

/// The binary under test. Cargo names it to tests; an example builds it by itself.
pub(crate) const CHAT: &str = match option_env!("CARGO_BIN_EXE_chat") {
    Some(path) => path,
    None => concat!(env!("CARGO_MANIFEST_DIR"), "/target/debug/chat"),
};

/// The environment variable that names another binary to put under the server tests, such as
/// the one that is released.
const UNDER_TEST: &str = "CHAT_UNDER_TEST";

const A_SECOND: Duration = Duration::from_secs(1);

/// `chat` with these arguments, a pipe for each of its standard streams.
pub(crate) fn chat<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Command {
    let mut command = Command::new(under_test());
    command.args(arguments);
    piped(command)
}

/// The binary that the tests run: [`CHAT`], unless the environment names another.
pub(crate) fn under_test() -> OsString {
    env::var_os(UNDER_TEST).unwrap_or_else(|| CHAT.into())
}

/// `chat client`, bound for `to`.
pub(crate) fn chat_client(to: SocketAddr) -> Command {
    chat_to("client", to, &[])
}

/// One of the commands that join a room, bound for `to`, with more arguments.
pub(crate) fn chat_to(command: &str, to: SocketAddr, arguments: &[&str]) -> Command {
    let (ip, port) = (to.ip().to_string(), to.port().to_string());
    chat([&[command, &ip, &port], arguments].concat())
}

/// Gives `command` a pipe for each of its standard streams, and hides from it what the
/// environment says of logs, and of a service manager that runs the tests.
pub(crate) fn piped(mut command: Command) -> Command {
    for variable in [
        "JOURNAL_STREAM",
        "LISTEN_FDS",
        "NOTIFY_SOCKET",
        "RUST_LOG",
        "WATCHDOG_USEC",
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

/// Has no program inherit that signals are ignored, as those do that a shell runs in the
/// background, or nohup(1). A signal that is caught here is back at its default there
/// (execve(2)); to this process it makes no difference.
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

/// What a program has done so far, and whether it does something now.
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

    /// Standard input, to be written to; a caller who takes it decides when it ends.
    pub(crate) fn take_stdin(&mut self) -> ChildStdin {
        self.stdin.take().expect("standard input is a pipe")
    }

    /// Types one line.
    pub(crate) fn type_line(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().expect("standard input is a pipe");
        writeln!(stdin, "{line}").expect("a program that reads");
    }

    /// Ends standard input.
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

    /// Stops the program once it waits for something, and returns when it stands
    /// still.
    #[track_caller]
    pub(crate) fn stop(&self) {
        self.await_sleep();
        self.signal(Signal::STOP);
        self.await_stop();
    }

    /// Waits until the program stands still.
    #[track_caller]
    pub(crate) fn await_stop(&self) {
        await_stop(self.pid());
    }

    /// Waits until the program waits for something.
    #[track_caller]
    pub(crate) fn await_sleep(&self) {
        self.await_state("S (sleeping)");
    }

    #[track_caller]
    fn await_state(&self, state: &str) {
        await_state(self.pid(), state);
    }

    /// Whether the program has not ended yet.
    pub(crate) fn is_running(&mut self) -> bool {
        let ended = self.child.try_wait().expect("a child of this process");
        ended.is_none()
    }

    /// The most memory that the program has ever had, files included.
    pub(crate) fn peak_bytes(&self) -> usize {
        let peak = self.proc("status");
        let peak = peak.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kibibytes = peak.and_then(|peak| peak.trim().strip_suffix(" kB")?.parse().ok());
        let kibibytes: usize = kibibytes.expect("a line `VmHWM: … kB` (proc_pid_status(5))");
        kibibytes * 1024
    }

    /// Waits for the end of the program.
    #[track_caller]
    pub(crate) fn wait(&mut self) -> ExitStatus {
        eventually("the program to end", || {
            self.child.try_wait().expect("a child of this process")
        })
    }

    /// Waits for the end of the program, which must not be a signal's doing.
    #[track_caller]
    pub(crate) fn exit_code(&mut self) -> i32 {
        let status = self.wait();
        status
            .code()
            .unwrap_or_else(|| panic!("the program was ended by a signal: {status}"))
    }

    /// Waits for the end of the program; what it wrote and nobody has read yet
    /// comes with it.
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

    /// Expects that the program does not end before `moment`.
    #[track_caller]
    pub(crate) fn expect_to_run_until(&mut self, moment: Instant) {
        while Instant::now() < moment {
            let ended = self.child.try_wait().expect("a child of this process");
            assert_eq!(ended, None, "the program ended after all");
            thread::sleep(LOOK_EVERY);
        }
    }

    /// How many descriptors the program has open.
    pub(crate) fn descriptors(&self) -> usize {
        self.descriptor_numbers().len()
    }

    /// Lets the program open exactly so many more descriptors. Only its soft limit
    /// changes, so that nobody needs privileges to take this back.
    pub(crate) fn allow_more_descriptors(&self, more: usize) {
        let open = self.descriptor_numbers();
        // The limit is the first number that cannot be had.
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

    /// How many threads the program has.
    pub(crate) fn threads(&self) -> usize {
        let folder = format!("/proc/{}/task", self.pid());
        fs::read_dir(folder).expect("a program that runs").count()
    }

    /// The memory the program has for itself alone: heap and stacks, but no file.
    pub(crate) fn anonymous_bytes(&self) -> usize {
        anonymous_bytes(self.pid())
    }

    /// Expects that the program comes to rest, and is not run once in the second after that.
    #[track_caller]
    pub(crate) fn expect_idle(&self) {
        self.expect_idle_for(A_SECOND);
    }

    /// [`expect_idle`](Self::expect_idle) for longer than a second.
    #[track_caller]
    pub(crate) fn expect_idle_for(&self, span: Duration) {
        let before = self.expect_settled(|before, now| before == now);
        thread::sleep(span);
        assert_eq!(
            self.activity(),
            before,
            "it was run within {span:?} of rest"
        );
    }

    /// Expects that the program comes to a state in which it takes next to no CPU time: it may
    /// look after something now and then, but does not spin.
    #[track_caller]
    pub(crate) fn expect_no_cpu_time(&self) {
        /// A hundredth of a second each. A spinning program takes more, even if it has to
        /// share the CPU with ten others.
        const MOST_TICKS: u64 = 2;
        let is_next_to_none =
            |before: &Activity, now: &Activity| now.cpu_ticks - before.cpu_ticks <= MOST_TICKS;
        let before = self.expect_settled(is_next_to_none);
        thread::sleep(A_SECOND);
        let now = self.activity();
        assert!(is_next_to_none(&before, &now), "{before:?}, then {now:?}");
    }

    /// Waits until what the program does is `quiet` for longer than any pause between two
    /// things that it has yet to do. It has to begin and end that span asleep: who waits for
    /// the CPU does nothing either.
    #[track_caller]
    fn expect_settled(&self, quiet: impl Fn(&Activity, &Activity) -> bool) -> Activity {
        /// The window in which presence is gathered, and the pause of accepting, are a second.
        const SPAN: Duration = Duration::from_millis(1500);
        /// Longer than any time that the program allows others, and some more.
        const SETTLING_TIME: Duration = Duration::from_secs(10);
        let deadline = Instant::now() + SETTLING_TIME;
        loop {
            let before = self.activity();
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

    /// CPU time taken so far, as user and in the kernel (proc_pid_stat(5)).
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

    /// How often the program was put to sleep or set aside (proc_pid_status(5)).
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

/// [`Process::await_stop`] of the program with this number.
#[track_caller]
pub(crate) fn await_stop(pid: u32) {
    await_state(pid, "T (stopped)");
}

#[track_caller]
fn await_state(pid: u32, state: &str) {
    let line = format!("State:\t{state}");
    eventually(&line, || proc(pid, "status").contains(&line).then_some(()));
}

/// [`Process::anonymous_bytes`] of the program with this number.
pub(crate) fn anonymous_bytes(pid: u32) -> usize {
    let memory = chat::platform::proc::Process::new(pid).memory();
    let bytes = memory.expect("a program that runs").anonymous_bytes;
    usize::try_from(bytes).expect("it fits into memory")
}

impl Drop for Process {
    /// Ends the program. If the test is failing, its standard error may tell why.
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
