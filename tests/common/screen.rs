//! A terminal and a person in front of it, who types keys and sees what is shown.

use std::io::Read;
use std::num::NonZero;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{OFlags, fcntl_getfl};
use rustix::process::Signal;
use rustix::termios::{OptionalActions, Termios, Winsize, tcgetattr, tcsetattr, tcsetwinsize};
use vt100::MouseProtocolMode;

use super::process::Process;
use super::pty::{Keyboard, open_terminal};
use super::{LOOK_EVERY, PATIENCE};

/// A terminal, and what it shows.
pub(crate) struct Screen {
    keyboard: Keyboard,
    terminal: OwnedFd,
    emulator: vt100::Parser,
    /// Everything written to it.
    written: Vec<u8>,
}

impl Screen {
    pub(crate) fn new(columns: u16, rows: u16) -> Self {
        let (keyboard, terminal) = open_terminal();
        let screen = Self {
            keyboard: keyboard.into_inner(),
            terminal,
            emulator: vt100::Parser::new(nonzero(rows), nonzero(columns), 0),
            written: Vec::new(),
        };
        screen.set_size(columns, rows);
        screen
    }

    /// Runs `command` there as a job of its own, as a shell does: it can be stopped, whatever
    /// group and session the tests run in.
    #[track_caller]
    pub(crate) fn run(&self, mut command: Command) -> Process {
        command.stdin(self.side()).stdout(self.side());
        self.run_with_own_streams(command)
    }

    /// [`run`](Self::run) with the standard streams of `command` itself.
    #[track_caller]
    pub(crate) fn run_with_own_streams(&self, mut command: Command) -> Process {
        command.env("TERM", "xterm-256color").env_remove("NO_COLOR");
        command.process_group(0);
        Process::spawn(command)
    }

    /// The slave side, for a standard stream of a program.
    pub(crate) fn side(&self) -> Stdio {
        self.terminal.try_clone().expect("a free descriptor").into()
    }

    /// Types or pastes any amount.
    pub(crate) fn type_keys(&self, keys: &str) {
        // More would not be taken while nobody reads.
        const AT_ONCE: usize = 256;
        for chunk in keys.as_bytes().chunks(AT_ONCE) {
            self.keyboard.type_bytes(chunk);
        }
    }

    /// Changes the size as a window manager would, and notifies `program`.
    pub(crate) fn resize(&mut self, columns: u16, rows: u16, program: &Process) {
        self.set_size(columns, rows);
        let screen = self.emulator.screen_mut();
        screen.set_size(nonzero(rows), nonzero(columns));
        program.signal(Signal::WINCH);
    }

    /// Waits until the rows, without trailing spaces, are as wanted.
    #[track_caller]
    pub(crate) fn expect(&mut self, what: &str, is_so: impl Fn(&[String]) -> bool) {
        self.expect_within(PATIENCE, what, is_so);
    }

    /// [`expect`](Self::expect) with a patience of its own.
    #[track_caller]
    pub(crate) fn expect_within(
        &mut self,
        patience: Duration,
        what: &str,
        is_so: impl Fn(&[String]) -> bool,
    ) {
        let deadline = Instant::now() + patience;
        while !is_so(&self.rows()) {
            if !self.read_before(deadline) {
                let shown = self.rows().join("\n");
                panic!("waited too long for {what}; shown is:\n{shown}\n");
            }
        }
    }

    /// Waits until the last non-empty row is `row`.
    #[track_caller]
    pub(crate) fn expect_last_row(&mut self, row: &str) {
        let what = format!("the last row to be {row:?}");
        self.expect(&what, |rows| rows.last().is_some_and(|last| last == row));
    }

    /// Waits until there is a `row`.
    #[track_caller]
    pub(crate) fn expect_row(&mut self, row: &str) {
        let what = format!("a row {row:?}");
        self.expect(&what, |rows| rows.iter().any(|shown| shown == row));
    }

    /// Expects exactly one row that begins with `beginning`.
    #[track_caller]
    pub(crate) fn assert_told_once(&self, beginning: &str) {
        let rows = self.rows();
        let told = rows.iter().filter(|row| row.starts_with(beginning)).count();
        assert_eq!(told, 1, "{beginning:?} in {rows:#?}");
    }

