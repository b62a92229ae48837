//! Lines read from a pipe, a socket or a terminal, with a limit on each wait.

use std::io::{self, BufRead, BufReader, Read};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;

use super::PATIENCE;

/// Reads lines from `R`, and waits at most [`PATIENCE`] for each.
pub(crate) struct LineReader<R> {
    source: BufReader<R>,
}

impl<R: Read + AsFd> LineReader<R> {
    pub(crate) fn new(source: R) -> Self {
        Self {
            source: BufReader::new(source),
        }
    }

    pub(crate) fn get_ref(&self) -> &R {
        self.source.get_ref()
    }

    pub(crate) fn into_inner(self) -> R {
        self.source.into_inner()
    }

    /// The next line without its LF, or an unfinished last one; `None` at the end.
    pub(crate) fn read_line(&mut self) -> io::Result<Option<String>> {
        let mut line = Vec::new();
        let ended = self.read_until_lf(&mut line)?;
        if ended && line.is_empty() {
            return Ok(None);
        }
        if line.last() == Some(&b'\n') {
            line.pop();
        }
        Ok(Some(utf8(line)))
    }

    /// [`read_line`](Self::read_line) for a stream that must not fail.
    #[track_caller]
    pub(crate) fn next_line(&mut self) -> Option<String> {
        match self.read_line() {
            Ok(line) => line,
            Err(error) => panic!("no further line can be read: {error}"),
        }
    }

    #[track_caller]
    pub(crate) fn expect_line(&mut self, expected: &str) {
        assert_eq!(self.next_line().as_deref(), Some(expected));
    }

    /// Expects the end of the stream, and nothing before it.
    #[track_caller]
    pub(crate) fn expect_end(&mut self) {
        assert_eq!(self.next_line(), None);
    }

    /// Expects exactly these bytes, which need not be text.
    #[track_caller]
    pub(crate) fn expect_bytes(&mut self, expected: &[u8]) {
        let deadline = Instant::now() + PATIENCE;
        let mut bytes = Vec::new();
        while bytes.len() < expected.len() {
            if self.source.buffer().is_empty() {
                let time_left = deadline.saturating_duration_since(Instant::now());
                if let Err(error) = self.await_readable(time_left) {
                    panic!("{error} after {bytes:?}");
                }
            }
            let chunk = self.source.fill_buf().expect("a stream that ends well");
            let taken = chunk.len().min(expected.len() - bytes.len());
            assert_ne!(taken, 0, "the end came after {bytes:?}");
            bytes.extend_from_slice(&chunk[..taken]);
            self.source.consume(taken);
        }
        assert_eq!(bytes, expected);
    }

    /// Everything up to the end.
    #[track_caller]
    pub(crate) fn rest(&mut self) -> String {
        let mut rest = Vec::new();
        while !self
            .read_until_lf(&mut rest)
            .expect("a stream that ends well")
        {}
        utf8(rest)
    }

    /// Whether there is something to read now, the end included. False proves nothing unless
    /// everybody who could have sent something is known to be at rest.
    pub(crate) fn has_more(&self) -> bool {
        !self.source.buffer().is_empty() || self.await_readable(Duration::ZERO).is_ok()
    }

    /// Appends everything up to the next LF and the LF itself; true at the end of the stream.
    fn read_until_lf(&mut self, line: &mut Vec<u8>) -> io::Result<bool> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if self.source.buffer().is_empty() {
                let time_left = deadline.saturating_duration_since(Instant::now());
                self.await_readable(time_left).map_err(|error| {
                    let unfinished = String::from_utf8_lossy(line);
                    io::Error::new(error.kind(), format!("{error} after {unfinished:?}"))
                })?;
            }
            let chunk = self.source.fill_buf()?;
            if chunk.is_empty() {
                return Ok(true);
            }
            let lf = chunk.iter().position(|&byte| byte == b'\n');
            let taken = lf.map_or(chunk.len(), |lf| lf + 1);
            line.extend_from_slice(&chunk[..taken]);
            self.source.consume(taken);
            if lf.is_some() {
                return Ok(false);
            }
        }
    }

    fn await_readable(&self, timeout: Duration) -> io::Result<()> {
        let timeout = Timespec::try_from(timeout).expect("a short duration");
        let source = self.source.get_ref();
        loop {
            let mut fds = [PollFd::new(source, PollFlags::IN)];
            match rustix::event::poll(&mut fds, Some(&timeout)) {
                Ok(0) => return Err(io::Error::new(io::ErrorKind::TimedOut, "nothing came")),
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn utf8(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).expect("nothing but UTF-8 may come out of the binary")
}
