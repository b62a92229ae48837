//! The transcript: a file that gets what the room says, each line with its time.
//!
//! Where the lines go must not hold up the room. A pipe or a terminal takes what it can
//! at once, and the rest waits, see [`LineSink`]. A regular file cannot be asked to:
//! a write to it is a copy into the kernel's page cache, and returns when that is done.
//! There is no thread that could wait instead. So a file on a network file system
//! whose server hangs would make the room hang with it: do not keep it there.
//!
//! Nothing is synced: if the machine itself goes down, the last half a minute may be
//! missing.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use mio::{Interest, Registry, Token};
use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::platform::local_time::{self, Stamp};
use crate::platform::stdio;
use crate::server::line_sink::{LineSink, TornLine};

/// Writes down what is said.
#[derive(Debug)]
pub(crate) struct Transcript {
    path: PathBuf,
    sink: LineSink<File>,
    stamp: Stamp,
    /// Where the file is registered.
    poll: Option<(Registry, Token)>,
}

impl Transcript {
    /// A transcript that goes on at the end of the file at `path`, which is made if there
    /// is none. What is there may also be a pipe that somebody reads, or a terminal.
    ///
    /// Times are those of the system's time zone (`TZ`, or `/etc/localtime`) as it is
    /// now.
    ///
    /// # Errors
    ///
    /// Those of open(2); `BrokenPipe` for a pipe that nobody reads.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = open(path)?;
        Ok(Self {
            path: path.to_owned(),
            sink: LineSink::new(file, path.display().to_string()),
            stamp: Stamp::local(local_time::Format::Rfc3339),
            poll: None,
        })
    }

    /// Registers the file for writing, and those that take its place when it is reopened,
    /// so that the poll tells when to flush again.
    ///
    /// # Errors
    ///
    /// Those of epoll_ctl(2), but for EPERM, as with a regular file, which need not be
    /// waited for.
    pub(crate) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        register(self.sink.output(), registry, token)?;
        self.poll = Some((registry.try_clone()?, token));
        Ok(())
    }

    /// Puts whole lines down as the room has just said them, each with the time before
    /// it: `2026-11-25T15:54:07+01:00 <alice> hi`.
    pub(crate) fn said(&mut self, lines: &[u8]) {
        let stamp = &mut self.stamp;
        self.sink.lines_with(lines, |waiting, lines| {
            stamp_lines(waiting, lines, stamp.at(Timestamp::now()));
        });
    }

    /// Writes what is taken at once. To be called at the end of a turn, and when the file
    /// is writable again. See [`LineSink::flush`] for what becomes of the rest.
    pub(crate) fn flush(&mut self) {
        let stamp = &mut self.stamp;
        self.sink.flush(|lines| {
            let time = stamp.at(Timestamp::now());
            format!("{time} -- {lines} could not be written here\n")
        });
    }

    /// Writes what is taken at once, and goes on in the file that is at the path now, or
    /// is made there: the one before has been moved away, to rotate logs.
    ///
    /// What still waits goes to the new file. If a part of a line is in the one before,
    /// which took no more, the whole line comes first in the new one, and the one before
    /// ends with that part. If it is the same file still, the line just goes on.
    ///
    /// # Errors
    ///
    /// As with [`Transcript::open`] and [`Transcript::register`]; the file before goes on
    /// being used.
    pub(crate) fn reopen(&mut self) -> io::Result<()> {
        self.flush();
        let file = open(&self.path)?;
        if let Some((registry, token)) = &self.poll {
            register(&file, registry, *token)?;
        }
        let torn_line = if is_same(self.sink.output(), &file)? {
            TornLine::GoesOn
        } else {
            TornLine::BeginsAnew
        };
        self.sink.replace_output(file, torn_line);
        self.flush();
        Ok(())
    }
}

/// Opens for appending, without waiting for the reader of a pipe and without taking a
/// terminal for ours.
fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let opened = OpenOptions::new()
        .append(true)
        .create(true)
        // These are small numbers. The standard library adds O_CLOEXEC.
        .custom_flags(flags.bits() as i32)
        .open(path);
    opened.map_err(|e| match Errno::from_io_error(&e) {
        Some(Errno::NXIO) if is_pipe(path) => {
            io::Error::new(io::ErrorKind::BrokenPipe, "nobody reads this pipe")
        }
        _ => e,
    })
}

fn register(file: &File, registry: &Registry, token: Token) -> io::Result<()> {
    stdio::register(file.as_fd(), registry, token, Interest::WRITABLE)?;
    Ok(())
}

fn is_pipe(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|metadata| metadata.file_type().is_fifo())
}

fn is_same(one: &File, other: &File) -> io::Result<bool> {
    let (one, other) = (one.metadata()?, other.metadata()?);
    Ok((one.dev(), one.ino()) == (other.dev(), other.ino()))
}

