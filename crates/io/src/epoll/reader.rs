//! Reading files: at once what is in the page cache, by a helper thread what is not, since a file
//! is always "ready" and yet may block for as long as a disk takes. Opening and looking at files:
//! by the helper.

use std::ffi::CStr;
use std::io::{self, IoSliceMut};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use rustix::io::{Errno, ReadWriteFlags};

use crate::engine::{Answer, Look};
use crate::file::File;
use crate::read_buf::RUNS_MAX;
use crate::table::EntryId;
use crate::waker::Waker;

/// Buffers between the helper and the ring, and so what the helper is asked for at a time.
const BUFFERS: usize = 4;
/// Bytes of each.
const BUFFER: usize = 64 << 10;
/// The longest path with its end (limits.h).
const PATH_MAX: usize = 4096;
/// The helper's stack: it makes system calls and nothing else.
const STACK: usize = 64 << 10;

/// Memory of the helper's own: it must not write into a ring that another thread owns.
struct Job {
    op: EntryId,
    file: File,
    task: Task,
    buffer: Box<[u8]>,
}

enum Task {
    Read {
        at: u64,
        len: usize,
    },
    /// The path is in the buffer; the file is the directory.
    Look(Look),
}

/// A finished job of the helper.
pub(super) struct Done {
    pub(super) op: EntryId,
    pub(super) result: Result<usize, Errno>,
    found: Option<Answer>,
    buffer: Box<[u8]>,
}

impl Done {
    /// Takes what was found.
    ///
    /// # Errors
    /// The error that `result` has too.
    pub(super) fn take_found(&mut self) -> Result<Answer, Errno> {
        self.result?;
        self.found.take().ok_or(Errno::IO)
    }

    /// Returns the bytes, none when it failed.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.buffer[..self.result.unwrap_or(0).min(self.buffer.len())]
    }
}

/// What became of a job for the helper.
#[must_use]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Handover {
    Taken,
    /// All buffers are in use: ask again when a job is done.
    Busy,
}

pub(super) struct Reader {
    /// `None` after the helper was asked to end.
    jobs: Option<SyncSender<Job>>,
    done: Receiver<Done>,
    /// Rung by the helper after each job.
    pub(super) bell: Waker,
    buffers: Vec<Box<[u8]>>,
    thread: Option<JoinHandle<()>>,
}

impl Reader {
    pub(super) fn start() -> io::Result<Reader> {
        let bell = Waker::new()?;
        let (jobs, to_do) = sync_channel::<Job>(BUFFERS);
        // As many places as buffers, in both directions: neither side ever waits for room.
        let (finished, done) = sync_channel(BUFFERS);
        let rung = bell.clone();
        let thread = std::thread::Builder::new().name("sitar-read".to_owned()).stack_size(STACK).spawn(
            // Ends when either channel's other end is gone.
            move || {
                while let Ok(Job { op, file, task, mut buffer }) = to_do.recv() {
                    let (result, found) = match task {
                        Task::Read { at, len } => (read(&file, at, &mut buffer[..len]), None),
                        Task::Look(look) => match find(&file, &buffer, look) {
                            Ok(found) => (Ok(0), Some(found)),
                            Err(errno) => (Err(errno), None),
                        },
                    };
                    // Before the result is sent: the ring's handle is then the last one.
                    drop(file);
                    if finished.send(Done { op, result, found, buffer }).is_err() {
                        return;
                    }
                    rung.wake();
                }
            },
        )?;
        let buffers = (0..BUFFERS).map(|_| vec![0; BUFFER].into_boxed_slice()).collect();
        Ok(Reader { jobs: Some(jobs), done, bell, buffers, thread: Some(thread) })
    }

    /// Lets the helper read up to `len` bytes.
    ///
    /// # Errors
    /// EIO when there is no helper any more.
    pub(super) fn read(&mut self, op: EntryId, file: &File, at: u64, len: usize) -> Result<Handover, Errno> {
        self.ask(op, file, Task::Read { at, len: len.min(BUFFER) }, |_| {})
    }

