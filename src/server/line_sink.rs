//! A queue of lines for an output that may be slow, stuck, full or gone, and must not stall
//! the room.
//!
//! Lines that the output does not take at once wait in a bounded queue. Above the bound,
//! the sink drops and counts lines. It drops only whole lines, and finishes a partly
//! written line first. So the reader sees whole lines in order, and where lines are
//! missing, a notice of how many.

use std::io::{self, Write};
use std::time::Instant;

use log::warn;

use crate::error::{Lines, plain};
use crate::platform::socket::retry_interrupted;
use crate::rate::{AndMore, LogLimit};

/// With this much in the queue, a sink adds nothing more.
pub const LINE_BACKLOG_BYTES: usize = 256 * 1024;

/// `W` must not block.
#[derive(Debug)]
pub(crate) struct LineSink<W> {
    output: W,
    /// The output's name in log messages.
    name: String,
    backlog_bytes: usize,
    /// Whole lines, from the first that is not completely written.
    waiting: Vec<u8>,
    /// How much of `waiting` has been written. Invariant, except during a write: less than
    /// its first line.
    written_bytes: usize,
    /// If the first line of `waiting` is a notice, the number of lost lines in it; else 0.
    noticed_lines: usize,
    /// Lost lines that no notice reports yet.
    dropped_lines: usize,
    /// A write has failed since everything was written or the output was replaced. Only the
    /// first failure is logged, if `failure_log` permits: a disk may be full and not full in
    /// turn.
    failing: bool,
    failure_log: LogLimit,
}

/// What happens to a partly written line when the output is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TornLine {
    /// The rest follows: the new output is the same file, opened again.
    Continue,
    /// The new output gets the whole line.
    Restart,
}

impl<W: Write> LineSink<W> {
    /// A sink for `output`, which log messages call `name`.
    pub(crate) fn new(output: W, name: impl Into<String>) -> Self {
        Self::with_backlog(output, name, LINE_BACKLOG_BYTES)
    }

    fn with_backlog(output: W, name: impl Into<String>, backlog_bytes: usize) -> Self {
        Self {
            output,
            name: name.into(),
            backlog_bytes,
            waiting: Vec::new(),
            written_bytes: 0,
            noticed_lines: 0,
            dropped_lines: 0,
            failing: false,
            failure_log: LogLimit::new(),
        }
    }

    /// Queues whole lines.
    pub(crate) fn lines(&mut self, lines: &[u8]) {
        self.lines_with(lines, Vec::extend_from_slice);
    }

    /// Queues whole lines in the form that `append` gives them. `append` must add one line
    /// for each, and is not called for lines that the sink drops.
    pub(crate) fn lines_with(&mut self, lines: &[u8], append: impl FnOnce(&mut Vec<u8>, &[u8])) {
        debug_assert!(lines.is_empty() || lines.ends_with(b"\n"));
        // After a loss, queue nothing until everything before it is written: then the notice
        // stands where the lines are missing.
        if self.dropped_lines > 0 || self.waiting_bytes() >= self.backlog_bytes {
            self.dropped_lines += count_lines(lines);
        } else {
            append(&mut self.waiting, lines);
            debug_assert!(self.waiting.is_empty() || self.waiting.ends_with(b"\n"));
        }
    }

    /// Writes as much as the output takes. Call it after queueing lines, and when the output
    /// is writable again. `notice` turns the number of missing lines into one line.
    ///
    /// The sink logs the first error, and the next one after it has written everything, at a
    /// bounded rate. When
    /// the reader is gone (`BrokenPipe`), it drops the queue, except the rest of a partly
    /// written line. After any other error it keeps the queue, and the next flush continues:
    /// a full disk may have room by then.
    pub(crate) fn flush(&mut self, notice: impl FnOnce(Lines) -> String) {
        if self.write_waiting() && self.dropped_lines > 0 {
            self.noticed_lines = std::mem::take(&mut self.dropped_lines);
            self.waiting
                .extend_from_slice(notice(Lines(self.noticed_lines)).as_bytes());
            debug_assert_eq!(count_lines(&self.waiting), 1);
            self.write_waiting();
        }
    }

    /// Queued and not written yet.
    pub(crate) fn waiting_bytes(&self) -> usize {
        self.waiting.len() - self.written_bytes
    }

    pub(crate) fn output(&self) -> &W {
        &self.output
    }

    /// Sends all further output to `output`, queued lines included.
    pub(crate) fn replace_output(&mut self, output: W, torn_line: TornLine) {
        self.output = output;
        self.failing = false;
        if torn_line == TornLine::Restart {
            self.written_bytes = 0;
        }
    }

    /// Writes the queue. Returns whether everything is written.
    fn write_waiting(&mut self) -> bool {
        if self.waiting.is_empty() {
            return true;
        }
        while self.written_bytes < self.waiting.len() {
            let rest = &self.waiting[self.written_bytes..];
            let failure = match retry_interrupted(|| self.output.write(rest)) {
                Ok(0) => io::ErrorKind::WriteZero.into(),
                Ok(count) => {
                    self.written_bytes += count;
                    continue;
                }
                Err(e) => e,
            };
            self.forget_written();
            if failure.kind() != io::ErrorKind::WouldBlock {
                self.fail(&failure);
            }
            return false;
        }
        self.forget_written();
        self.failing = false;
        true
    }

