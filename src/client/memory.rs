//! What the prompt remembers from one time to the next: the room that was joined last, and what
//! was typed. Two small files of the user's, in `$XDG_STATE_HOME/chat` (by default
//! `~/.local/state/chat`; freedesktop.org, *XDG Base Directory Specification*).
//!
//! Nothing depends on them: what cannot be read is as if it were not there, and what cannot be
//! written is lost. Several clients may share them.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use log::info;

use crate::frontend::entered::has_password;
use crate::platform::state::{PRIVATE, make_folder, open_locked, replace, user_folder};

/// Where the room is noted that was joined last, as HOST:PORT.
const ROOM_FILE: &str = "room";

/// What was typed, an input a line, oldest first.
const HISTORY_FILE: &str = "history";

/// No place is longer: a name has at most 253 characters.
const MAX_ROOM_BYTES: u64 = 512;

/// Above this, the older half of what was typed is forgotten.
const MAX_HISTORY_BYTES: u64 = 512 * 1024;

/// Says something to one person alone: it is not written down, nor is a password.
const UNWRITTEN: &str = "/msg";

#[derive(Debug)]
pub(crate) struct Memory {
    /// `None` to remember nothing.
    folder: Option<PathBuf>,
}

impl Memory {
    /// That of the user whom the environment names.
    pub(crate) fn of_user() -> Self {
        Self {
            folder: user_folder(),
        }
    }

    /// The room that was joined last, as HOST:PORT.
    pub(crate) fn room(&self) -> Option<String> {
        let file = File::open(self.folder.as_ref()?.join(ROOM_FILE)).ok()?;
        let mut text = String::new();
        file.take(MAX_ROOM_BYTES).read_to_string(&mut text).ok()?;
        let room = text.trim();
        (!room.is_empty()).then(|| room.to_owned())
    }

    /// Notes that `room` was joined.
    pub(crate) fn note_room(&self, room: &str) {
        if self.room().as_deref() == Some(room) {
            return;
        }
        self.try_to("note the room", |folder| {
            replace(
                &folder.join(ROOM_FILE),
                format!("{room}\n").as_bytes(),
                PRIVATE,
            )
        });
    }

    /// What was typed, oldest first.
    pub(crate) fn inputs(&self) -> Vec<String> {
        let Some(folder) = &self.folder else {
            return Vec::new();
        };
        let mut bytes = Vec::new();
        let file = File::open(folder.join(HISTORY_FILE));
        let read = file.and_then(|file| file.take(2 * MAX_HISTORY_BYTES).read_to_end(&mut bytes));
        if read.is_err() {
            return Vec::new();
        }
        let text = String::from_utf8_lossy(&bytes);
        text.lines().map(unescaped).collect()
    }

    /// Notes what was typed, unless it is for few.
    pub(crate) fn note_inputs(&self, inputs: &[String]) {
        let mut text = String::new();
        for input in inputs.iter().filter(|input| may_be_written(input)) {
            text += &escaped(input);
            text.push('\n');
        }
        if !text.is_empty() {
            self.try_to("note what was typed", |folder| {
                append(&folder.join(HISTORY_FILE), text.as_bytes())
            });
        }
    }

    fn try_to(&self, what: &str, act: impl FnOnce(&Path) -> io::Result<()>) {
        let Some(folder) = &self.folder else {
            return;
        };
        if let Err(e) = make_folder(folder).and_then(|()| act(folder)) {
            info!("cannot {what} in {}: {e}", folder.display());
        }
    }
}

fn may_be_written(input: &str) -> bool {
    let is_private = |line: &str| {
        let line = line.trim_start().to_ascii_lowercase();
        line.starts_with(UNWRITTEN)
    };
    !input.lines().any(is_private) && !has_password(input)
}

/// An input as a line.
fn escaped(input: &str) -> String {
    input.replace('\\', "\\\\").replace('\n', "\\n")
}

