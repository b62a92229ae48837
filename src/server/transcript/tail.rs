//! The end of a transcript, read when the server starts: what the room remembers.
//!
//! Whatever is in the file is no obstacle: half lines, lines of other programs, gigabytes. Only
//! what people said to everybody is recognised.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use crate::protocol::event::Event;
use crate::protocol::event::text::read_speech;
use crate::protocol::time::Time;

/// The end of a transcript, and of the one before it if that is shorter.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    /// Oldest first.
    text: Vec<u8>,
    /// Whether the transcript ends within a line.
    pub(crate) is_torn: bool,
}

impl Tail {
    /// Reads at most `max_bytes` from the end of the transcript at `path`, and, where that is
    /// shorter, of the one that was rotated away to `path.1`. Only regular files are read.
    ///
    /// # Errors
    ///
    /// Those of open(2), lseek(2) and read(2) for the transcript; one before it need not be there.
    pub(crate) fn read(path: &Path, max_bytes: usize) -> io::Result<Self> {
        let last = end_of(path, max_bytes)?;
        let mut text = match max_bytes - last.len() {
            0 => Vec::new(),
            rest => end_of(&rotated(path), rest).unwrap_or_default(),
        };
        let is_torn = last.last().is_some_and(|&byte| byte != b'\n');
        // In a new file stands the whole of a line that was cut off in the old one.
        text.truncate(memchr::memrchr(b'\n', &text).map_or(0, |end| end + 1));
        text.extend(last);
        Ok(Self { text, is_torn })
    }

    /// What was said, oldest first.
    pub(crate) fn said(&self) -> impl Iterator<Item = (Time, Event<'_>)> {
        let whole = memchr::memrchr(b'\n', &self.text).unwrap_or(0);
        self.text[..whole]
            .split(|&byte| byte == b'\n')
            .filter_map(|line| {
                let (time, line) = std::str::from_utf8(line).ok()?.split_once(' ')?;
                // The mark of a clock that was wrong.
                let time = time.strip_suffix('?').unwrap_or(time);
                Some((Time::parse(time)?, read_speech(line)?))
            })
    }
}

/// Where a transcript is moved once it is long enough. A link to it stays where it is.
pub(super) fn rotated(path: &Path) -> PathBuf {
    let file = path.canonicalize();
    let mut name = OsString::from(file.as_deref().unwrap_or(path));
    name.push(".1");
    name.into()
}

/// The last `max_bytes` of a file, from the first line that begins in them.
fn end_of(path: &Path, max_bytes: usize) -> io::Result<Vec<u8>> {
    // Nobody waits for the other end of a pipe.
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let mut file = OpenOptions::new()
        .read(true)
        // The flags fit an i32. The standard library adds O_CLOEXEC.
        .custom_flags(flags.bits() as i32)
        .open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Ok(Vec::new());
    }
    let skipped = metadata.len().saturating_sub(max_bytes as u64);
    if skipped == 0 {
        return read_up_to(file, max_bytes);
    }
    // With the byte before: it tells whether a line begins after it.
    file.seek(SeekFrom::Start(skipped - 1))?;
    let mut text = read_up_to(file, max_bytes + 1)?;
    let first = memchr::memchr(b'\n', &text).map_or(text.len(), |end| end + 1);
    text.drain(..first);
    Ok(text)
}

