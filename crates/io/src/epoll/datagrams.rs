//! Datagrams: one system call for each, also where io_uring has the kernel cut a send into many.

use std::collections::VecDeque;
use std::os::fd::{AsRawFd, RawFd};

use rustix::event::epoll;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};

use super::{DATAGRAMS, Doing, Epoll, edge};
use crate::engine::Memory;
use crate::table::EntryId;
use crate::udp::{DATAGRAM_HEAD, DATAGRAM_MAX, Head, SEGMENTS_MAX};

/// Receives on one socket in one wait.
const RECEIVES: usize = 32;
/// Sends on one socket in one wait.
const SENDS: usize = 64;

/// A datagram socket that operations in flight use, and what is known of its readiness.
pub(super) struct UdpSocket {
    /// Its descriptor in the interest list. Open as long as an operation in flight holds it.
    raw: RawFd,
    readable: bool,
    writable: bool,
    recv: Option<EntryId>,
    sends: VecDeque<EntryId>,
}

impl UdpSocket {
    pub(super) fn can_go_on(&self) -> bool {
        (self.readable && self.recv.is_some()) || (self.writable && !self.sends.is_empty())
    }
}

impl Epoll {
    /// The socket of an operation, on the interest list from now on.
    fn socket(&mut self, memory: &Memory<'_>, op: EntryId) -> Result<&mut UdpSocket, Errno> {
        let fd = memory.udp(op).and_then(|udp| udp.fd()).ok_or(Errno::BADF)?;
        let raw = fd.as_raw_fd();
        if let Some(index) = self.sockets.iter().position(|socket| socket.raw == raw) {
            return Ok(&mut self.sockets[index]);
        }
        self.calls += 1;
        let data = epoll::EventData::new_u64(DATAGRAMS | u64::from(raw.cast_unsigned()));
        epoll::add(&self.epoll, fd, data, edge(epoll::EventFlags::IN | epoll::EventFlags::OUT))?;
        // Unknown, so the first try finds out.
        let socket = UdpSocket { raw, readable: true, writable: true, recv: None, sends: VecDeque::new() };
        self.sockets.push(socket);
        let last = self.sockets.len() - 1;
        Ok(&mut self.sockets[last])
    }

    pub(super) fn begin_recv_from(&mut self, memory: &Memory<'_>, op: EntryId) {
        match self.socket(memory, op) {
            Ok(socket) if socket.recv.is_none() => {
                socket.recv = Some(op);
                self.set(op, Doing::RecvFrom);
            }
            Ok(_) => self.end(op, Err(Errno::BUSY)),
            Err(errno) => self.end(op, Err(errno)),
        }
    }

    pub(super) fn begin_send_to(&mut self, memory: &Memory<'_>, op: EntryId) {
        let Some((_, bytes, segment_size, _)) = memory.datagrams(op) else {
            return self.end(op, Err(Errno::BADF));
        };
        // The kernel's words where it does the cutting (udp_send_skb).
        if segment_size > 0 && bytes.len() > usize::from(segment_size) * SEGMENTS_MAX {
            return self.end(op, Err(Errno::INVAL));
        }
        if bytes.len() > DATAGRAM_MAX {
            return self.end(op, Err(Errno::MSGSIZE));
        }
        match self.socket(memory, op) {
            Ok(socket) => {
                socket.sends.push_back(op);
                self.set(op, Doing::SendTo { sent: 0 });
            }
            Err(errno) => self.end(op, Err(errno)),
        }
    }

    pub(super) fn on_socket_ready(&mut self, raw: RawFd, flags: epoll::EventFlags) {
        use epoll::EventFlags as Flags;
        if let Some(socket) = self.sockets.iter_mut().find(|socket| socket.raw == raw) {
            socket.readable |= flags.intersects(Flags::IN | Flags::ERR | Flags::HUP);
            socket.writable |= flags.intersects(Flags::OUT | Flags::ERR | Flags::HUP);
        }
    }

    pub(super) fn move_datagrams(&mut self, memory: &Memory<'_>) {
        // From the last on, because one that is idle leaves and the last takes its place.
        for index in (0..self.sockets.len()).rev() {
            self.receive_datagrams(memory, index);
            self.send_datagrams(memory, index);
        }
    }

