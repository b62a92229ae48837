//! Random bits from the system, for what nobody may guess.

use std::io;

/// As many as a secret needs. Waits where the system has only just started and has none yet.
///
/// # Errors
///
/// If the system has none to give: then it has none at any time.
pub fn random_bits() -> io::Result<u128> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)?;
    Ok(u128::from_ne_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_are_the_same() {
        assert_ne!(random_bits().unwrap(), random_bits().unwrap());
    }
}
