//! Secrets in files, which others must not be able to read.

use std::env;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;

/// The longest password.
pub(crate) const MAX_PASSWORD_BYTES: usize = 200;

/// The bits of a file's mode by which others than its owner and its group read or change it.
const OTHERS_MODE: u32 = 0o006;

/// Where Docker and Podman put secrets, readable for everybody inside.
const CONTAINER_SECRETS: &str = "/run/secrets";

/// Where systemd puts them (systemd.exec(5)).
const CREDENTIALS_VARIABLE: &str = "CREDENTIALS_DIRECTORY";

/// The password in the first line of the file.
///
/// # Errors
///
/// If the file cannot be read, is no regular file, can be read by others, or has no password.
pub(crate) fn read_password(path: &Path) -> io::Result<String> {
    let text = read_secret(path, MAX_PASSWORD_BYTES as u64 + 2)?;
    password_in(&text).map_err(io::Error::other)
}

/// The beginning of a file, up to so many bytes.
///
/// # Errors
///
/// As [`open_secret`].
pub(crate) fn read_secret(path: &Path, max_bytes: u64) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    open_secret(path)?.take(max_bytes).read_to_end(&mut text)?;
    Ok(text)
}

/// Opens a file that others cannot read or change, or that is where only secrets are.
///
/// # Errors
///
/// Those of [`open_regular`], and that they can.
pub(crate) fn open_secret(path: &Path) -> io::Result<File> {
    let (file, meta) = open_regular(path)?;
    if meta.is_dir() {
        return Err(io::Error::other("it is a folder; name the file in it"));
    }
    if meta.mode() & OTHERS_MODE != 0 && !is_in_folder_of_secrets(path) {
        let words = "others can read or change it; chmod o-rwx it";
        return Err(io::Error::other(words));
    }
    Ok(file)
}

/// Opens a file, and nothing that could be waited for.
///
/// # Errors
///
/// Those of open(2), and that it is something else.
pub(crate) fn open_regular(path: &Path) -> io::Result<(File, Metadata)> {
    // Otherwise a pipe without a writer would keep open(2) waiting.
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = File::options()
        .read(true)
        // The flags fit an i32. The standard library adds O_CLOEXEC.
        .custom_flags(flags.bits() as i32)
        .open(path)?;
    let meta = file.metadata()?;
    let kind = meta.file_type();
    if !kind.is_file() && !kind.is_dir() {
        return Err(io::Error::other("not a regular file; copy its text to one"));
    }
    Ok((file, meta))
}

fn is_in_folder_of_secrets(path: &Path) -> bool {
    let Ok(path) = path.canonicalize() else {
        return false;
    };
    let folder = env::var_os(CREDENTIALS_VARIABLE).filter(|folder| !folder.is_empty());
    let is_in = |folder: &Path| {
        let folder = folder.canonicalize();
        folder.is_ok_and(|folder| path.starts_with(folder))
    };
    folder.is_some_and(|folder| is_in(Path::new(&folder))) || is_in(Path::new(CONTAINER_SECRETS))
}

fn password_in(text: &[u8]) -> Result<String, &'static str> {
    let line = text.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let password = str::from_utf8(line).unwrap_or("\0");
    if password.is_empty() {
        Err("its first line, the password, is empty")
    } else if password.len() > MAX_PASSWORD_BYTES {
        Err("its first line, the password, is longer than 200 bytes")
    } else if password.contains(char::is_control) {
        Err("its first line, the password, has control characters or is not UTF-8")
    } else if password.trim() != password {
        // Nobody would see them, and `/pass` drops the first ones.
        Err("its first line, the password, begins or ends with a space")
    } else {
        Ok(password.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_password_is_the_first_line() {
        for text in ["tea", "tea\n", "tea\r\n", "tea\nmore\n"] {
            assert_eq!(password_in(text.as_bytes()).unwrap(), "tea", "{text:?}");
        }
        assert_eq!(
            password_in("grüner tee\n".as_bytes()).unwrap(),
            "grüner tee"
        );
        let longest = "x".repeat(MAX_PASSWORD_BYTES);
        assert_eq!(
            password_in(format!("{longest}\n").as_bytes()).unwrap(),
            longest
        );
        for (text, why) in [
            ("", "empty"),
            ("\ntea\n", "empty"),
            ("t\0ea", "control"),
            (" tea", "space"),
            ("tea \n", "space"),
            (&format!("{longest}x"), "200"),
        ] {
            assert!(
                password_in(text.as_bytes()).unwrap_err().contains(why),
                "{text:?}"
            );
        }
        assert!(password_in(b"t\xe9").unwrap_err().contains("UTF-8"));
    }

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        fs::write(&path, "tea\n").unwrap();
        for (mode, is_read) in [(0o600, true), (0o640, true), (0o644, false), (0o602, false)] {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let read = read_password(&path);
            assert_eq!(read.is_ok(), is_read, "{mode:o}: {read:?}");
        }
        let error = read_password(&folder.path().join("none")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(read_password(Path::new("/dev/null")).is_err());
        assert!(read_password(folder.path()).is_err());
    }
}
