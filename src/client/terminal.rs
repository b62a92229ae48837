//! The terminal's mode, taken and given back.

use std::io;
use std::panic;
use std::sync::{Mutex, Once, PoisonError};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::stdio::{stdin, stdout};
use rustix::termios::{
    InputModes, LocalModes, OptionalActions, OutputModes, SpecialCodeIndex, Termios, tcgetattr,
    tcgetwinsize, tcsetattr,
};

use crate::standard_io::StandardInput;

/// The mode that was found, while another is set. For all to see, as a panic of the program
/// that people run ends it (`panic = "abort"`), and drops nothing.
static FOUND: Mutex<Option<Termios>> = Mutex::new(None);

/// What the terminal is told first: to mark what is pasted (xterm's "bracketed paste").
pub const BEGIN: &[u8] = b"\x1b[?2004h";

/// And last: to mark it no more, to break rows again, and to forget about colours.
pub const END: &[u8] = b"\x1b[?2004l\x1b[?7h\x1b[m";

/// The terminal at standard input, in a mode in which every key comes as it is typed.
/// Dropped, or in a panic, it is in the mode again in which it was found.
#[derive(Debug)]
pub struct Terminal(());

impl Terminal {
    /// Sets the mode. What [`BEGIN`] has is the caller's to write, and [`END`] before the
    /// terminal is given back.
    ///
    /// # Errors
    ///
    /// When standard input is no terminal.
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

    /// Gives it back for a while.
    pub fn give_back(&self) {
        give_back();
    }

    /// Sets the mode again, after [`Terminal::give_back`], or after somebody else has set
    /// another.
    ///
    /// # Errors
    ///
    /// Those of tcsetattr(3).
    pub fn take_again(&self) -> io::Result<()> {
        set_mode()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        give_back();
    }
}

/// How many columns and rows the terminal has, if it tells.
pub fn size() -> Option<(usize, usize)> {
    let size = tcgetwinsize(stdout()).ok()?;
    (size.ws_col > 0 && size.ws_row > 0).then_some((size.ws_col.into(), size.ws_row.into()))
}

fn set_mode() -> io::Result<()> {
    let mut found = FOUND.lock().unwrap_or_else(PoisonError::into_inner);
    let before = match &*found {
        Some(before) => before.clone(),
        None => tcgetattr(stdin())?,
    };
    let mut mode = before.clone();
    // termios(3). Neither keys that make signals nor any that edit: they are ours.
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
    // What others may write meanwhile, such as a panic, is to look as it always does.
    mode.output_modes |= OutputModes::OPOST | OutputModes::ONLCR;
    mode.special_codes[SpecialCodeIndex::VMIN] = 1;
    mode.special_codes[SpecialCodeIndex::VTIME] = 0;
    tcsetattr(stdin(), OptionalActions::Now, &mode)?;
    *found = Some(before);
    Ok(())
}

/// Whether the terminal's foreground is somebody else's at the moment. To set its mode would
/// stop us then (termios(3): SIGTTOU), and undo what others have set.
pub fn is_somebody_elses() -> bool {
    StandardInput::new().is_somebody_elses()
}

/// Nothing is to be done when this fails: the terminal has gone.
fn give_back() {
    // What was found is still to be set then, when the terminal is ours again.
    if is_somebody_elses() {
        return;
    }
    let Some(before) = FOUND.lock().unwrap_or_else(PoisonError::into_inner).take() else {
        return;
    };
    let out = stdout();
    let mut fds = [PollFd::new(&out, PollFlags::OUT)];
    // Once more, in case of a panic. A terminal that takes nothing must not hold us up.
    if poll(&mut fds, Some(&Timespec::default())).is_ok_and(|ready| ready > 0) {
        let _ = rustix::io::write(out, END);
    }
    let _ = tcsetattr(stdin(), OptionalActions::Now, &before);
}
