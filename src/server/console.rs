//! The server's console: standard output, and at a terminal the operator's prompt as well. A
//! reader that is slow, stuck or gone must not stall the room.

#[cfg(feature = "client")]
mod terminal;

use std::fmt;
use std::io::{self, Write};
use std::time::Instant;

use mio::{Registry, Token};

#[cfg(feature = "client")]
use self::terminal::OperatorTerminal;
use crate::platform::stdio::StandardOutput;
use crate::protocol::event::Person;
use crate::protocol::time::Time;
use crate::server::line_sink::LineSink;
use crate::server::operator::input::Typed;

/// `W` must not block.
#[derive(Debug)]
pub(crate) enum Console<W> {
    /// Nothing but lines, for whatever reads them.
    Lines(LineSink<W>),
    /// For a person, who types there, too.
    #[cfg(feature = "client")]
    Terminal(Box<OperatorTerminal>),
}

impl Console<StandardOutput> {
    /// Standard output, registered as `token`.
    ///
    /// # Errors
    ///
    /// Those of epoll_ctl(2).
    pub(crate) fn lines_only(registry: &Registry, token: Token) -> io::Result<Self> {
        let output = StandardOutput::stdout();
        output.register(registry, token)?;
        Ok(Self::new(output))
    }

    /// The operator's terminal, its input registered as `input`, its output as `output`. `None`
    /// if there is none, or this build has no prompt. `echoes` if the operator's own lines are
    /// not shown otherwise.
    ///
    /// # Errors
    ///
    /// Those of epoll_ctl(2).
    #[cfg_attr(not(feature = "client"), expect(unused_variables))]
    pub(crate) fn at_terminal(
        registry: &Registry,
        (input, output): (Token, Token),
        max_line_bytes: u32,
        echoes: bool,
    ) -> io::Result<Option<Self>> {
        #[cfg(feature = "client")]
        if OperatorTerminal::is_there() {
            let terminal = OperatorTerminal::new(registry, input, output, max_line_bytes, echoes)?;
            return Ok(Some(Self::Terminal(Box::new(terminal))));
        }
        Ok(None)
    }
}

impl<W: Write> Console<W> {
    pub(crate) fn new(output: W) -> Self {
        Self::Lines(LineSink::new(output, "standard output"))
    }

    /// Queues one line, given without its LF.
    pub(crate) fn line(&mut self, line: fmt::Arguments<'_>) {
        self.lines(format!("{line}\n").as_bytes());
    }

    /// Queues whole lines.
    pub(crate) fn lines(&mut self, lines: &[u8]) {
        match self {
            Self::Lines(sink) => sink.lines(lines),
            #[cfg(feature = "client")]
            Self::Terminal(terminal) => terminal.lines(lines),
        }
    }

    /// Queues a line of what was said before, at `time`.
    #[cfg_attr(not(feature = "client"), expect(unused_variables))]
    pub(crate) fn past_line(&mut self, line: &str, time: Time) {
        match self {
            Self::Lines(_) => self.line(format_args!("{line}")),
            #[cfg(feature = "client")]
            Self::Terminal(terminal) => terminal.past_line(line, time.into()),
        }
    }

    /// Writes queued lines. Call it after queueing, and when the output is writable again.
    /// See [`LineSink::flush`].
    pub(crate) fn flush(&mut self) {
        match self {
            Self::Lines(sink) => {
                sink.flush(|lines| format!("-- {lines} could not be shown here\n"));
            }
            #[cfg(feature = "client")]
            Self::Terminal(terminal) => terminal.flush(),
        }
    }

    /// Whether the operator types here.
    pub(crate) fn is_typed_at(&self) -> bool {
        !matches!(self, Self::Lines(_))
    }

    /// The signals that are for [`Console::signalled`].
    pub(crate) fn signals(&self) -> Vec<i32> {
        match self {
            Self::Lines(_) => Vec::new(),
            #[cfg(feature = "client")]
            Self::Terminal(_) => OperatorTerminal::signals().collect(),
        }
    }

    #[cfg_attr(not(feature = "client"), expect(unused_variables))]
    pub(crate) fn signalled(&mut self, signal: i32) {
        match self {
            Self::Lines(_) => {}
            #[cfg(feature = "client")]
            Self::Terminal(terminal) => terminal.signalled(signal),
        }
    }

    /// There may be something to read.
    pub(crate) fn mark_ready(&mut self) {
        match self {
            Self::Lines(_) => {}
            #[cfg(feature = "client")]
            Self::Terminal(terminal) => terminal.mark_ready(),
        }
    }

    /// When [`Console::next_typed`] is due.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Lines(_) => None,
            #[cfg(feature = "client")]
            Self::Terminal(terminal) => terminal.deadline(),
        }
    }

    /// What the operator types here, if there is anything at `now`. Call it until it returns
    /// `None`. Tab completes the names of `people`.
    #[cfg_attr(not(feature = "client"), expect(unused_variables))]
    pub(crate) fn next_typed<'a>(
        &mut self,
        now: Instant,
        people: impl Fn() -> Vec<Person<'a>>,
    ) -> Option<Typed> {
        match self {
            Self::Lines(_) => None,
            #[cfg(feature = "client")]
            Self::Terminal(terminal) => terminal.next_typed(now, people),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::io;
    use std::rc::Rc;

    use super::*;

    /// A pipe with a reader, or without.
    #[derive(Clone, Default)]
    struct Pipe(Rc<RefCell<(String, bool)>>);

    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let (shown, is_read) = &mut *self.0.borrow_mut();
            if !*is_read {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            shown.push_str(std::str::from_utf8(bytes).unwrap());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn flush_writes_lines_in_order_and_reports_losses() {
        let pipe = Pipe::default();
        let mut console = Console::new(pipe.clone());
        for _ in 0..7 {
            console.line(format_args!("lost"));
            console.flush();
        }
        pipe.0.borrow_mut().1 = true;
        console.line(format_args!("lost, but counted"));
        console.flush();
        console.line(format_args!("10.0.0.1 connected"));
        console.lines(b"<10.0.0.1> hi\n");
        let notice = "-- 8 lines could not be shown here\n";
        assert_eq!(pipe.0.borrow().0, notice);
        console.flush();
        let expected = format!("{notice}10.0.0.1 connected\n<10.0.0.1> hi\n");
        assert_eq!(pipe.0.borrow().0, expected);
    }
}
