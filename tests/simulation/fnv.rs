//! A hash that is the same on every machine and in every build.

use std::fmt;

/// FNV-1a of 64 bits (Fowler, Noll and Vo; RFC 9923).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    pub(crate) fn add(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

impl fmt::Display for Fnv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

#[test]
fn the_hash_is_the_known_one() {
    let mut hash = Fnv::default();
    hash.add(b"foo");
    hash.add(b"bar");
    assert_eq!(hash.to_string(), "85944171f73967e8");
}
