//! The transcript: everything said in the room, appended to a file with times.
//!
//! The file must not stall the room. A pipe or a terminal takes what it can at once, and
//! the rest waits (see [`LineSink`]). A write to a regular file always blocks until the data
//! is in the page cache, and no other thread could do it. So a network file system whose
//! server hangs would make the room hang as well: do not keep a transcript there.
//!
//! Nothing is synced to disk: after a crash of the machine, the last half a minute may be
//! missing.

mod output;
pub(crate) mod tail;

use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use log::warn;
use mio::{Registry, Token};

use self::output::Output;
use crate::platform::local_time::{self, Stamp};
use crate::server::line_sink::{LineSink, TornLine};

#[derive(Debug)]
pub(crate) struct Transcript {
    path: PathBuf,
    sink: LineSink<Output>,
    stamp: Stamp,
    max_bytes: Option<u64>,
    /// A log message has said that times are marked.
    has_doubted_clock: bool,
    /// For [`Transcript::reopen`]. `None` before [`Transcript::register`].
    poll: Option<(Registry, Token)>,
}

impl Transcript {
    /// Opens the file at `path` for appending, and creates it if necessary. It may also be a
    /// pipe with a reader, or a terminal. A regular file is at most `max_bytes` long.
    ///
    /// Times are in the system's current time zone (`TZ`, or `/etc/localtime`).
    ///
    /// # Errors
    ///
    /// Those of open(2). `BrokenPipe` for a pipe without a reader.
    pub(crate) fn open(path: &Path, max_bytes: Option<u64>) -> io::Result<Self> {
        let file = Output::open(path, max_bytes)?;
        Ok(Self {
            path: path.to_owned(),
            sink: LineSink::new(file, path.display().to_string()),
            stamp: Stamp::local(local_time::Format::Rfc3339),
            max_bytes,
            has_doubted_clock: false,
            poll: None,
        })
    }

    /// Registers the file for writing, and later those that [`Transcript::reopen`] opens.
    ///
    /// # Errors
    ///
    /// Those of epoll_ctl(2) except EPERM: a regular file is always writable.
    pub(crate) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        self.sink.output().register(registry, token)?;
        self.poll = Some((registry.try_clone()?, token));
        Ok(())
    }

    /// Queues whole lines, each with the current time before it:
    /// `2026-11-25T15:54:07+01:00 <alice> hi`. A time that cannot be right has a `?` behind it.
    pub(crate) fn said(&mut self, lines: &[u8]) {
        self.said_at(lines, SystemTime::now());
    }

    fn said_at(&mut self, lines: &[u8], now: SystemTime) {
        let is_believable = local_time::is_believable(now);
        let mark = if is_believable { "" } else { "?" };
        let stamp = &mut self.stamp;
        self.sink.lines_with(lines, |waiting, lines| {
            stamp_lines(waiting, lines, &format!("{}{mark}", stamp.at(now)));
        });
        if !is_believable && !std::mem::replace(&mut self.has_doubted_clock, true) {
            let time = stamp.at(now);
            warn!(
                "the clock shows {time}, which is before this program was made: until it is \
                 set, times in the transcript are marked with ?"
            );
        }
    }

    /// Ends a line that was left unfinished by an earlier run, visibly.
    pub(crate) fn end_torn_line(&mut self) {
        self.sink.lines("…\n".as_bytes());
    }

    /// Writes queued lines. Call it at the end of an iteration, and when the file is writable
    /// again. See [`LineSink::flush`].
    pub(crate) fn flush(&mut self) {
        let stamp = &mut self.stamp;
        self.sink.flush(|lines| {
            let time = stamp.at(SystemTime::now());
            format!("{time} -- {lines} could not be written here\n")
        });
    }

    /// Flushes, and switches to the file that is now at the path, or creates it: a log
    /// rotation has moved the old one away.
    ///
    /// Lines that still wait go to the new file. If the old file ends with part of a line,
    /// the new one begins with the whole line. If both are the same file, the line
    /// continues.
    ///
    /// # Errors
    ///
    /// Those of [`Transcript::open`] and [`Transcript::register`]. The old file stays in use.
    pub(crate) fn reopen(&mut self) -> io::Result<()> {
        self.flush();
        let mut file = Output::open(&self.path, self.max_bytes)?;
        if let Some((registry, token)) = &self.poll {
            file.register(registry, *token)?;
        }
        let torn_line = if file.continues(self.sink.output())? {
            TornLine::Continue
        } else {
            TornLine::Restart
        };
        self.sink.replace_output(file, torn_line);
        self.flush();
        Ok(())
    }
}

