//! A pseudo-terminal: the master side for the test, the slave side for a program.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use super::lines::LineReader;

/// The master side: writing to it types, reading from it shows the output.
pub(crate) struct Keyboard(File);

/// Opens a terminal that is nobody's controlling terminal.
pub(crate) fn open_terminal() -> (LineReader<Keyboard>, OwnedFd) {
    // A program that another test starts meanwhile must not inherit either side.
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)
        .expect("a free terminal");
    grantpt(&master).expect("a master side");
    unlockpt(&master).expect("a master side");
    let name = ptsname(&master, Vec::new()).expect("a master side");
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let slave = rustix::fs::open(name, flags, Mode::empty()).expect("an unlocked terminal");
    (LineReader::new(Keyboard(File::from(master))), slave)
}

impl Keyboard {
    pub(crate) fn type_bytes(&self, bytes: &[u8]) {
        let written = rustix::io::write(&self.0, bytes).expect("an open terminal");
        assert_eq!(written, bytes.len(), "the terminal took only a part");
    }
}

impl Read for Keyboard {
    /// Linux answers EIO once nobody has the slave side open: the end.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match rustix::io::read(&self.0, buffer) {
            Err(Errno::IO) => Ok(0),
            result => Ok(result?),
        }
    }
}

impl AsFd for Keyboard {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
