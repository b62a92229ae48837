//! The terminal: what it is like, and its mode, which is set, and restored whatever happens.

use std::env;
use std::io;
use std::panic;
use std::sync::{Mutex, Once, PoisonError};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::stdio::{stdin, stdout};
use rustix::termios::{
    InputModes, LocalModes, OptionalActions, OutputModes, SpecialCodeIndex, Termios, isatty,
    tcgetattr, tcsetattr,
};

use crate::platform::stdio::StandardInput;

/// The original mode while another is set. Global for the panic hook: in a release build a
/// panic aborts the program and drops nothing.
static FOUND: Mutex<Option<Termios>> = Mutex::new(None);

/// To be written first: turns bracketed paste on (xterm).
pub(crate) const BEGIN: &[u8] = b"\x1b[?2004h";

/// To be written last: turns bracketed paste off, line wrapping on, and resets colours.
pub(crate) const END: &[u8] = b"\x1b[?2004l\x1b[?7h\x1b[m";

/// The answer to a request to suspend a program that [nobody could resume](crate::platform::job).
pub(crate) const NOT_SUSPENDED: &str = "not suspended: there is no shell to resume this program";

/// The terminal at standard input in raw mode. Dropping it, or a panic, restores the original
/// mode.
#[derive(Debug)]
pub struct Terminal(());

impl Terminal {
    /// Sets raw mode. The caller writes `BEGIN`, and `END` before the terminal is given back.
    ///
    /// # Errors
    ///
    /// When standard input is not a terminal.
    pub fn take() -> io::Result<Self> {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            let report = panic::take_hook();
            panic::set_hook(Box::new(move |panic| {
                give_back();
                report(panic);
            }));
        });
        set_mode()?;
        Ok(Self(()))
    }

    /// Restores the original mode for a while.
    pub(crate) fn give_back(&self) {
        give_back();
    }

    /// Sets raw mode again, after [`Terminal::give_back`] or after another program changed it.
    ///
    /// # Errors
    ///
    /// Those of tcsetattr(3).
    pub(crate) fn take_again(&self) -> io::Result<()> {
        set_mode()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        give_back();
    }
}

/// Whether a person types at, and reads from, a terminal with cursor control.
pub(crate) fn is_for_person() -> bool {
    StandardInput::new().is_terminal() && is_capable()
}

/// Whether standard output is a terminal that obeys control sequences.
pub(crate) fn is_capable() -> bool {
    let is_dumb = env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
    isatty(stdout()) && !is_dumb
}

/// Whether colours are wanted there, if nothing else says so. `NO_COLOR`: no-color.org.
pub(crate) fn is_colored() -> bool {
    let is_refused = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    is_capable() && !is_refused
}

fn set_mode() -> io::Result<()> {
    let mut found = FOUND.lock().unwrap_or_else(PoisonError::into_inner);
    let before = match &*found {
        Some(before) => before.clone(),
        None => tcgetattr(stdin())?,
    };
    let mut mode = before.clone();
    // termios(3). Keys that edit or send signals are handled by the prompt.
    mode.local_modes -= LocalModes::ICANON
        | LocalModes::ECHO
        | LocalModes::ECHONL
        | LocalModes::ISIG
        | LocalModes::IEXTEN;
    mode.input_modes -= InputModes::ICRNL
        | InputModes::INLCR
        | InputModes::IGNCR
        | InputModes::IXON
        | InputModes::ISTRIP
        | InputModes::BRKINT;
    // So that a panic's message, say, looks as usual.
    mode.output_modes |= OutputModes::OPOST | OutputModes::ONLCR;
    mode.special_codes[SpecialCodeIndex::VMIN] = 1;
    mode.special_codes[SpecialCodeIndex::VTIME] = 0;
    tcsetattr(stdin(), OptionalActions::Now, &mode)?;
    *found = Some(before);
    Ok(())
}

/// Whether another process group has the terminal's foreground. Setting the mode would then
/// stop us (termios(3): SIGTTOU), and undo what that group has set.
pub(crate) fn is_somebody_elses() -> bool {
    StandardInput::new().is_somebody_elses()
}

/// Ignores failures: the terminal has gone then.
fn give_back() {
    // The mode is kept, to be restored when the terminal is ours again.
    if is_somebody_elses() {
        return;
    }
    let Some(before) = FOUND.lock().unwrap_or_else(PoisonError::into_inner).take() else {
        return;
    };
    let out = stdout();
    let mut fds = [PollFd::new(&out, PollFlags::OUT)];
    // Again, for the case of a panic. A stalled terminal must not hold us up.
    if poll(&mut fds, Some(&Timespec::default())).is_ok_and(|ready| ready > 0) {
        let _ = rustix::io::write(out, END);
    }
    let _ = tcsetattr(stdin(), OptionalActions::Now, &before);
}