    /// The rows that are not empty.
    pub(crate) fn rows(&self) -> Vec<String> {
        let screen = self.emulator.screen();
        let (_, columns) = screen.size();
        let rows = screen.rows(0, columns.into());
        let rows = rows.map(|row| row.trim_end().to_owned());
        rows.filter(|row| !row.is_empty()).collect()
    }

    /// What is shown, cell by cell.
    pub(crate) fn shown(&self) -> &vt100::Screen {
        self.emulator.screen()
    }

    /// Everything written to it that has been read.
    pub(crate) fn written(&self) -> String {
        String::from_utf8_lossy(&self.written).into_owned()
    }

    /// How often the bell has rung.
    pub(crate) fn rings(&self) -> usize {
        self.written.iter().filter(|&&byte| byte == 0x07).count()
    }

    /// Reads until `program` has ended, as fast as possible: the program must not wait.
    #[track_caller]
    pub(crate) fn read_until_end_of(&mut self, program: &mut Process) {
        let deadline = Instant::now() + PATIENCE;
        let seen = self.written.len();
        while program.is_running() {
            assert!(Instant::now() < deadline, "the program does not end");
            self.take_before(Instant::now() + LOOK_EVERY);
        }
        self.emulator.process(&self.written[seen..]);
    }

    /// Reads what is there, without waiting.
    pub(crate) fn read_rest(&mut self) {
        while self.read_before(Instant::now()) {}
    }

    /// What a program can change of a terminal: its modes, and the flags of the open file that
    /// it shares with the shell (O_NONBLOCK above all).
    pub(crate) fn state(&self) -> (String, OFlags) {
        let modes = tcgetattr(&self.terminal).expect("a terminal");
        let flags = fcntl_getfl(&self.terminal).expect("an open file");
        (format!("{modes:?}"), flags)
    }

    /// The terminal's modes are as before, and what a program switched on is off again: the next
    /// one finds no trace of it.
    #[track_caller]
    pub(crate) fn assert_in_order(&mut self, found: &(String, OFlags), after: &str) {
        assert_eq!(self.state(), *found, "after {after}");
        self.read_rest();
        let shown = self.shown();
        assert!(!shown.bracketed_paste(), "after {after}");
        assert!(!shown.hide_cursor(), "after {after}");
        assert!(!shown.alternate_screen(), "after {after}");
        let mouse = shown.mouse_protocol_mode();
        assert_eq!(mouse, MouseProtocolMode::None, "after {after}");
        // The emulator does not report these.
        let written = self.written();
        let (_, last) = written.rsplit_once("\x1b[?2004l").expect(after);
        for told in ["\x1b[?7h", "\x1b[m"] {
            assert!(
                last.contains(told),
                "{told:?} is not reported after {after}"
            );
        }
    }

    /// Changes the modes, as stty(1) would.
    pub(crate) fn change_modes(&self, change: impl FnOnce(&mut Termios)) {
        let mut modes = tcgetattr(&self.terminal).expect("a terminal");
        change(&mut modes);
        tcsetattr(&self.terminal, OptionalActions::Now, &modes).expect("a terminal");
    }

    /// The size that the terminal reports from now on; 0 means unknown.
    pub(crate) fn set_size(&self, columns: u16, rows: u16) {
        let size = Winsize {
            ws_col: columns,
            ws_row: rows,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&self.terminal, size).expect("a terminal");
    }

    fn read_before(&mut self, deadline: Instant) -> bool {
        let seen = self.written.len();
        let is_more = self.take_before(deadline);
        self.emulator.process(&self.written[seen..]);
        is_more
    }

    /// Reads more output without processing it; false if none comes before `deadline`.
    fn take_before(&mut self, deadline: Instant) -> bool {
        let time_left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(time_left).expect("a short duration");
        let mut fds = [PollFd::new(&self.keyboard, PollFlags::IN)];
        if rustix::event::poll(&mut fds, Some(&timeout)).expect("a working poll") == 0 {
            return false;
        }
        let mut buffer = [0; 4096];
        let count = self.keyboard.read(&mut buffer).expect("an open terminal");
        self.written.extend_from_slice(&buffer[..count]);
        count > 0
    }
}

fn nonzero(count: u16) -> NonZero<u16> {
    NonZero::new(count).expect("a terminal has rows and columns")
}