    /// Removes completely written lines from the queue.
    fn forget_written(&mut self) {
        let Some(last_end) = memchr::memrchr(b'\n', &self.waiting[..self.written_bytes]) else {
            return;
        };
        self.noticed_lines = 0;
        self.written_bytes -= last_end + 1;
        if last_end + 1 == self.waiting.len() && self.waiting.capacity() > self.backlog_bytes {
            // Free the memory of an unusually large batch.
            self.waiting = Vec::new();
        } else {
            self.waiting.drain(..=last_end);
        }
    }

    fn fail(&mut self, error: &io::Error) {
        if !std::mem::replace(&mut self.failing, true)
            && let Some(suppressed) = self.failure_log.allow(Instant::now())
        {
            warn!(
                "cannot write to {}: {}; the room goes on and counts lost lines{}",
                self.name,
                plain(error),
                AndMore(suppressed)
            );
        }
        if error.kind() == io::ErrorKind::BrokenPipe {
            self.drop_waiting();
        }
    }

    /// Drops and counts the queue, except a partly written line.
    fn drop_waiting(&mut self) {
        let torn_bytes = match self.written_bytes {
            0 => 0,
            _ => memchr::memchr(b'\n', &self.waiting).map_or(0, |end| end + 1),
        };
        self.dropped_lines += count_lines(&self.waiting[torn_bytes..]);
        if torn_bytes == 0 && self.noticed_lines > 0 {
            // The lines of a lost notice are still lost; the notice itself does not count.
            self.dropped_lines += std::mem::take(&mut self.noticed_lines) - 1;
        }
        self.waiting.truncate(torn_bytes);
    }
}

