//! Moving bytes and connections: what the kernel does by itself on io_uring.

use std::io::IoSlice;
use std::os::fd::{OwnedFd, RawFd};

use rustix::event::{PollFd, PollFlags, Timespec, epoll, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, SocketFlags};

use super::reader::Handover;
use super::{Accept, By, Doing, Epoll, LISTENER, edge, reader};
use crate::engine::{Answer, Memory};
use crate::send_buf::{GATHER_MAX, SendBuf};
use crate::table::EntryId;

/// Receives on one connection in one wait, as many as io_uring makes before it lets others go
/// first.
const RECEIVES: usize = 32;
/// Sends on one connection in one wait.
const SENDS: usize = 16;
/// Connections accepted from one listener in one wait.
const ACCEPTS: usize = 64;
/// Bytes that one read copies from the page cache in one wait.
const READ_AT_ONCE: usize = 1 << 20;

impl Epoll {
    pub(super) fn begin_accept(&mut self, memory: &Memory<'_>, op: EntryId, listener: RawFd) {
        let Some(socket) = memory.listener(op) else { return self.end(op, Err(Errno::BADF)) };
        if !self.accepts.iter().any(|accept| accept.listener == listener) {
            self.calls += 2;
            // Without it an accept would block when another process was faster.
            let done = rustix::io::ioctl_fionbio(socket, true).and_then(|()| {
                let data = epoll::EventData::new_u64(LISTENER | u64::from(listener.cast_unsigned()));
                epoll::add(&self.epoll, socket, data, edge(epoll::EventFlags::IN))
            });
            if let Err(errno) = done {
                return self.end(op, Err(errno));
            }
        }
        self.set(op, Doing::Accept);
        // Unknown, so the first try finds out.
        self.accepts.push(Accept { op, listener, ready: true });
    }

    /// Ends one accept, and lets go of its listener if it was the last.
    pub(super) fn end_accept(&mut self, memory: &Memory<'_>, index: usize, errno: Errno) {
        let Accept { op, listener, .. } = self.accepts.swap_remove(index);
        let shared = self.accepts.iter().any(|accept| accept.listener == listener);
        if let (false, Some(socket)) = (shared, memory.listener(op)) {
            self.calls += 1;
            // It fails only if it was not registered.
            let _ = epoll::delete(&self.epoll, socket);
        }
        self.end(op, Err(errno));
    }

    pub(super) fn accept(&mut self, memory: &Memory<'_>) {
        let mut index = 0;
        while index < self.accepts.len() {
            match self.accept_from(memory, index) {
                Ok(()) => index += 1,
                // Another one has taken its place.
                Err(errno) => self.end_accept(memory, index, errno),
            }
        }
    }

    /// Takes in those who wait at one listener. An error ends the accept, as on io_uring.
    fn accept_from(&mut self, memory: &Memory<'_>, index: usize) -> Result<(), Errno> {
        for _ in 0..ACCEPTS {
            let Accept { op, ready, .. } = &mut self.accepts[index];
            if !*ready {
                break;
            }
            let op = *op;
            let socket = memory.listener(op).ok_or(Errno::BADF)?;
            self.calls += 1;
            let fd = match rustix::net::accept_with(socket, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
                Ok(fd) => fd,
                Err(Errno::AGAIN) => {
                    *ready = false;
                    break;
                }
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(errno),
            };
            let slot = self.take_in(fd)?;
            self.complete(op, Ok(slot as usize), None, true);
        }
        Ok(())
    }

    /// Takes in a socket that was accepted elsewhere.
    pub(super) fn begin_adopt(&mut self, memory: &mut Memory<'_>, op: EntryId) {
        self.calls += 1;
        let socket = memory.take_socket(op).ok_or(Errno::BADF);
        let socket = socket.and_then(|socket| rustix::io::ioctl_fionbio(&socket, true).map(|()| socket));
        match socket.and_then(|socket| self.take_in(socket)) {
            Ok(slot) => {
                self.answers.push_back((op, Answer::Place(slot)));
                self.end(op, Ok(1));
            }
            Err(errno) => self.end(op, Err(errno)),
        }
    }