/// Appends whole `lines` to `text`, each after `time` and a space.
fn stamp_lines(text: &mut Vec<u8>, lines: &[u8], time: &str) {
    for line in lines.split_inclusive(|&byte| byte == b'\n') {
        text.extend_from_slice(time.as_bytes());
        text.push(b' ');
        text.extend_from_slice(line);
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File, OpenOptions, Permissions};
    use std::io::Read;
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::fs::{MetadataExt, OpenOptionsExt};

    use jiff::Timestamp;
    use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat};
    use tempfile::TempDir;

    use super::*;
    use crate::server::line_sink::LINE_BACKLOG_BYTES;

    #[test]
    fn each_line_of_a_batch_gets_the_time() {
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

        /// A pipe's non-blocking reader, and a transcript that writes to the pipe.
        fn pipe(&self, name: &str) -> (File, Transcript) {
            let path = self.path(name);
            mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
            let reader = OpenOptions::new()
                .read(true)
                .custom_flags(OFlags::NONBLOCK.bits() as i32)
                .open(&path)
                .unwrap();
            (reader, Transcript::open(&path, None).unwrap())
        }
    }

    /// The lines without their times. Checks the times.
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

    /// The unread contents of the pipe.
    fn read_from(pipe: &mut File) -> String {
        let mut text = Vec::new();
        match pipe.read_to_end(&mut text) {
            Err(e) => assert_eq!(e.kind(), io::ErrorKind::WouldBlock),
            Ok(_) => panic!("the transcript is open"),
        }
        String::from_utf8(text).unwrap()
    }

    /// Much more than a pipe takes, and less than the bound of the queue.
    fn more_than_a_pipe_takes() -> String {
        (0..6000).map(|n| format!("<alice> {n}\n")).collect()
    }

    #[test]
    fn flush_appends_to_the_file() {
        let place = Place::new();
        let path = place.path("log");
        for run in ["first", "second"] {
            let mut transcript = Transcript::open(&path, None).unwrap();
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
    fn reopen_switches_to_a_new_file() {
        let place = Place::new();
        let (path, moved) = (place.path("log"), place.path("log.1"));
        let mut transcript = Transcript::open(&path, None).unwrap();
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

    /// A line of `written`, with its time, is so long.
    const LINE_BYTES: u64 = "2026-11-25T15:54:07+01:00 <alice> 00\n".len() as u64;

    fn say(transcript: &mut Transcript, numbers: std::ops::Range<u32>) {
        let lines: String = numbers.map(|n| format!("<alice> {n:02}\n")).collect();
        transcript.said(lines.as_bytes());
        transcript.flush();
    }

    fn said(numbers: std::ops::Range<u32>) -> Vec<String> {
        numbers.map(|n| format!("<alice> {n:02}")).collect()
    }

    #[test]
    fn at_the_bound_the_file_moves_and_one_is_kept() {
        let place = Place::new();
        let (path, moved) = (place.path("log"), place.path("log.1"));
        let bound = Some(3 * LINE_BYTES + 5);
        let mut transcript = Transcript::open(&path, bound).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        say(&mut transcript, 0..2);
        assert!(!moved.exists());
        // One fits.
        say(&mut transcript, 2..4);
        assert_eq!((written(&moved), written(&path)), (said(0..3), said(3..4)));
        say(&mut transcript, 4..14);
        assert_eq!(
            (written(&moved), written(&path)),
            (said(9..12), said(12..14))
        );
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o640);
        drop(transcript);
        // The next run counts what is there.
        let mut transcript = Transcript::open(&path, bound).unwrap();
        say(&mut transcript, 14..16);
        transcript.reopen().unwrap();
        say(&mut transcript, 16..18);
        assert_eq!(
            (written(&moved), written(&path)),
            (said(12..15), said(15..18))
        );
    }

    #[test]
    fn a_line_over_the_bound_has_a_file_of_its_own() {
        let place = Place::new();
        let (path, moved) = (place.path("log"), place.path("log.1"));
        let mut transcript = Transcript::open(&path, Some(LINE_BYTES)).unwrap();
        let long = "x".repeat(100);
        transcript.said(format!("{long}\nshort\n").as_bytes());
        transcript.flush();
        assert_eq!(written(&moved), [long]);
        assert_eq!(written(&path), ["short"]);
    }

    #[test]
    fn a_file_that_cannot_be_moved_is_like_a_full_disk() {
        let place = Place::new();
        let (path, moved) = (place.path("log"), place.path("log.1"));
        let mut transcript = Transcript::open(&path, Some(2 * LINE_BYTES)).unwrap();
        // A file cannot take the place of a folder.
        fs::create_dir(&moved).unwrap();
        say(&mut transcript, 0..5);
        assert_eq!(written(&path), said(0..2));
        assert!(transcript.sink.waiting_bytes() > 0);
        fs::remove_dir(&moved).unwrap();
        say(&mut transcript, 5..6);
        assert_eq!((written(&moved), written(&path)), (said(2..4), said(4..6)));
    }

    #[test]
    fn a_link_to_a_larger_disk_stays() {
        let place = Place::new();
        let (link, path, moved) = (place.path("log"), place.path("disk"), place.path("disk.1"));
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let mut transcript = Transcript::open(&link, Some(2 * LINE_BYTES)).unwrap();
        say(&mut transcript, 0..3);
        assert_eq!((written(&moved), written(&path)), (said(0..2), said(2..3)));
        assert!(link.is_symlink());
    }

    #[test]
    fn times_of_a_clock_that_is_wrong_are_marked() {
        let place = Place::new();
        let path = place.path("log");
        let mut transcript = Transcript::open(&path, None).unwrap();
        for now in [SystemTime::UNIX_EPOCH, SystemTime::now()] {
            transcript.said_at(b"hi\n", now);
        }
        transcript.flush();
        let text = fs::read_to_string(&path).unwrap();
        let (doubtful, believed) = text.split_once('\n').unwrap();
        assert!(doubtful.ends_with("? hi"), "{doubtful}");
        assert_eq!(unstamped(believed), ["hi"]);
    }

    #[test]
    fn a_failed_reopen_keeps_the_old_file() {
        let place = Place::new();
        let (path, moved) = (place.path("log"), place.path("log.1"));
        let mut transcript = Transcript::open(&path, None).unwrap();
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
    fn open_reports_what_cannot_be_written_to() {
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
            let error = Transcript::open(&path, None).unwrap_err();
            assert_eq!(error.kind(), kind, "{}", path.display());
            assert!(error.to_string().contains(words), "{error}");
        }
    }

    #[test]
    fn lines_wait_for_a_full_disk_up_to_the_bound() {
        let place = Place::new();
        let path = place.path("log");
        let mut transcript = Transcript::open(&path, None).unwrap();
        transcript.sink.replace_output(
            Output::open(Path::new("/dev/full"), None).unwrap(),
            TornLine::Continue,
        );
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
    fn a_full_pipe_loses_nothing_once_it_is_read() {
        let place = Place::new();
        let (mut pipe, mut transcript) = place.pipe("pipe");
        let said = more_than_a_pipe_takes();
        transcript.said(said.as_bytes());
        transcript.flush();
        let mut text = read_from(&mut pipe);
        assert!(transcript.sink.waiting_bytes() > 0 && !text.ends_with('\n'));
        // Nothing was moved: it is still the same pipe.
        transcript.reopen().unwrap();
        while transcript.sink.waiting_bytes() > 0 {
            text += &read_from(&mut pipe);
            transcript.flush();
        }
        text += &read_from(&mut pipe);
        assert!(unstamped(&text).iter().copied().eq(said.lines()));
    }

    #[test]
    fn a_line_cut_off_in_one_file_is_whole_in_the_next() {
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

    /// The unread contents of the pipe, whose writer is gone.
    fn read_from_end(pipe: &mut File) -> String {
        let mut text = String::new();
        pipe.read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn lines_lost_without_a_reader_are_counted() {
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
