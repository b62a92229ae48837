//! The message of the day: a file of which every newcomer is told all lines.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use crate::error::Error;

/// The longest, in bytes: every newcomer is sent all of it.
const MAX_MOTD_BYTES: u64 = 8 * 1024;

/// The lines of the file at `path`.
///
/// # Errors
///
/// When it cannot be read, or is longer than 8 KiB.
pub fn read_motd(path: &Path) -> Result<Vec<String>, Error> {
    let text = read(path).map_err(|source| Error::ReadMotd {
        path: path.to_owned(),
        source,
    })?;
    let text = String::from_utf8_lossy(&text);
    Ok(text.lines().map(str::to_owned).collect())
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    File::open(path)?
        .take(MAX_MOTD_BYTES + 1)
        .read_to_end(&mut text)?;
    if text.len() as u64 > MAX_MOTD_BYTES {
        return Err(io::Error::other(format!(
            "it is longer than {MAX_MOTD_BYTES} bytes, and every newcomer would be sent it"
        )));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use tempfile::NamedTempFile;

    use super::*;

    #[test]
    fn every_line_is_told_and_no_more_than_a_page() {
        let mut file = NamedTempFile::new().unwrap();
        file.write_all(b"Be kind.\r\n\ncaf\xe9").unwrap();
        let lines = read_motd(file.path()).unwrap();
        assert_eq!(lines, ["Be kind.", "", "caf\u{fffd}"]);

        file.write_all(&vec![b'x'; MAX_MOTD_BYTES as usize])
            .unwrap();
        let error = read_motd(file.path()).unwrap_err().to_string();
        assert!(error.contains("8192 bytes"), "{error}");
        let missing = file.path().with_extension("missing");
        let error = read_motd(&missing).unwrap_err().to_string();
        assert!(error.contains("missing"), "{error}");
    }
}
