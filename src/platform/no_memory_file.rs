//! What stands for a file in memory where the system has none that it could send: there is no
//! value of it, so nothing is sent by reference.

use std::io;
use std::ops::Range;
use std::os::fd::AsFd;

/// Holes would begin and end at multiples of this.
pub const HOLE_BYTES: u64 = 2 * 1024 * 1024;

/// A file in memory that does not exist.
#[derive(Clone, Debug)]
pub enum MemoryFile {}

impl MemoryFile {
    /// # Errors
    ///
    /// Always.
    pub fn create() -> io::Result<Self> {
        Err(io::Error::other(
            "this system has no files in memory that can be sent",
        ))
    }

    /// # Errors
    ///
    /// Never called.
    pub fn write(&self, _: &[u8], _: u64) -> io::Result<()> {
        match *self {}
    }

    /// # Errors
    ///
    /// Never called.
    pub fn read(&self, _: &mut [u8], _: u64) -> io::Result<()> {
        match *self {}
    }

    /// # Errors
    ///
    /// Never called.
    pub fn send(&self, _: impl AsFd, _: u64, _: usize) -> io::Result<usize> {
        match *self {}
    }

    /// # Errors
    ///
    /// Never called.
    pub fn punch(&self, _: Range<u64>) -> io::Result<()> {
        match *self {}
    }

    /// # Errors
    ///
    /// Never called.
    pub fn clear(&self) -> io::Result<()> {
        match *self {}
    }
}
