//! Lines on their way to somewhere that may be slow, stuck, full or gone, and must not
//! hold up the room for that.
//!
//! What is not taken at once waits in a bounded backlog; past it lines are dropped and
//! counted. Lines are dropped whole, and a line that was torn is finished first: so
//! whoever reads there sees whole lines, in order, and a notice of how many are missing
//! where they are missing.

use std::fmt;
use std::io::{self, Write};

use log::warn;

use crate::platform::socket::retry_interrupted;

/// Once this much waits, nothing is added.
pub const LINE_BACKLOG_BYTES: usize = 256 * 1024;

/// Writes lines to `W`, which must not block.
#[derive(Debug)]
pub(crate) struct LineSink<W> {
    output: W,
    /// What messages call the output.
    name: String,
    backlog_bytes: usize,
    /// Whole lines, from the first that has not been written to its end.
    waiting: Vec<u8>,
    /// How much of `waiting` has been written. Invariant: this much lies within its
    /// first line, but while it is being written.
    written_bytes: usize,
    /// How many lines the first line of `waiting` tells of as lost. 0: it is no notice.
    noticed_lines: usize,
    /// Lines lost, of which no notice has been put down yet.
    dropped_lines: usize,
    /// Writing failed, and that has been logged.
    failing: bool,
}

/// What becomes of a line of which a part has been written when the output is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TornLine {
    /// The rest of it follows: the output is the same one, opened again.
    GoesOn,
    /// It is written once more, from its beginning.
    BeginsAnew,
}

impl<W: Write> LineSink<W> {
    /// A sink on `output`, which messages call `name`.
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
        }
    }

    /// Puts whole lines down to be written.
    pub(crate) fn lines(&mut self, lines: &[u8]) {
        self.lines_with(lines, Vec::extend_from_slice);
    }

    /// Puts whole lines down, in the form that `append` gives them when it adds them to
    /// what waits. It makes one line of each, and is not called for lines that are
    /// dropped.
    pub(crate) fn lines_with(&mut self, lines: &[u8], append: impl FnOnce(&mut Vec<u8>, &[u8])) {
        debug_assert!(lines.is_empty() || lines.ends_with(b"\n"));
        // After a loss nothing is taken until all has been written that came before
        // it: so the count stands where the lines are missing.
        if self.dropped_lines > 0 || self.waiting_bytes() >= self.backlog_bytes {
            self.dropped_lines += count_lines(lines);
        } else {
            append(&mut self.waiting, lines);
            debug_assert!(self.waiting.is_empty() || self.waiting.ends_with(b"\n"));
        }
    }

    /// Writes what is taken at once. To be called after lines were put down, and when
    /// the output is writable again. If lines are missing, `notice` says so; it is
    /// handed how many, and returns one line.
    ///
    /// Errors are logged, once until all has been written again. When nobody reads any
    /// more (`BrokenPipe`), what waits is lost, but for the rest of a torn line. After
    /// any other error it is kept, and the next flush goes on where this one stopped: a
    /// full disk may have room then.
    pub(crate) fn flush(&mut self, notice: impl FnOnce(LineCount) -> String) {
        if self.write_waiting() && self.dropped_lines > 0 {
            self.noticed_lines = std::mem::take(&mut self.dropped_lines);
            self.waiting
                .extend_from_slice(notice(LineCount(self.noticed_lines)).as_bytes());
            debug_assert_eq!(count_lines(&self.waiting), 1);
            self.write_waiting();
        }
    }

    /// What has been put down and not been written yet.
    pub(crate) fn waiting_bytes(&self) -> usize {
        self.waiting.len() - self.written_bytes
    }

    /// Where the lines go.
    pub(crate) fn output(&self) -> &W {
        &self.output
    }

    /// From now on lines go to `output`, those that wait too.
    pub(crate) fn replace_output(&mut self, output: W, torn_line: TornLine) {
        self.output = output;
        self.failing = false;
        if torn_line == TornLine::BeginsAnew {
            self.written_bytes = 0;
        }
    }

    /// Whether everything has been written.
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

    /// Forgets the lines that have been written to their end.
    fn forget_written(&mut self) {
        let Some(last_end) = memchr::memrchr(b'\n', &self.waiting[..self.written_bytes]) else {
            return;
        };
        self.noticed_lines = 0;
        self.written_bytes -= last_end + 1;
        if last_end + 1 == self.waiting.len() && self.waiting.capacity() > self.backlog_bytes {
            // What an uncommonly large turn took is not kept for the next time.
            self.waiting = Vec::new();
        } else {
            self.waiting.drain(..=last_end);
        }
    }

    fn fail(&mut self, error: &io::Error) {
        if !std::mem::replace(&mut self.failing, true) {
            let name = &self.name;
            warn!("{name} takes nothing more ({error}); the room goes on");
        }
        if error.kind() == io::ErrorKind::BrokenPipe {
            self.drop_waiting();
        }
    }

    /// Drops and counts what waits, but for the rest of a line that was torn.
    fn drop_waiting(&mut self) {
        let torn_bytes = match self.written_bytes {
            0 => 0,
            _ => memchr::memchr(b'\n', &self.waiting).map_or(0, |end| end + 1),
        };
        self.dropped_lines += count_lines(&self.waiting[torn_bytes..]);
        if torn_bytes == 0 && self.noticed_lines > 0 {
            // What it tells of is lost still; it is no loss itself.
            self.dropped_lines += std::mem::take(&mut self.noticed_lines) - 1;
        }
        self.waiting.truncate(torn_bytes);
    }
}