/// Adds `lines`, which are whole, to `text`: each with `time` and a space before it.
fn stamp_lines(text: &mut Vec<u8>, lines: &[u8], time: &str) {
    for line in lines.split_inclusive(|&byte| byte == b'\n') {
        text.extend_from_slice(time.as_bytes());
        text.push(b' ');
        text.extend_from_slice(line);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Read;

    use rustix::fs::{CWD, FileType, Mode, mknodat};
    use tempfile::TempDir;

    use super::*;
    use crate::server::line_sink::LINE_BACKLOG_BYTES;

    #[test]
    fn each_line_of_a_turn_gets_the_time() {
        let mut text = b"before\n".to_vec();
        stamp_lines(&mut text, "<alice> hi\n* bob föhnt\n \n".as_bytes(), "NOW");
        let expected = "before\nNOW <alice> hi\nNOW * bob föhnt\nNOW  \n";
        assert_eq!(String::from_utf8(text).unwrap(), expected);
        let mut text = Vec::new();
        stamp_lines(&mut text, b"", "NOW");
        assert_eq!(text, b"");
    }

    struct Place {
        directory: TempDir,
    }

    impl Place {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            Self { directory }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.directory.path().join(name)
        }

        /// A pipe with a reader that does not wait, and the transcript into it.
        fn pipe(&self, name: &str) -> (File, Transcript) {
            let path = self.path(name);
            mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
            let reader = OpenOptions::new()
                .read(true)
                .custom_flags(OFlags::NONBLOCK.bits() as i32)
                .open(&path)
                .unwrap();
            (reader, Transcript::open(&path).unwrap())
        }
    }

    /// The lines without their times, which are checked.
    fn unstamped(text: &str) -> Vec<&str> {
        let lines = text.lines().map(|line| {
            let (time, line) = line.split_once(' ').unwrap();
            assert_eq!(time.len(), "2026-11-25T15:54:07+01:00".len(), "{time}");
            let age = Timestamp::now().duration_since(time.parse().unwrap());
            assert!(age.as_secs().abs() < 600, "{time}");
            line
        });
        lines.collect()
    }

    fn written(path: &Path) -> Vec<String> {
        let text = fs::read_to_string(path).unwrap();
        assert!(text.is_empty() || text.ends_with('\n'));
        unstamped(&text).into_iter().map(str::to_owned).collect()
    }

    /// What has been written to the pipe and not read.
    fn read_from(pipe: &mut File) -> String {
        let mut text = Vec::new();
        match pipe.read_to_end(&mut text) {
            Err(e) => assert_eq!(e.kind(), io::ErrorKind::WouldBlock),
            Ok(_) => panic!("the transcript is open"),
        }
        String::from_utf8(text).unwrap()
    }

    /// Much more than a pipe takes, and less than what may wait.
    fn more_than_a_pipe_takes() -> String {
        (0..6000).map(|n| format!("<alice> {n}\n")).collect()
    }

    #[test]
    fn what_is_said_goes_to_the_end_of_the_file_at_the_flush() {
        let place = Place::new();
        let path = place.path("log");
        for run in ["first", "second"] {
            let mut transcript = Transcript::open(&path).unwrap();
            let before = fs::read(&path).unwrap();
            transcript.said(format!("<alice> {run}\n<bob> {run}\n").as_bytes());
            transcript.said(b"-- carol left (2 here)\n");
            assert_eq!(fs::read(&path).unwrap(), before);
            transcript.flush();
        }
        let expected = [
            "<alice> first",
            "<bob> first",
            "-- carol left (2 here)",
            "<alice> second",
            "<bob> second",
            "-- carol left (2 here)",
        ];
        assert_eq!(written(&path), expected);
    }

    #[test]
    fn a_file_that_was_moved_away_is_left_at_the_reopening() {
        let place = Place::new();
        let (path, moved) = (place.path("log"), place.path("log.1"));
        let mut transcript = Transcript::open(&path).unwrap();
        transcript.said(b"one\n");
        transcript.flush();
        fs::rename(&path, &moved).unwrap();
        transcript.said(b"two\n");
        transcript.flush();
        transcript.said(b"three\n");
        transcript.reopen().unwrap();
        transcript.said(b"four\n");
        transcript.flush();
        assert_eq!(written(&moved), ["one", "two", "three"]);
        assert_eq!(written(&path), ["four"]);
    }

    #[test]
    fn when_the_reopening_fails_the_file_before_goes_on() {
        let place = Place::new();
        let (path, moved) = (place.path("log"), place.path("log.1"));
        let mut transcript = Transcript::open(&path).unwrap();
        fs::rename(&path, &moved).unwrap();
        fs::create_dir(&path).unwrap();
        transcript.said(b"one\n");
        let error = transcript.reopen().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::IsADirectory);
        transcript.said(b"two\n");
        transcript.flush();
        assert_eq!(written(&moved), ["one", "two"]);
    }

    #[test]
    fn what_cannot_be_written_to_is_told_at_the_opening() {
        let place = Place::new();
        let pipe = place.path("pipe");
        mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        for (path, kind, words) in [
            (
                place.directory.path().to_owned(),
                io::ErrorKind::IsADirectory,
                "directory",
            ),
            (
                place.path("missing/log"),
                io::ErrorKind::NotFound,
                "No such file",
            ),
            (pipe, io::ErrorKind::BrokenPipe, "nobody reads this pipe"),
        ] {
            let error = Transcript::open(&path).unwrap_err();
            assert_eq!(error.kind(), kind, "{}", path.display());
            assert!(error.to_string().contains(words), "{error}");
        }
    }

    #[test]
    fn on_a_full_disk_so_much_waits_until_there_is_room() {
        let place = Place::new();
        let path = place.path("log");
        let mut transcript = Transcript::open(&path).unwrap();
        transcript
            .sink
            .replace_output(open(Path::new("/dev/full")).unwrap(), TornLine::GoesOn);
        let line = "x".repeat(1000);
        let put_down = 2 * LINE_BACKLOG_BYTES / line.len();
        for _ in 0..put_down {
            transcript.said(format!("{line}\n").as_bytes());
            transcript.flush();
        }
        let waiting_bytes = transcript.sink.waiting_bytes();
        let bound = LINE_BACKLOG_BYTES..LINE_BACKLOG_BYTES + 2 * line.len();
        assert!(bound.contains(&waiting_bytes), "{waiting_bytes}");

        transcript.reopen().unwrap();
        transcript.said(b"and on\n");
        transcript.flush();
        let written = written(&path);
        let kept = written.iter().take_while(|found| **found == line).count();
        assert_eq!(kept, LINE_BACKLOG_BYTES.div_ceil(line.len() + 27));
        let missing = put_down - kept;
        let expected = [
            &format!("-- {missing} lines could not be written here"),
            "and on",
        ];
        assert_eq!(written[kept..], expected);
    }

    #[test]
    fn a_pipe_that_is_full_misses_nothing_when_it_is_read_again() {
        let place = Place::new();
        let (mut pipe, mut transcript) = place.pipe("pipe");
        let said = more_than_a_pipe_takes();
        transcript.said(said.as_bytes());
        transcript.flush();
        let mut text = read_from(&mut pipe);
        assert!(transcript.sink.waiting_bytes() > 0 && !text.ends_with('\n'));
        // It is the same pipe: nothing has been moved away.
        transcript.reopen().unwrap();
        while transcript.sink.waiting_bytes() > 0 {
            text += &read_from(&mut pipe);
            transcript.flush();
        }
        text += &read_from(&mut pipe);
        assert!(unstamped(&text).iter().copied().eq(said.lines()));
    }

    #[test]
    fn a_line_torn_in_one_file_is_whole_in_the_next() {
        let place = Place::new();
        let (mut pipe, mut transcript) = place.pipe("log");
        let said = more_than_a_pipe_takes();
        transcript.said(said.as_bytes());
        transcript.flush();
        fs::rename(place.path("log"), place.path("log.1")).unwrap();
        transcript.reopen().unwrap();
        let old = read_from_end(&mut pipe);
        let (whole, torn) = old.rsplit_once('\n').unwrap();
        let new = fs::read_to_string(place.path("log")).unwrap();
        assert!(!torn.is_empty() && new.starts_with(torn));
        let mut lines = unstamped(whole);
        lines.extend(unstamped(&new));
        assert!(lines.iter().copied().eq(said.lines()));
    }

    /// What has been written to the pipe; nobody writes there any more.
    fn read_from_end(pipe: &mut File) -> String {
        let mut text = String::new();
        pipe.read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn who_stops_reading_a_pipe_misses_what_is_counted() {
        let place = Place::new();
        let (pipe, mut transcript) = place.pipe("pipe");
        drop(pipe);
        for line in [&b"one\n"[..], b"two\n", b"three\n"] {
            transcript.said(line);
            transcript.flush();
        }
        let mut pipe = OpenOptions::new()
            .read(true)
            .custom_flags(OFlags::NONBLOCK.bits() as i32)
            .open(place.path("pipe"))
            .unwrap();
        transcript.flush();
        transcript.said(b"four\n");
        transcript.flush();
        let text = read_from(&mut pipe);
        let expected = ["-- 3 lines could not be written here", "four"];
        assert_eq!(unstamped(&text), expected);
    }
}