fn read_up_to(file: File, max_bytes: usize) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    file.take(max_bytes as u64).read_to_end(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    use tempfile::TempDir;

    use super::*;

    const MAX_BYTES: usize = 64 * 1024;

    struct Place(TempDir);

    impl Place {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn path(&self) -> PathBuf {
            self.0.path().join("room.log")
        }

        fn write(&self, text: impl AsRef<[u8]>) -> &Self {
            fs::write(self.path(), text).unwrap();
            self
        }

        fn write_rotated(&self, text: impl AsRef<[u8]>) -> &Self {
            fs::write(rotated(&self.path()), text).unwrap();
            self
        }

        fn tail(&self) -> Tail {
            Tail::read(&self.path(), MAX_BYTES).unwrap()
        }

        /// What is remembered, as text.
        fn said(&self) -> Vec<String> {
            lines(&self.tail())
        }
    }

    fn lines(tail: &Tail) -> Vec<String> {
        let text = |(_, event): (_, Event<'_>)| {
            let mut text = Vec::new();
            event.write_text(&mut text);
            String::from_utf8(text).unwrap()
        };
        tail.said().map(text).collect()
    }

    fn stamped(line: &str) -> String {
        format!("2026-11-27T14:51:23+01:00 {line}\n")
    }

    #[test]
    fn what_was_said_to_everybody_is_remembered() {
        let place = Place::new();
        let said = [
            "<alice> hi",
            "* 10.0.0.1 waves",
            "-- operator: tea is ready",
        ];
        let mut text: String = said.into_iter().map(stamped).collect();
        text = text.replacen("+01:00", "+01:00?", 1);
        text += &stamped("-- alice left (1 here)");
        text += &stamped("-- 3 lines could not be written here");
        let tail = place.write(text).tail();
        assert_eq!(lines(&tail), said);
        assert!(!tail.is_torn);
        let (time, event) = tail.said().next().unwrap();
        assert_eq!(time.to_string(), "2026-11-27T13:51:23.000Z");
        assert!(matches!(event, Event::Message(speech) if speech.from.is_none()));
    }

    #[test]
    fn half_lines_and_other_programs_lines_are_passed_over() {
        let place = Place::new();
        let mut text = b"-27T14:51:23+01:00 <alice> torn at the beginning\n\n\0\0\0\xff\n".to_vec();
        text.extend(b"Nov 27 14:51:23 box kernel: <eth0> up\n");
        text.extend(stamped("<alice> whole").bytes());
        text.extend(b"2026-11-27T14:51:23+01:00 <alice> \xff\n");
        text.extend(b"2026-11-27T14:51:23+01:00 <alice> torn at the en");
        let tail = place.write(text).tail();
        assert_eq!(lines(&tail), ["<alice> whole"]);
        assert!(tail.is_torn);
    }

    #[test]
    fn a_short_transcript_is_preceded_by_the_one_before_it() {
        let place = Place::new();
        place.write_rotated(stamped("<alice> 1") + &stamped("<alice> 2"));
        assert!(Tail::read(&place.path(), MAX_BYTES).is_err());
        assert_eq!(place.write("").said(), ["<alice> 1", "<alice> 2"]);
        place.write(stamped("<alice> 3"));
        assert_eq!(place.said(), ["<alice> 1", "<alice> 2", "<alice> 3"]);
        // A line that was cut off in the old file is whole in the new one.
        place.write_rotated(stamped("<alice> 1") + "2026-11-27T14:51:23+01:00 <alice> 3");
        assert_eq!(place.said(), ["<alice> 1", "<alice> 3"]);
    }

    #[test]
    fn of_gigabytes_only_the_end_is_read() {
        let place = Place::new();
        let line = stamped("<alice> the last");
        place.write("");
        let file = OpenOptions::new().write(true).open(place.path()).unwrap();
        file.set_len(4 << 30).unwrap();
        let mut file = OpenOptions::new().append(true).open(place.path()).unwrap();
        io::Write::write_all(&mut file, format!("\n{line}").as_bytes()).unwrap();
        let tail = place.tail();
        assert_eq!(lines(&tail), ["<alice> the last"]);
        assert!(tail.text.len() <= MAX_BYTES);
    }

    #[test]
    fn the_first_line_is_whole_wherever_the_end_begins() {
        let place = Place::new();
        let line = stamped("<alice> hi");
        place.write(line.repeat(5));
        for max_bytes in 0..=6 * line.len() {
            let tail = Tail::read(&place.path(), max_bytes).unwrap();
            assert_eq!(lines(&tail).len(), (max_bytes / line.len()).min(5));
        }
    }

    #[test]
    fn a_pipe_is_not_read() {
        let place = Place::new();
        mknodat(
            CWD,
            place.path(),
            FileType::Fifo,
            Mode::RUSR | Mode::WUSR,
            0,
        )
        .unwrap();
        assert!(place.said().is_empty());
    }

    proptest! {
        #[test]
        fn whatever_is_there_ends_in_no_panic(
            text in prop::collection::vec(any::<u8>(), 0..200),
            max_bytes in 0_usize..100,
        ) {
            let place = Place::new();
            place.write(&text).write_rotated(&text);
            let tail = Tail::read(&place.path(), max_bytes).unwrap();
            prop_assert!(tail.text.len() <= max_bytes);
            prop_assert!(tail.said().next().is_none());
        }
    }
}