/// So many lines, as they are spoken of: `1 line`, `2 lines`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LineCount(pub usize);

impl fmt::Display for LineCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.0 == 1 { "" } else { "s" };
        write!(f, "{} line{plural}", self.0)
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

    /// What an output does with one write.
    #[derive(Clone, Copy, Debug)]
    enum Step {
        Take(usize),
        Fail(io::ErrorKind),
    }

    use Step::{Fail, Take};

    const BLOCK: Step = Fail(io::ErrorKind::WouldBlock);
    const FULL: Step = Fail(io::ErrorKind::StorageFull);
    const BROKEN: Step = Fail(io::ErrorKind::BrokenPipe);

    /// An output that follows a script and then takes everything.
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
    fn lines_leave_at_the_flush_in_order_and_in_one_write() {
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
    fn what_does_not_take_anything_costs_bounded_memory_and_the_loss_is_counted() {
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
    fn a_big_turn_leaves_whole_where_all_is_taken_and_its_memory_is_given_back() {
        let (mut sink, output) = sink();
        let lines = "a line\n".repeat(LINE_BACKLOG_BYTES);
        sink.lines(lines.as_bytes());
        flush(&mut sink);
        assert!(output.taken() == lines);
        assert_eq!(sink.waiting.capacity(), 0);
    }

    #[test]
    fn a_full_disk_that_becomes_free_misses_nothing() {
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
        assert!(!sink.failing, "the next failure is a new one");
    }

    #[test]
    fn what_waits_is_lost_with_its_reader_and_counted() {
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
    fn the_next_reader_finds_the_torn_line_finished() {
        let (mut sink, output) = sink();
        output.then([Take(6), BROKEN]);
        sink.lines(b"one\ntwo\nthree\nfour\n");
        flush(&mut sink);
        flush(&mut sink);
        assert_eq!(output.taken(), "one\ntwo\n2 missing\n");
    }

    #[test]
    fn a_notice_that_is_lost_is_made_up_for_by_the_next() {
        let (mut sink, output) = sink();
        output.then([BROKEN, BLOCK, BROKEN]);
        sink.lines(b"one\ntwo\n");
        flush(&mut sink);
        // The notice has to wait, and a line behind it.
        flush(&mut sink);
        sink.lines(b"three\n");
        flush(&mut sink);
        flush(&mut sink);
        assert_eq!(output.taken(), "3 missing\n");
    }

    #[test]
    fn in_another_output_a_torn_line_begins_anew_and_in_the_same_it_goes_on() {
        for (torn_line, expected) in [
            (TornLine::BeginsAnew, "two\nthree\n"),
            (TornLine::GoesOn, "o\nthree\n"),
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
        fn whatever_happens_each_line_is_there_or_is_counted_where_it_is_missing(
            turns in prop::collection::vec(0_usize..6, 0..40),
            steps in prop::collection::vec(any_step(), 0..120),
        ) {
            const BACKLOG_BYTES: usize = 30;
            const MAX_TURN_BYTES: usize = 6 * "line 199\n".len();
            let output = Output::default();
            output.then(steps);
            let mut sink = LineSink::with_backlog(output.clone(), "the test", BACKLOG_BYTES);
            let mut line_count = 0;
            for lines in turns {
                let numbers = line_count..line_count + lines;
                line_count += lines;
                let text: String = numbers.map(|number| format!("line {number}\n")).collect();
                sink.lines(text.as_bytes());
                flush(&mut sink);
                prop_assert!(sink.waiting.len() < BACKLOG_BYTES + MAX_TURN_BYTES);
            }
            output.recover();
            // What waits and the notice after it.
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