fn unescaped(line: &str) -> String {
    let mut input = String::new();
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('n') => input.push('\n'),
                Some(escaped) => input.push(escaped),
                None => {}
            },
            c => input.push(c),
        }
    }
    input
}

/// Appends `lines`. Then forgets the older half, if that is too much.
fn append(path: &Path, lines: &[u8]) -> io::Result<()> {
    let mut file = open_locked(path, PRIVATE)?;
    file.write_all(lines)?;
    let size = file.metadata()?.len();
    if size > MAX_HISTORY_BYTES {
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(size - MAX_HISTORY_BYTES / 2))?;
        file.read_to_end(&mut bytes)?;
        let from = bytes.iter().position(|&byte| byte == b'\n');
        replace(path, &bytes[from.map_or(0, |at| at + 1)..], PRIVATE)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn memory() -> (tempfile::TempDir, Memory) {
        let home = tempfile::tempdir().unwrap();
        let folder = Some(home.path().join("state/chat"));
        (home, Memory { folder })
    }

    fn note(memory: &Memory, input: &str) {
        memory.note_inputs(&[input.to_owned()]);
    }

    #[test]
    fn what_was_typed_comes_back() {
        let (home, memory) = memory();
        assert_eq!(memory.inputs(), Vec::<String>::new());
        let inputs = ["hi", "a block\nof \\n lines\n", "/who", "grüße", "\\"];
        inputs.iter().for_each(|input| note(&memory, input));
        for secret in [
            "/pass x",
            "/MSG bob psst",
            "/password x",
            "/pas x",
            "one\n /msg bob two",
        ] {
            note(&memory, secret);
        }
        assert_eq!(memory.inputs(), inputs);
        let folder = home.path().join("state/chat");
        for (path, mode) in [(folder.clone(), 0o700), (folder.join(HISTORY_FILE), 0o600)] {
            let permissions = fs::metadata(path).unwrap().permissions();
            assert_eq!(permissions.mode() & 0o777, mode);
        }
    }

    #[test]
    fn what_was_typed_is_bounded_whoever_writes_it() {
        const LINE_BYTES: usize = 1000;
        let (home, memory) = memory();
        let count = 3 * MAX_HISTORY_BYTES as usize / LINE_BYTES;
        std::thread::scope(|scope| {
            for who in 0..2 {
                let memory = &memory;
                scope.spawn(move || {
                    for number in 0..count {
                        note(memory, &format!("{who} {number:x<LINE_BYTES$}"));
                    }
                });
            }
        });
        let folder = home.path().join("state/chat");
        let size = fs::metadata(folder.join(HISTORY_FILE)).unwrap().len();
        assert!(size <= MAX_HISTORY_BYTES, "{size}");
        let inputs = memory.inputs();
        // Of each client the last ones, whole and in order.
        for who in 0..2 {
            let of_one = inputs.iter().filter_map(|input| {
                let number = input.strip_prefix(&format!("{who} "))?;
                assert_eq!(number.len(), LINE_BYTES);
                number.trim_end_matches('x').parse::<usize>().ok()
            });
            let numbers: Vec<_> = of_one.collect();
            assert!(numbers.is_sorted(), "{numbers:?}");
        }
        assert!(inputs.len() >= MAX_HISTORY_BYTES as usize / LINE_BYTES / 2 - 1);
        assert_eq!(fs::read_dir(folder).unwrap().count(), 1, "nothing is left");
    }

    #[test]
    fn the_last_room_is_remembered() {
        let (_home, memory) = memory();
        assert_eq!(memory.room(), None);
        for room in ["box.lan:8081", "[fd00::5]:8082"] {
            memory.note_room(room);
            assert_eq!(memory.room().as_deref(), Some(room));
        }
        // Nowhere to write is no trouble.
        let nowhere = Memory {
            folder: Some("/dev/null/chat".into()),
        };
        nowhere.note_room("box");
        note(&nowhere, "hi");
        assert_eq!((nowhere.room(), nowhere.inputs()), (None, Vec::new()));
    }
}