fn count_lines(lines: &[u8]) -> usize {
    memchr::memchr_iter(b'\n', lines).count()
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::VecDeque;
    use std::rc::Rc;

    use proptest::prelude::*;

    use super::*;

    /// The result of one write.
    #[derive(Clone, Copy, Debug)]
    enum Step {
        Take(usize),
        Fail(io::ErrorKind),
    }

    use Step::{Fail, Take};

    const BLOCK: Step = Fail(io::ErrorKind::WouldBlock);
    const FULL: Step = Fail(io::ErrorKind::StorageFull);
    const BROKEN: Step = Fail(io::ErrorKind::BrokenPipe);

    /// Follows a script, then takes everything.
    #[derive(Clone, Default)]
    struct Output(Rc<RefCell<Script>>);

    #[derive(Default)]
    struct Script {
        steps: VecDeque<Step>,
        taken: Vec<u8>,
        writes: usize,
    }

    impl Output {
        fn then(&self, steps: impl IntoIterator<Item = Step>) {
            self.0.borrow_mut().steps.extend(steps);
        }

        fn recover(&self) {
            self.0.borrow_mut().steps.clear();
        }

        fn taken(&self) -> String {
            String::from_utf8(self.0.borrow().taken.clone()).unwrap()
        }
    }

    impl Write for Output {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut script = self.0.borrow_mut();
            script.writes += 1;
            let count = match script.steps.pop_front() {
                Some(Take(most)) => bytes.len().min(most),
                Some(Fail(kind)) => return Err(kind.into()),
                None => bytes.len(),
            };
            script.taken.extend_from_slice(&bytes[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn sink() -> (LineSink<Output>, Output) {
        let output = Output::default();
        (LineSink::new(output.clone(), "the test"), output)
    }

    fn flush(sink: &mut LineSink<Output>) {
        sink.flush(|lines| format!("{} missing\n", lines.0));
    }

    #[test]
    fn flush_writes_all_lines_in_order_in_one_write() {
        let (mut sink, output) = sink();
        sink.lines(b"one\ntwo\n");
        sink.lines(b"");
        sink.lines_with(b"three\n", |waiting, lines| {
            waiting.extend_from_slice(&lines.to_ascii_uppercase());
        });
        assert_eq!(output.taken(), "");
        flush(&mut sink);
        flush(&mut sink);
        assert_eq!(output.taken(), "one\ntwo\nTHREE\n");
        assert_eq!(output.0.borrow().writes, 1);
    }

    #[test]
    fn a_stuck_output_costs_bounded_memory_and_losses_are_counted() {
        let line = [&[b'x'; 99][..], b"\n"].concat();
        let put_down = 10 * LINE_BACKLOG_BYTES / line.len();
        for failure in [BLOCK, FULL, Take(0)] {
            let (mut sink, output) = sink();
            output.then([Take(4)].into_iter().chain(vec![failure; put_down]));
            for _ in 0..put_down {
                sink.lines(&line);
                flush(&mut sink);
            }
            assert!(sink.waiting.len() < LINE_BACKLOG_BYTES + line.len());

            output.recover();
            flush(&mut sink);
            sink.lines(b"and on\n");
            flush(&mut sink);
            let taken = output.taken();
            let kept = LINE_BACKLOG_BYTES / line.len() + 1;
            let missing = put_down - kept;
            let expected = format!("{missing} missing\nand on\n");
            let expected = String::from_utf8(line.repeat(kept)).unwrap() + &expected;
            assert!(taken == expected, "after {failure:?}");
        }
    }

    #[test]
    fn a_big_batch_is_written_whole_and_its_memory_freed() {
        let (mut sink, output) = sink();
        let lines = "a line\n".repeat(LINE_BACKLOG_BYTES);
        sink.lines(lines.as_bytes());
        flush(&mut sink);
        assert!(output.taken() == lines);
        assert_eq!(sink.waiting.capacity(), 0);
    }

    #[test]
    fn a_full_disk_loses_nothing_once_it_has_room() {
        let (mut sink, output) = sink();
        output.then([Take(5), FULL, FULL, FULL]);
        for lines in [&b"one\ntwo\n"[..], b"three\n", b"four\n"] {
            sink.lines(lines);
            flush(&mut sink);
        }
        assert_eq!(output.taken(), "one\nt");
        assert!(sink.failing);
        flush(&mut sink);
        assert_eq!(output.taken(), "one\ntwo\nthree\nfour\n");
        assert!(!sink.failing, "the next failure is logged again");
    }

    #[test]
    fn a_reader_that_goes_loses_the_queue_which_is_counted() {
        let (mut sink, output) = sink();
        output.then([BROKEN; 7]);
        for _ in 0..7 {
            sink.lines(b"lost\n");
            flush(&mut sink);
        }
        assert_eq!(sink.waiting_bytes(), 0);
        sink.lines(b"lost, but counted\n");
        flush(&mut sink);
        sink.lines(b"read\n");
        flush(&mut sink);
        assert_eq!(output.taken(), "8 missing\nread\n");
    }

    #[test]
    fn a_partly_written_line_is_finished_for_the_next_reader() {
        let (mut sink, output) = sink();
        output.then([Take(6), BROKEN]);
        sink.lines(b"one\ntwo\nthree\nfour\n");
        flush(&mut sink);
        flush(&mut sink);
        assert_eq!(output.taken(), "one\ntwo\n2 missing\n");
    }

    #[test]
    fn the_next_notice_includes_a_lost_one() {
        let (mut sink, output) = sink();
        output.then([BROKEN, BLOCK, BROKEN]);
        sink.lines(b"one\ntwo\n");
        flush(&mut sink);
        // The notice waits, and a line behind it.
        flush(&mut sink);
        sink.lines(b"three\n");
        flush(&mut sink);
        flush(&mut sink);
        assert_eq!(output.taken(), "3 missing\n");
    }

    #[test]
    fn a_replaced_output_gets_the_whole_line_or_the_rest() {
        for (torn_line, expected) in [
            (TornLine::Restart, "two\nthree\n"),
            (TornLine::Continue, "o\nthree\n"),
        ] {
            let (mut sink, output) = sink();
            output.then([Take(6), BLOCK]);
            sink.lines(b"one\ntwo\nthree\n");
            flush(&mut sink);
            let next = Output::default();
            sink.replace_output(next.clone(), torn_line);
            flush(&mut sink);
            assert_eq!(output.taken(), "one\ntw");
            assert_eq!(next.taken(), expected);
        }
    }

    fn any_step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => (1_usize..12).prop_map(Take),
            2 => Just(BLOCK),
            1 => Just(Fail(io::ErrorKind::Interrupted)),
            1 => Just(FULL),
            1 => Just(BROKEN),
        ]
    }

    proptest! {
        #[test]
        fn each_line_is_written_or_counted_in_its_place(
            batches in prop::collection::vec(0_usize..6, 0..40),
            steps in prop::collection::vec(any_step(), 0..120),
        ) {
            const BACKLOG_BYTES: usize = 30;
            const MAX_BATCH_BYTES: usize = 6 * "line 199\n".len();
            let output = Output::default();
            output.then(steps);
            let mut sink = LineSink::with_backlog(output.clone(), "the test", BACKLOG_BYTES);
            let mut line_count = 0;
            for lines in batches {
                let numbers = line_count..line_count + lines;
                line_count += lines;
                let text: String = numbers.map(|number| format!("line {number}\n")).collect();
                sink.lines(text.as_bytes());
                flush(&mut sink);
                prop_assert!(sink.waiting.len() < BACKLOG_BYTES + MAX_BATCH_BYTES);
            }
            output.recover();
            // The queue, and the notice after it.
            flush(&mut sink);
            prop_assert_eq!((sink.waiting_bytes(), sink.dropped_lines), (0, 0));

            let mut next = 0;
            for line in output.taken().lines() {
                match line.strip_prefix("line ") {
                    Some(number) => {
                        prop_assert_eq!(number.parse::<usize>().unwrap(), next);
                        next += 1;
                    }
                    None => {
                        let missing = line.strip_suffix(" missing").unwrap();
                        next += missing.parse::<usize>().unwrap();
                    }
                }
            }
            prop_assert_eq!(next, line_count);
        }
    }
}
