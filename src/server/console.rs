//! The server's console: standard output. A reader that is slow, stuck or gone must not
//! stall the room.

use std::fmt;
use std::io::Write;

use crate::server::line_sink::LineSink;

/// `W` must not block.
#[derive(Debug)]
pub(crate) struct Console<W>(LineSink<W>);

impl<W: Write> Console<W> {
    pub(crate) fn new(output: W) -> Self {
        Self(LineSink::new(output, "standard output"))
    }

    /// Queues one line, given without its LF.
    pub(crate) fn line(&mut self, line: fmt::Arguments<'_>) {
        self.lines(format!("{line}\n").as_bytes());
    }

    /// Queues whole lines.
    pub(crate) fn lines(&mut self, lines: &[u8]) {
        self.0.lines(lines);
    }

    /// Writes queued lines. Call it after queueing, and when the output is writable again.
    /// See [`LineSink::flush`].
    pub(crate) fn flush(&mut self) {
        self.0
            .flush(|lines| format!("-- {lines} could not be shown here\n"));
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