    fn receive_datagrams(&mut self, memory: &Memory<'_>, index: usize) {
        for _ in 0..RECEIVES {
            let Some(socket) = self.sockets.get_mut(index) else { return };
            let (Some(op), true) = (socket.recv, socket.readable) else { return };
            let Some(fd) = memory.udp(op).and_then(|udp| udp.fd()) else {
                return self.end_recv_from(memory, op, Errno::BADF);
            };
            let Some(buffer) = self.rx_free.pop() else {
                return self.end_recv_from(memory, op, Errno::NOBUFS);
            };
            self.calls += 1;
            let done = memory.arena.fill_with(buffer, |slot| {
                let (_, room) = slot.split_at_mut_checked(DATAGRAM_HEAD).ok_or(Errno::FAULT)?;
                let space = room.len();
                // TRUNC: it tells how long the datagram is, whatever there is room for.
                let flags = RecvFlags::DONTWAIT | RecvFlags::TRUNC;
                let (_, len, from) = rustix::net::recvfrom(fd, room, flags)?;
                let from = from.and_then(|from| from.try_into().ok()).ok_or(Errno::AFNOSUPPORT)?;
                let payload = len.min(space);
                let truncated = len > space;
                let head =
                    Head { from, segment_size: 0, payload: payload as u32, truncated, control_cut: false };
                if head.write(slot) { Ok(DATAGRAM_HEAD + payload) } else { Err(Errno::FAULT) }
            });
            match done {
                Some(Ok(count)) => {
                    self.complete(op, Ok(count), Some(buffer), true);
                    continue;
                }
                // Not the engine's slot after all: forget it.
                None => continue,
                Some(Err(errno)) => {
                    self.rx_free.push(buffer);
                    match errno {
                        Errno::INTR => {}
                        Errno::AGAIN => {
                            self.sockets[index].readable = false;
                            return;
                        }
                        errno => return self.end_recv_from(memory, op, errno),
                    }
                }
            }
        }
    }

    fn send_datagrams(&mut self, memory: &Memory<'_>, index: usize) {
        for _ in 0..SENDS {
            let Some(socket) = self.sockets.get_mut(index) else { return };
            let (Some(op), true) = (socket.sends.front().copied(), socket.writable) else { return };
            let Doing::SendTo { sent } = self.doing(op) else {
                self.sockets[index].sends.pop_front();
                continue;
            };
            let Some((udp, bytes, segment_size, to)) = memory.datagrams(op) else {
                self.end_send_to(memory, op, Err(Errno::BADF));
                continue;
            };
            let Some(fd) = udp.fd() else {
                self.end_send_to(memory, op, Err(Errno::BADF));
                continue;
            };
            let rest = bytes.get(sent..).unwrap_or_default();
            let len = if segment_size == 0 { rest.len() } else { rest.len().min(segment_size.into()) };
            self.calls += 1;
            match rustix::net::sendto(fd, &rest[..len], SendFlags::DONTWAIT | SendFlags::NOSIGNAL, &to) {
                Ok(_) if len < rest.len() => self.set(op, Doing::SendTo { sent: sent + len }),
                Ok(_) => self.end_send_to(memory, op, Ok(bytes.len())),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    self.sockets[index].writable = false;
                    return;
                }
                // What has left has left.
                Err(_) if sent > 0 => self.end_send_to(memory, op, Ok(sent)),
                Err(errno) => self.end_send_to(memory, op, Err(errno)),
            }
        }
    }

    pub(super) fn end_recv_from(&mut self, memory: &Memory<'_>, op: EntryId, errno: Errno) {
        for socket in self.sockets.iter_mut().filter(|socket| socket.recv == Some(op)) {
            socket.recv = None;
        }
        self.forget_idle(memory, op);
        self.end(op, Err(errno));
    }

    pub(super) fn end_send_to(&mut self, memory: &Memory<'_>, op: EntryId, result: Result<usize, Errno>) {
        for socket in &mut self.sockets {
            socket.sends.retain(|other| *other != op);
        }
        self.forget_idle(memory, op);
        self.end(op, result);
    }

    /// Takes the socket of an operation that ends off the interest list if that was the last.
    fn forget_idle(&mut self, memory: &Memory<'_>, op: EntryId) {
        let Some(fd) = memory.udp(op).and_then(|udp| udp.fd()) else { return };
        let raw = fd.as_raw_fd();
        let idle = |socket: &UdpSocket| socket.raw == raw && socket.recv.is_none() && socket.sends.is_empty();
        if let Some(index) = self.sockets.iter().position(idle) {
            self.sockets.swap_remove(index);
            self.calls += 1;
            // It fails only if it was not registered.
            let _ = epoll::delete(&self.epoll, fd);
        }
    }
}
