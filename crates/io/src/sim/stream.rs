//! The peer's end of a connection.

use std::io::{self, Read, Write};
use std::rc::Weak;

use rustix::io::Errno;

use super::Inner;
use super::net::{End, Found};
use super::state::State;

/// The peer's end of a connection, like a `TcpStream` that never blocks: what cannot be done now is
/// [`io::ErrorKind::WouldBlock`]. Dropping it closes it, which is a reset for the other end when
/// bytes were left unread.
pub struct Stream {
    // Weak: scripts hold streams and the world holds scripts.
    world: Weak<Inner>,
    link: usize,
}

impl Stream {
    pub(super) fn new(world: Weak<Inner>, link: usize) -> Stream {
        Stream { world, link }
    }

    /// Says that no more bytes follow (FIN).
    pub fn finish(&mut self) {
        let _ = self.with(|state, link| {
            state.note("fin", link as u64, 0);
            state.with_link(link, |link, clock| link.finish(End::Peer, clock));
            Ok(())
        });
    }

    /// Breaks the connection off (RST).
    pub fn reset(self) {
        let _ = self.with(|state, link| {
            state.note("rst", link as u64, 0);
            state.with_link(link, |link, clock| link.reset(End::Peer, clock));
            Ok(())
        });
    }

    fn with<R>(&self, use_it: impl FnOnce(&mut State, usize) -> Result<R, Errno>) -> io::Result<R> {
        let Some(world) = self.world.upgrade() else { return Err(io::ErrorKind::NotConnected.into()) };
        let state = &mut *world.state.borrow_mut();
        if state.running.is_some() {
            state.links[self.link].watcher = state.running;
        }
        state.catch_up(self.link);
        use_it(state, self.link).map_err(io::Error::from)
    }
}

impl Read for Stream {
    /// 0 is the end of the stream.
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.with(|state, link| {
            state.with_link(link, |link, _| match link.look(End::Peer)? {
                Found::Eof => Ok(0),
                Found::Nothing => Err(Errno::AGAIN),
                Found::Bytes(there) => {
                    let len = there.min(buf.len());
                    Ok(link.read(End::Peer, |bytes| {
                        buf[..len].copy_from_slice(&bytes[..len]);
                        len
                    }))
                }
            })
        })
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.with(|state, link| {
            state.with_link(link, |link, clock| {
                let result = link.write(End::Peer, bytes, clock);
                // Less than all was taken: its script wants to hear when there is room.
                link.wants_room = result.is_err() || result.is_ok_and(|n| n < bytes.len());
                result
            })
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let Some(world) = self.world.upgrade() else { return };
        let state = &mut *world.state.borrow_mut();
        let link = self.link;
        state.links[link].watcher = None;
        state.note("close", link as u64, 0);
        state.with_link(link, |link, clock| link.close(End::Peer, clock));
    }
}
