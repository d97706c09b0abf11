//! A file that can be read through a ring, from any thread, for as long as anybody holds a handle.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;

/// A counted handle to an open file. Operations in flight hold one too, so the descriptor is never closed under
/// the kernel (invariant I2).
#[derive(Clone, Debug)]
pub struct File {
    fd: Arc<OwnedFd>,
}

impl File {
    /// Fills `buf` from byte offset `at`, blocking the calling thread: for start-up and helper threads.
    ///
    /// # Errors
    /// The kernel's error, or [`io::ErrorKind::UnexpectedEof`] when the file ends first.
    pub fn read_exact_at(&self, mut buf: &mut [u8], mut at: u64) -> io::Result<()> {
        while !buf.is_empty() {
            match rustix::io::pread(&self.fd, &mut *buf, at) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => {
                    buf = &mut buf[n..];
                    at += n as u64;
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    pub(crate) fn raw(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

impl From<OwnedFd> for File {
    fn from(fd: OwnedFd) -> File {
        File { fd: Arc::new(fd) }
    }
}

impl From<std::fs::File> for File {
    fn from(file: std::fs::File) -> File {
        OwnedFd::from(file).into()
    }
}

impl AsFd for File {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
