//! The password of a room: how it is read, and compared.

use std::io;
use std::path::Path;

use subtle::ConstantTimeEq;

use crate::error::Error;
use crate::platform::secret_file::{MAX_PASSWORD_BYTES, read_password};

/// What everybody has to give who comes in.
pub(crate) struct Password {
    /// Its length and its bytes, filled up: so a comparison takes the same time for all.
    padded: Padded,
}

type Padded = [u8; MAX_PASSWORD_BYTES + 1];

impl Password {
    /// The password in the file at `path`, which has to fit into a line.
    ///
    /// # Errors
    ///
    /// If it cannot be read, others can read it, or it is none.
    pub(crate) fn read(path: &Path, max_line_bytes: u32) -> Result<Self, Error> {
        let password = read_password(path).and_then(|password| {
            if "/pass ".len() + password.len() > max_line_bytes as usize {
                let words = "its first line, the password, is too long for --max-line";
                return Err(io::Error::other(words));
            }
            Ok(Self::new(&password))
        });
        password.map_err(|source| Error::ReadPassword {
            path: path.to_owned(),
            source,
        })
    }

    /// `password` has at most [`MAX_PASSWORD_BYTES`].
    pub(crate) fn new(password: &str) -> Self {
        let padded = padded(password.as_bytes());
        Self {
            padded: padded.expect("a password is not too long"),
        }
    }

    /// Whether it is `guess`. That takes the same time whatever is wrong with it.
    pub(crate) fn is(&self, guess: &[u8]) -> bool {
        padded(guess).is_some_and(|guess| self.padded.ct_eq(&guess).into())
    }
}

/// `None` if `text` is longer than any password.
fn padded(text: &[u8]) -> Option<Padded> {
    let mut padded = [0; MAX_PASSWORD_BYTES + 1];
    padded[0] = u8::try_from(text.len()).ok()?;
    padded[1..].get_mut(..text.len())?.copy_from_slice(text);
    Some(padded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_password_is_the_password() {
        let longest = "x".repeat(MAX_PASSWORD_BYTES);
        for password in ["tea", "grüner tee", &longest] {
            let door = Password::new(password);
            assert!(door.is(password.as_bytes()));
            for wrong in [
                "",
                "te",
                "tea\0",
                "teaa",
                "Tea",
                &password[1..],
                &format!("{password}x"),
                &"x".repeat(1000),
            ] {
                assert!(!door.is(wrong.as_bytes()), "{password} is not {wrong}");
            }
        }
    }
}
