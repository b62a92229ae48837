//! The server's console: standard output, which may be slow, stuck or gone, and
//! must not hold up the room for that.
//!
//! Lines that cannot be shown at once wait in a bounded backlog; past it they are
//! dropped and counted, and the count is shown once lines can be shown again.

use std::fmt;
use std::io::Write;

use log::warn;

use crate::write_queue::{Flushed, Frame, WriteQueue};

/// Once this much waits to be shown, nothing is added.
const CONSOLE_BACKLOG_BYTES: usize = 256 * 1024;

/// Shows lines on `W`, which must not block.
#[derive(Debug)]
pub struct Console<W> {
    output: W,
    /// Whole lines, shown at the next flush.
    fresh: Vec<u8>,
    /// What was not taken at once.
    backlog: WriteQueue,
    /// Lines lost if the backlog is.
    waiting_lines: usize,
    /// Lines lost and not yet reported.
    dropped_lines: usize,
    /// The last write failed; that has been logged.
    failing: bool,
}

impl<W: Write> Console<W> {
    /// A console on `output`.
    pub fn new(output: W) -> Self {
        Self {
            output,
            fresh: Vec::new(),
            backlog: WriteQueue::new(),
            waiting_lines: 0,
            dropped_lines: 0,
            failing: false,
        }
    }

    /// Puts one line down to be shown.
    pub fn line(&mut self, line: fmt::Arguments<'_>) {
        self.lines(format!("{line}\n").as_bytes());
    }

    /// Puts whole lines down to be shown.
    pub fn lines(&mut self, lines: &[u8]) {
        debug_assert!(lines.ends_with(b"\n"));
        let waiting_bytes = self.backlog.queued_bytes() + self.fresh.len();
        // After a loss nothing is taken until all has been shown that came
        // before it: so the count stands where the lines are missing.
        if self.dropped_lines > 0 || waiting_bytes >= CONSOLE_BACKLOG_BYTES {
            self.dropped_lines += count_lines(lines);
        } else {
            self.fresh.extend_from_slice(lines);
            self.waiting_lines += count_lines(lines);
        }
    }

    /// Shows what is taken at once. To be called after lines were put down, and
    /// when the output is writable again.
    pub fn flush(&mut self) {
        if !self.fresh.is_empty() {
            self.backlog.push_frame(&Frame::from(self.fresh.as_slice()));
            self.fresh.clear();
        }
        self.flush_backlog();
        if self.dropped_lines > 0 && self.backlog.is_empty() {
            self.waiting_lines = std::mem::take(&mut self.dropped_lines);
            let notice = format!("-- {} lines could not be shown here\n", self.waiting_lines);
            self.backlog.push_frame(&Frame::from(notice.into_bytes()));
            self.flush_backlog();
        }
    }

    fn flush_backlog(&mut self) {
        if self.backlog.is_empty() {
            return;
        }
        match self.backlog.flush(&mut self.output, usize::MAX) {
            Ok(Flushed::All) => {
                self.waiting_lines = 0;
                self.failing = false;
            }
            Ok(Flushed::Blocked | Flushed::BudgetSpent) => {}
            Err(e) => {
                if !std::mem::replace(&mut self.failing, true) {
                    warn!("standard output takes nothing more ({e}); the room goes on");
                }
                self.backlog.clear();
                self.dropped_lines += std::mem::take(&mut self.waiting_lines);
            }
        }
    }
}

fn count_lines(lines: &[u8]) -> usize {
    lines.iter().filter(|&&byte| byte == b'\n').count()
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::io;
    use std::rc::Rc;

    use super::*;

    /// An output that takes so many bytes, and then blocks or fails.
    #[derive(Default)]
    struct Output {
        shown: String,
        room_bytes: usize,
        fails: bool,
    }

    #[derive(Clone, Default)]
    struct Shared(Rc<RefCell<Output>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut output = self.0.borrow_mut();
            if output.fails {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let count = bytes.len().min(output.room_bytes);
            if count == 0 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            output.room_bytes -= count;
            output
                .shown
                .push_str(std::str::from_utf8(&bytes[..count]).unwrap());
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn console_with_room(room_bytes: usize) -> (Console<Shared>, Shared) {
        let output = Shared::default();
        output.0.borrow_mut().room_bytes = room_bytes;
        (Console::new(output.clone()), output)
    }

    #[test]
    fn lines_are_shown_at_the_flush_in_order() {
        let (mut console, output) = console_with_room(100);
        console.line(format_args!("10.0.0.1 connected"));
        console.lines(b"<10.0.0.1> hi\n");
        assert_eq!(output.0.borrow().shown, "");
        console.flush();
        assert_eq!(
            output.0.borrow().shown,
            "10.0.0.1 connected\n<10.0.0.1> hi\n"
        );
    }

    #[test]
    fn a_stuck_output_costs_bounded_memory_and_the_loss_is_counted() {
        let (mut console, output) = console_with_room(4);
        let line = "x".repeat(99);
        let put_down = 10 * CONSOLE_BACKLOG_BYTES / 100;
        for _ in 0..put_down {
            console.line(format_args!("{line}"));
            console.flush();
        }
        assert!(console.backlog.queued_bytes() < CONSOLE_BACKLOG_BYTES + 100);

        output.0.borrow_mut().room_bytes = usize::MAX;
        console.flush();
        console.line(format_args!("and on"));
        console.flush();
        let shown = &output.0.borrow().shown;
        let kept = shown.lines().filter(|shown| **shown == line).count();
        let expected = format!("-- {} lines could not be shown here", put_down - kept);
        let last_two: Vec<_> = shown.lines().rev().take(2).collect();
        assert_eq!(last_two, ["and on", &expected]);
    }

    #[test]
    fn a_big_turn_is_shown_whole_by_an_output_that_keeps_up() {
        let (mut console, output) = console_with_room(usize::MAX);
        let lines = "a line\n".repeat(CONSOLE_BACKLOG_BYTES);
        console.lines(lines.as_bytes());
        console.flush();
        assert_eq!(output.0.borrow().shown, lines);
    }

    #[test]
    fn a_failing_output_is_tried_again_and_the_loss_is_counted() {
        let (mut console, output) = console_with_room(1000);
        output.0.borrow_mut().fails = true;
        for _ in 0..7 {
            console.line(format_args!("lost"));
            console.flush();
        }
        output.0.borrow_mut().fails = false;
        console.line(format_args!("lost, but counted"));
        console.flush();
        console.line(format_args!("shown"));
        console.flush();
        let shown = &output.0.borrow().shown;
        assert_eq!(shown, "-- 8 lines could not be shown here\nshown\n");
    }
}