    /// Lets the helper open, or look at, the file at `path` below `dir`.
    ///
    /// # Errors
    /// ENAMETOOLONG for a path that no kernel takes either; EIO when there is no helper any more.
    pub(super) fn look(
        &mut self,
        op: EntryId,
        dir: &File,
        path: &CStr,
        look: Look,
    ) -> Result<Handover, Errno> {
        let path = path.to_bytes_with_nul();
        if path.len() > PATH_MAX {
            return Err(Errno::NAMETOOLONG);
        }
        self.ask(op, dir, Task::Look(look), |buffer| buffer[..path.len()].copy_from_slice(path))
    }

    fn ask(
        &mut self,
        op: EntryId,
        file: &File,
        task: Task,
        fill: impl FnOnce(&mut [u8]),
    ) -> Result<Handover, Errno> {
        let jobs = self.jobs.as_ref().ok_or(Errno::IO)?;
        let Some(mut buffer) = self.buffers.pop() else { return Ok(Handover::Busy) };
        fill(&mut buffer);
        // As many places as buffers: it fails only when the helper has gone.
        jobs.try_send(Job { op, file: file.clone(), task, buffer })
            .map(|()| Handover::Taken)
            .map_err(|_| Errno::IO)
    }

    /// Takes the next result; give it back with [`recycle`](Reader::recycle).
    pub(super) fn next(&mut self) -> Option<Done> {
        self.done.try_recv().ok()
    }

    pub(super) fn recycle(&mut self, done: Done) {
        self.buffers.push(done.buffer);
    }

    /// Ends the helper, after what it is reading now.
    pub(super) fn stop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // It panics nowhere; and if it had, its memory would be its own.
            let _ = thread.join();
        }
    }
}

fn read(file: &File, at: u64, bytes: &mut [u8]) -> Result<usize, Errno> {
    loop {
        match rustix::io::pread(file, &mut *bytes, at) {
            Err(Errno::INTR) => {}
            done => return done,
        }
    }
}

fn find(dir: &File, buffer: &[u8], look: Look) -> Result<Answer, Errno> {
    let path = CStr::from_bytes_until_nul(buffer).map_err(|_| Errno::NAMETOOLONG)?;
    match look {
        Look::Open => dir.open_below(path).map(Answer::File),
        Look::Stat => dir.look_below(path).map(Answer::Stat),
    }
}

/// Reads what needs no waiting. `None`: let the helper find out, whatever the reason (not in the
/// page cache; a file system or kernel that does not know the flag; the end of the file, which
/// kernels before 5.10 report wrongly here).
pub(super) fn read_at_once(file: &File, at: u64, runs: [&mut [u8]; RUNS_MAX]) -> Option<usize> {
    let mut vectors = runs.map(IoSliceMut::new);
    rustix::io::preadv2(file, &mut vectors, at, ReadWriteFlags::NOWAIT).ok().filter(|count| *count > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_takes_as_much_as_it_has_buffers_for_and_ends_when_told() {
        let mut reader = Reader::start().unwrap();
        let file = File::from(std::fs::File::open("/proc/self/exe").unwrap());
        let op = |index| EntryId::new(index, 1);
        for index in 0..4 {
            assert_eq!(reader.read(op(index), &file, 1, 3), Ok(Handover::Taken));
        }
        assert_eq!(reader.read(op(9), &file, 0, 3), Ok(Handover::Busy));
        let mut seen = Vec::new();
        while seen.len() < 4 {
            reader.bell.clear();
            while let Some(done) = reader.next() {
                assert_eq!((done.result, done.bytes()), (Ok(3), &b"ELF"[..]));
                seen.push(done.op.index());
                reader.recycle(done);
            }
        }
        assert_eq!(seen, [0, 1, 2, 3]);
        assert_eq!(reader.read(op(5), &file, u64::MAX, 3), Ok(Handover::Taken));
        let done = loop {
            reader.bell.clear();
            // It may have rung once more than there was something new.
            if let Some(done) = reader.next() {
                break done;
            }
        };
        assert_eq!((done.result, done.bytes()), (Err(Errno::INVAL), &b""[..]));
        reader.stop();
        assert_eq!(reader.read(op(6), &file, 0, 3), Err(Errno::IO));
        assert_eq!(reader.look(op(7), &file, c"x", Look::Stat), Err(Errno::IO));
    }
}
