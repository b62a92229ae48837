//! The message of the day: a file whose lines newcomers are shown.

use std::io::{self, Read};
use std::path::Path;

use crate::error::Error;
use crate::platform::secret_file::open_regular;

/// The server sends all of it to every newcomer.
const MAX_MOTD_BYTES: u64 = 8 * 1024;

/// The lines of the message of the day.
///
/// # Errors
///
/// If the file cannot be read, is no regular file, or is too long.
pub(crate) fn read_motd(path: &Path) -> Result<Vec<String>, Error> {
    let text = read_page(path).map_err(|source| Error::ReadMotd {
        path: path.to_owned(),
        source,
    })?;
    let text = String::from_utf8_lossy(&text);
    Ok(text.lines().map(str::to_owned).collect())
}

fn read_page(path: &Path) -> io::Result<Vec<u8>> {
    let (file, _) = open_regular(path)?;
    let mut text = Vec::new();
    file.take(MAX_MOTD_BYTES + 1).read_to_end(&mut text)?;
    if text.len() as u64 > MAX_MOTD_BYTES {
        return Err(io::Error::other(format!(
            "longer than {MAX_MOTD_BYTES} bytes (every newcomer gets all of it); shorten it"
        )));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use tempfile::NamedTempFile;

    use super::*;

    #[test]
    fn a_motd_is_read_by_lines_and_bounded() {
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
