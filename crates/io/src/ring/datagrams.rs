//! Datagrams.

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::os::fd::{AsFd, OwnedFd};

use super::{OpId, Ring};
use crate::engine::Engine;
use crate::key::{Busy, Key};
use crate::op::Op;
use crate::send_buf::Segment;
use crate::table::EntryId;
use crate::udp::{COALESCED_MAX, DATAGRAM_HEAD, Udp, set_gro};
use rustix::io::Errno;

impl<E: Engine> Ring<E> {
    /// Takes over a bound UDP socket; its events carry `key`.
    ///
    /// With `coalesce`, the kernel may report several datagrams of one sender at a time (GRO),
    /// where the engine can ([`has_gro`](Ring::has_gro)); that needs receive slots of
    /// [`COALESCED_MAX`] bytes, as what does not fit into one is lost.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] for another kind of socket, and for receive slots that are
    /// too small; the kernel's error otherwise.
    pub fn udp(&mut self, socket: OwnedFd, coalesce: bool, key: Key) -> io::Result<Udp> {
        let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidInput, what);
        let slot = self.inner.arena.layout().rx_len as usize;
        if slot <= DATAGRAM_HEAD || (coalesce && slot < COALESCED_MAX) {
            return Err(invalid("the receive slots are too small for these datagrams"));
        }
        if rustix::net::sockopt::socket_type(&socket)? != rustix::net::SocketType::DGRAM {
            return Err(invalid("not a datagram socket"));
        }
        let address = SocketAddr::try_from(rustix::net::getsockname(&socket)?)
            .map_err(|_| invalid("not an internet socket"))?;
        let coalesces = coalesce && self.has_gro();
        set_gro(socket.as_fd(), coalesces)?;
        Ok(Udp::new(Some(socket), address, key, coalesces))
    }

    /// Returns whether received datagrams can be coalesced by this engine.
    pub fn has_gro(&self) -> bool {
        self.inner.engine.has_gro()
    }

    /// Receives datagrams until [`Event::RecvEnded`](crate::Event::RecvEnded) (multishot, into the
    /// ring's receive slots). Does nothing when the socket is already being received from.
    /// [`cancel`](Ring::cancel) ends it. A socket that was made for a ring with larger receive
    /// slots than this one's ([`udp`](Ring::udp)) is not received from: the event says `EINVAL`.
    ///
    /// # Errors
    /// [`Busy`] when the op table is full.
    pub fn recv_from(&mut self, udp: &Udp) -> Result<OpId, Busy> {
        let inner = &self.inner;
        let is_its = |id: &EntryId| matches!(inner.ops.get(*id), Some(Op::RecvFrom(other)) if other.is(udp));
        if let Some(id) = inner.receiving.iter().copied().find(is_its) {
            return inner.name(Ok(id));
        }
        let receive = Op::RecvFrom(udp.clone());
        let queued = match self.inner.can_receive(udp) {
            true => self.inner.launch(receive),
            false => self.inner.answer(receive, Errno::INVAL),
        };
        self.inner.receiving.extend(queued.as_ref().ok());
        self.inner.name(queued.map_err(drop))
    }

    /// Sends `buf` to `to`: as one datagram, or with `segment_size` as many of that size,
    /// of which the last may be shorter (GSO, at most 64 in one send and 65,507 bytes). `buf` comes
    /// back with [`Event::SentTo`](crate::Event::SentTo). Order means nothing among datagrams, also
    /// here.
    ///
    /// # Errors
    /// [`Busy`] with `buf` when the op table is full.
    pub fn send_to(
        &mut self,
        udp: &Udp,
        buf: Segment,
        to: SocketAddr,
        segment_size: Option<NonZeroU16>,
    ) -> Result<OpId, Busy<Segment>> {
        let segment_size = segment_size.map_or(0, NonZeroU16::get);
        let op = Op::SendTo { by: udp.clone(), buf, to, segment_size };
        let queued = self.inner.launch(op);
        self.inner.name(queued.map_err(|op| match op {
            Op::SendTo { buf, .. } => buf,
            _ => unreachable!("launch hands back what it was given"),
        }))
    }
}