    /// Gives a connection its place. A full table refuses it, as io_uring's does: it closes as it
    /// is dropped.
    fn take_in(&mut self, fd: OwnedFd) -> Result<u32, Errno> {
        let (slot, generation) = self.places.insert(fd).map_err(|_| Errno::NFILE)?;
        let Some(sock) = self.places.get(slot) else { return Err(Errno::NFILE) };
        self.calls += 1;
        let flags = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::RDHUP;
        let data = epoll::EventData::new_u64(u64::from(generation) << 32 | u64::from(slot));
        if let Err(errno) = epoll::add(&self.epoll, &sock.fd, data, edge(flags)) {
            self.places.remove(slot);
            return Err(errno);
        }
        Ok(slot)
    }

    /// Receives for a while. Whether there may be more.
    pub(super) fn receive(&mut self, memory: &mut Memory<'_>, slot: u32) -> bool {
        for _ in 0..RECEIVES {
            let Some(sock) = self.places.get(slot) else { return false };
            let (Some(op), true) = (sock.recv, sock.readable) else { return false };
            let Some(buffer) = self.rx_free.pop() else {
                sock.recv = None;
                self.end(op, Err(Errno::NOBUFS));
                return false;
            };
            self.calls += 1;
            let done = memory.fill_with(buffer, |bytes| {
                let len = bytes.len();
                rustix::net::recv(&sock.fd, bytes, RecvFlags::DONTWAIT).map(|(_, count)| (count, len))
            });
            let end = match done {
                Some(Ok((count, len))) if count > 0 => {
                    // A stream gives all it has: less means that it is drained. Its end is known
                    // only by another call.
                    sock.readable = count == len || sock.ended;
                    self.complete(op, Ok(count), Some(buffer), true);
                    continue;
                }
                // Not the engine's slot after all: forget it.
                None => continue,
                Some(Ok(_)) => Ok(0),
                Some(Err(errno)) => Err(errno),
            };
            self.rx_free.push(buffer);
            match end {
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    sock.readable = false;
                    return false;
                }
                end => {
                    sock.recv = None;
                    self.end(op, end);
                    return false;
                }
            }
        }
        self.places.get(slot).is_some_and(|sock| sock.readable && sock.recv.is_some())
    }

    pub(super) fn begin_writable(&mut self, op: EntryId, slot: u32) {
        let Some(sock) = self.places.get(slot) else { return self.end(op, Err(Errno::BADF)) };
        if sock.room.is_some() {
            return self.end(op, Err(Errno::BUSY));
        }
        sock.room = Some(op);
        self.set(op, Doing::Writable { slot });
        self.ask_about_room(slot);
    }

    /// If an operation waits for room, and no send that was handed over is before it, asks
    /// the kernel itself: what is remembered of a socket is an upper bound. If there is no room the
    /// kernel remembers the question, and reports an edge when there is.
    pub(super) fn ask_about_room(&mut self, slot: u32) {
        let Some(sock) = self.places.get(slot) else { return };
        let (Some(op), None) = (sock.room, sock.first_send) else { return };
        self.calls += 1;
        let mut polled = [PollFd::new(&sock.fd, PollFlags::OUT)];
        let room = match poll(&mut polled, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) {
            Ok(0) | Err(Errno::INTR) => return,
            room => room,
        };
        sock.room = None;
        self.end(op, room.map(|_| 0));
    }

    pub(super) fn begin_send(&mut self, op: EntryId, slot: u32) {
        let Some(sock) = self.places.get(slot) else { return self.end(op, Err(Errno::BADF)) };
        let before = sock.last_send.replace(op);
        if before.is_none() {
            sock.first_send = Some(op);
        }
        let writable = sock.writable;
        self.set(op, Doing::Send { slot, sent: 0, next: None });
        if let Some(before) = before {
            self.set_next(before, Some(op));
        }
        if writable {
            self.list(slot);
        }
    }

    /// Takes a send out of its connection's list, and returns what it had sent. `None` when it is
    /// not in there.
    pub(super) fn unlink_send(&mut self, op: EntryId) -> Option<usize> {
        let Doing::Send { slot, sent, next } = self.doing(op) else { return None };
        let mut before = None;
        let mut here = self.places.get(slot)?.first_send;
        while let Some(other) = here.filter(|other| *other != op) {
            before = here;
            here = match self.doing(other) {
                Doing::Send { next, .. } => next,
                _ => None,
            };
        }
        here?;
        let sock = self.places.get(slot)?;
        if sock.last_send == Some(op) {
            sock.last_send = before;
        }
        match before {
            None => sock.first_send = next,
            Some(before) => self.set_next(before, next),
        }
        Some(sent)
    }

    fn set_next(&mut self, op: EntryId, new: Option<EntryId>) {
        if let Doing::Send { slot, sent, .. } = self.doing(op) {
            self.set(op, Doing::Send { slot, sent, next: new });
        }
    }

    /// Sends for a while: the first send until all of it has left, then the next. Whether there may
    /// be room for more.
    pub(super) fn send(&mut self, memory: &Memory<'_>, slot: u32) -> bool {
        for _ in 0..SENDS {
            let Some(sock) = self.places.get(slot) else { return false };
            let (Some(op), true) = (sock.first_send, sock.writable) else { return false };
            self.calls += 1;
            let sent = match self.doing(op) {
                Doing::Send { sent, .. } => sent,
                _ => 0,
            };
            let Some((buf, offset)) = memory.source(op) else {
                self.unlink_send(op);
                self.end(op, Err(Errno::BADF));
                self.ask_about_room(slot);
                continue;
            };
            let Some(sock) = self.places.get(slot) else { return false };
            let wanted = buf.wanted(offset);
            let end = match send_some(&sock.fd, buf, offset.saturating_add(sent), wanted.saturating_sub(sent))
            {
                Ok(count) => {
                    let sent = sent.saturating_add(count);
                    if sent < wanted {
                        if let Doing::Send { slot, next, .. } = self.doing(op) {
                            self.set(op, Doing::Send { slot, sent, next });
                        }
                        continue;
                    }
                    Ok(wanted)
                }
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => {
                    sock.writable = false;
                    return false;
                }
                // What has left has left: the error comes with the next send.
                Err(_) if sent > 0 => Ok(sent),
                Err(errno) => Err(errno),
            };
            self.unlink_send(op);
            self.end(op, end);
            self.ask_about_room(slot);
        }
        self.places.get(slot).is_some_and(|sock| sock.writable && sock.first_send.is_some())
    }

    /// Takes in what the helper thread has read and found.
    pub(super) fn collect_reads(&mut self, memory: &mut Memory<'_>) {
        while let Some(mut job) = self.reader.next() {
            // The helper's two: its own, and the write that rang the bell.
            self.calls += 2;
            let op = job.op;
            match self.doing(op) {
                Doing::Read { done, by } => self.collect_read(memory, &job, done, by),
                Doing::Look { .. } => {
                    let found = job.take_found();
                    if let Ok(found) = found {
                        self.answers.push_back((op, found));
                    }
                    self.end(op, job.result.map(|_| 0));
                }
                _ => {}
            }
            self.reader.recycle(job);
            if let Some(next) = self.backlog.pop_front() {
                self.ask_helper(memory, next);
            }
        }
    }

    fn collect_read(&mut self, memory: &mut Memory<'_>, read: &reader::Done, done: usize, by: By) {
        let op = read.op;
        let Some((_, _, target)) = memory.reading(op) else { return };
        let mut bytes = read.bytes();
        for run in target.runs_mut(done, bytes.len()) {
            let (here, behind) = bytes.split_at(run.len());
            run.copy_from_slice(here);
            bytes = behind;
        }
        let done = done + (read.bytes().len() - bytes.len());
        let full = done >= target.len();
        match read.result {
            Err(errno) if done == 0 => self.end(op, Err(errno)),
            Err(_) | Ok(0) => self.end(op, Ok(done)),
            Ok(_) if full => self.end(op, Ok(done)),
            Ok(_) if by == By::Last => self.end(op, Ok(done)),
            Ok(_) => {
                self.set(op, Doing::Read { done, by: By::Ring });
                self.reads.push_back(op);
            }
        }
    }

    /// Reads what is at hand, and leaves the rest to the helper.
    pub(super) fn go_on_reading(&mut self, memory: &mut Memory<'_>) {
        for _ in 0..self.reads.len() {
            let Some(op) = self.reads.pop_front() else { break };
            let Doing::Read { done, .. } = self.doing(op) else { continue };
            let Some((file, at, target)) = memory.reading(op) else {
                self.end(op, Err(Errno::BADF));
                continue;
            };
            let rest_len = target.len().saturating_sub(done);
            if rest_len == 0 {
                self.end(op, Ok(done));
                continue;
            }
            let now = target.runs_mut(done, rest_len.min(READ_AT_ONCE));
            self.calls += 1;
            match reader::read_at_once(file, at.saturating_add(done as u64), now) {
                Some(count) if count == rest_len => self.end(op, Ok(done + count)),
                Some(count) => {
                    self.set(op, Doing::Read { done: done + count, by: By::Ring });
                    self.reads.push_back(op);
                }
                None => self.ask_helper(memory, op),
            }
        }
    }

    /// Gives an operation to the helper, or leaves it for later when that has enough to do.
    pub(super) fn ask_helper(&mut self, memory: &mut Memory<'_>, op: EntryId) {
        let (asked, then) = match self.doing(op) {
            Doing::Read { done, .. } => {
                let Some((file, at, target)) = memory.reading(op) else {
                    return self.end(op, Err(Errno::BADF));
                };
                let rest = target.len().saturating_sub(done);
                let asked = self.reader.read(op, file, at.saturating_add(done as u64), rest);
                (asked, Doing::Read { done, by: By::Helper })
            }
            Doing::Look { .. } => {
                let Some((dir, path, look)) = memory.looking(op) else {
                    return self.end(op, Err(Errno::BADF));
                };
                (self.reader.look(op, dir, path, look), Doing::Look { by: By::Helper })
            }
            _ => return,
        };
        match asked {
            Ok(Handover::Taken) => self.set(op, then),
            Ok(Handover::Busy) => self.backlog.push_back(op),
            Err(errno) => self.end(op, Err(errno)),
        }
    }
}

/// One send of up to `len` bytes of `buf` from byte `start` on.
fn send_some(fd: &OwnedFd, buf: &SendBuf, start: usize, len: usize) -> Result<usize, Errno> {
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    let mut pieces: [&[u8]; GATHER_MAX] = [&[]; GATHER_MAX];
    let (mut count, mut skip, mut left) = (0, start, len);
    buf.each(|bytes| {
        let rest = bytes.get(skip..).unwrap_or_default();
        skip = skip.saturating_sub(bytes.len());
        let rest = &rest[..rest.len().min(left)];
        if !rest.is_empty() && count < GATHER_MAX {
            pieces[count] = rest;
            left -= rest.len();
            count += 1;
        }
    });
    if count <= 1 {
        return rustix::net::send(fd, pieces[0], flags);
    }
    let vectors = pieces.map(IoSlice::new);
    rustix::net::sendmsg(fd, &vectors[..count], &mut SendAncillaryBuffer::default(), flags)
}
