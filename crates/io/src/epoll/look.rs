//! Readiness, as the kernel reports it.

use std::io;
use std::os::fd::RawFd;
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;

use super::{BELL, DATAGRAMS, Epoll, SPECIAL, WAIT_MAX, WAKER};

impl Epoll {
    /// The one call that waits.
    pub(super) fn look(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        // Whole milliseconds, rounded up: that is what every kernel's epoll_wait understands, and
        // early is worse than late.
        let timeout = timeout.map(|timeout| {
            let millis = timeout.min(WAIT_MAX).as_nanos().div_ceil(1_000_000) as i64;
            Timespec { tv_sec: millis / 1000, tv_nsec: millis % 1000 * 1_000_000 }
        });
        self.events.clear();
        self.calls += 1;
        match epoll::wait(&self.epoll, spare_capacity(&mut self.events), timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        for index in 0..self.events.len() {
            let epoll::Event { flags, data } = self.events[index];
            self.on_ready(flags, data.u64());
        }
        Ok(())
    }

    fn on_ready(&mut self, flags: epoll::EventFlags, about: u64) {
        use epoll::EventFlags as Flags;
        match about {
            WAKER => self.woken = true,
            BELL => {
                self.calls += 1;
                self.reader.bell.clear();
            }
            _ if about >> 32 == DATAGRAMS >> 32 => {
                self.on_socket_ready((about & 0xffff_ffff) as RawFd, flags);
            }
            _ if about & SPECIAL != 0 => {
                let listener = (about & 0xffff_ffff) as RawFd;
                for accept in self.accepts.iter_mut().filter(|accept| accept.listener == listener) {
                    accept.ready = true;
                }
            }
            _ => {
                let (slot, generation) = ((about & 0xffff_ffff) as u32, (about >> 32) as u32);
                let Some(sock) = self.places.tenant(slot, generation) else { return };
                let failed = flags.intersects(Flags::ERR | Flags::HUP);
                sock.ended |= failed || flags.contains(Flags::RDHUP);
                sock.readable |= failed || flags.intersects(Flags::IN | Flags::RDHUP);
                sock.writable |= failed || flags.contains(Flags::OUT);
                let wanted =
                    (sock.readable && sock.recv.is_some()) || (sock.writable && sock.first_send.is_some());
                // Not `writable`, which is an upper bound. A send that waits for room comes first,
                // and the question after it.
                let is_room = (failed || flags.contains(Flags::OUT)) && sock.first_send.is_none();
                let room = if is_room { sock.room.take() } else { None };
                if wanted {
                    self.list(slot);
                }
                if let Some(op) = room {
                    self.end(op, Ok(0));
                }
            }
        }
    }
}
