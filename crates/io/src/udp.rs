//! Datagram sockets, and what stands in front of a datagram in a receive slot.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::rc::Rc;

use crate::arena::RxBuf;
use crate::key::Key;
use crate::sockopt;

/// Bytes of a receive slot that stand in front of the datagram: who sent it, and how it was
/// coalesced. So a ring that receives datagrams of up to n bytes needs receive slots of n + 72.
pub const DATAGRAM_HEAD: usize = OUT + NAME + CONTROL;
/// Upper bound of what the kernel coalesces, head included: slots of this size hold all of it.
pub const COALESCED_MAX: usize = DATAGRAM_HEAD + 65_535;

/// `struct io_uring_recvmsg_out`: length of the name, of the control messages, of the payload;
/// flags.
const OUT: usize = 16;
/// Room for a sockaddr. The largest is `sockaddr_in6` with 28 bytes; this keeps what follows
/// aligned.
pub(crate) const NAME: usize = 32;
/// Room for one control message with an `int` in it (CMSG_SPACE).
pub(crate) const CONTROL: usize = 24;

// linux/udp.h
pub(crate) const UDP_SEGMENT: i32 = 103;
const UDP_GRO: i32 = 104;
/// Largest number of datagrams that are cut from one send (UDP_MAX_SEGMENTS before 6.9).
pub(crate) const SEGMENTS_MAX: usize = 64;
/// The largest datagram over IPv4.
pub(crate) const DATAGRAM_MAX: usize = 65_507;

/// A bound datagram socket as a ring uses it. Clones are handles to the same one. Dropping it ends
/// nothing by itself: cancel its receive, or drop the ring.
#[derive(Clone)]
#[must_use = "nothing arrives until the socket is received from"]
pub struct Udp {
    pub(crate) shared: Rc<Shared>,
}

pub(crate) struct Shared {
    /// `None`: the simulated engine's, which knows a socket by its address.
    pub(crate) socket: Option<OwnedFd>,
    pub(crate) address: SocketAddr,
    pub(crate) key: Key,
    /// The kernel coalesces what it receives.
    coalesces: bool,
}

impl Udp {
    pub(crate) fn new(socket: Option<OwnedFd>, address: SocketAddr, key: Key, coalesces: bool) -> Udp {
        Udp { shared: Rc::new(Shared { socket, address, key, coalesces }) }
    }

    /// Whether several datagrams may arrive as one.
    pub(crate) fn coalesces(&self) -> bool {
        self.shared.coalesces
    }

    /// Whether the two are handles to the same socket.
    pub(crate) fn is(&self, other: &Udp) -> bool {
        Rc::ptr_eq(&self.shared, &other.shared)
    }

    /// The address that it is bound to.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.shared.address
    }

    /// The socket, if it is a real one.
    pub(crate) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.shared.socket.as_ref().map(AsFd::as_fd)
    }

    pub(crate) fn raw(&self) -> RawFd {
        // No descriptor: the kernel answers EBADF.
        self.shared.socket.as_ref().map_or(-1, AsRawFd::as_raw_fd)
    }
}

impl fmt::Debug for Udp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Udp({})", self.shared.address)
    }
}

/// Tells the kernel whether to coalesce what it receives (UDP_GRO).
pub(crate) fn set_gro(socket: BorrowedFd<'_>, on: bool) -> io::Result<()> {
    Ok(sockopt::set(socket, libc::SOL_UDP, UDP_GRO, &libc::c_int::from(on).to_ne_bytes())?)
}

/// One datagram, or several of one size that the kernel has coalesced.
pub struct Datagrams {
    buf: RxBuf,
    segment_size: usize,
    truncated: bool,
}

impl Datagrams {
    /// Each datagram. The last of several may be shorter than the others.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        // One that is empty is one all the same.
        let empty = self.buf.is_empty().then_some(&self.buf[..]);
        empty.into_iter().chain(self.buf.chunks(self.segment_size))
    }

    /// Bytes of each datagram, but the last.
    #[must_use]
    pub fn segment_size(&self) -> usize {
        self.segment_size
    }

    /// The bytes of all of them.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.buf
    }

    /// The same bytes, writable, so that they can be decrypted in place.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.buf
    }

    /// Whether the end was cut off, because the receive slot is too small, or what is here may be
    /// several datagrams without their ends, because a coalescing socket was set to report more
    /// than there is room for. Neither can be used.
    #[must_use]
    pub fn is_truncated(&self) -> bool {
        self.truncated
    }
}

impl fmt::Debug for Datagrams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes by {}", self.buf.len(), self.segment_size)
    }
}

/// The head that stands in front of a datagram.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Head {
    pub(crate) from: SocketAddr,
    /// Bytes of each datagram; 0 when it is one.
    pub(crate) segment_size: u32,
    pub(crate) payload: u32,
    pub(crate) truncated: bool,
    /// There was no room for all control messages.
    pub(crate) control_cut: bool,
}

impl Head {
    /// Writes it as the kernel does, for engines that receive in this process. `false` when there
    /// is no room for it.
    pub(crate) fn write(&self, slot: &mut [u8]) -> bool {
        let Some((head, _)) = slot.split_at_mut_checked(DATAGRAM_HEAD) else { return false };
        head.fill(0);
        let (name, len) = sockaddr(self.from);
        head[..4].copy_from_slice(&(len as u32).to_ne_bytes());
        head[8..12].copy_from_slice(&self.payload.to_ne_bytes());
        let truncated = if self.truncated { libc::MSG_TRUNC } else { 0 };
        let flags = truncated | if self.control_cut { libc::MSG_CTRUNC } else { 0 };
        head[12..16].copy_from_slice(&flags.to_ne_bytes());
        head[OUT..OUT + NAME].copy_from_slice(&name);
        true
    }

    /// Reads it. `None` when it cannot be true (I4).
    pub(crate) fn read(slot: &[u8]) -> Option<Head> {
        let (head, payload) = slot.split_at_checked(DATAGRAM_HEAD)?;
        let word = |at: usize| Some(u32::from_ne_bytes(head.get(at..at + 4)?.try_into().ok()?));
        let (name_len, control_len, payload_len, flags) = (word(0)?, word(4)?, word(8)?, word(12)?);
        if payload_len as usize != payload.len() || control_len as usize > CONTROL {
            return None;
        }
        let name = head.get(OUT..OUT + (name_len as usize).min(NAME))?;
        let control = head.get(OUT + NAME..OUT + NAME + control_len as usize)?;
        Some(Head {
            from: address(name)?,
            segment_size: coalesced(control).unwrap_or(0),
            payload: payload_len,
            truncated: flags & libc::MSG_TRUNC as u32 != 0,
            control_cut: flags & libc::MSG_CTRUNC as u32 != 0,
        })
    }
}

/// Returns the size in a control message about coalescing.
fn coalesced(control: &[u8]) -> Option<u32> {
    const LEN: usize = size_of::<libc::cmsghdr>();
    let level_at = std::mem::offset_of!(libc::cmsghdr, cmsg_level);
    let type_at = std::mem::offset_of!(libc::cmsghdr, cmsg_type);
    let int = |at: usize| Some(i32::from_ne_bytes(control.get(at..at + 4)?.try_into().ok()?));
    let tells = int(level_at)? == libc::SOL_UDP && int(type_at)? == UDP_GRO;
    u32::try_from(int(LEN)?).ok().filter(|size| tells && *size > 0)
}

/// Returns the sender and the datagrams in a slot that was received into, `None` when they cannot
/// be true (I4).
///
/// Where the kernel coalesces, it says so in a control message, and there is room for one. A socket
/// on which others were asked for too (SO_TIMESTAMP, for example) may have lost it, and where one
/// datagram ends and the next begins is then not known.
pub(crate) fn take(mut buf: RxBuf, coalesces: bool) -> Option<(SocketAddr, Datagrams)> {
    let head = Head::read(&buf)?;
    let unknown = coalesces && head.control_cut && head.segment_size == 0;
    buf.skip(DATAGRAM_HEAD);
    let segment_size = if head.segment_size == 0 { buf.len() } else { head.segment_size as usize };
    Some((
        head.from,
        Datagrams { buf, segment_size: segment_size.max(1), truncated: head.truncated || unknown },
    ))
}

/// Returns an address as the kernel has it, and its length.
pub(crate) fn sockaddr(address: SocketAddr) -> ([u8; NAME], usize) {
    let mut bytes = [0; NAME];
    let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    bytes[..2].copy_from_slice(&(family as u16).to_ne_bytes());
    bytes[2..4].copy_from_slice(&address.port().to_be_bytes());
    match address.ip() {
        IpAddr::V4(ip) => {
            bytes[4..8].copy_from_slice(&ip.octets());
            (bytes, size_of::<libc::sockaddr_in>())
        }
        IpAddr::V6(ip) => {
            bytes[8..24].copy_from_slice(&ip.octets());
            if let SocketAddr::V6(address) = address {
                bytes[4..8].copy_from_slice(&address.flowinfo().to_be_bytes());
                bytes[24..28].copy_from_slice(&address.scope_id().to_ne_bytes());
            }
            (bytes, size_of::<libc::sockaddr_in6>())
        }
    }
}

/// Reads an address that [`sockaddr`] has written.
pub(crate) fn address(bytes: &[u8]) -> Option<SocketAddr> {
    let family = u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?);
    let port = u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?);
    match i32::from(family) {
        libc::AF_INET => {
            let octets: [u8; 4] = bytes.get(4..8)?.try_into().ok()?;
            Some((Ipv4Addr::from(octets), port).into())
        }
        libc::AF_INET6 => {
            let octets: [u8; 16] = bytes.get(8..24)?.try_into().ok()?;
            let flow = u32::from_be_bytes(bytes.get(4..8)?.try_into().ok()?);
            let scope = u32::from_ne_bytes(bytes.get(24..28)?.try_into().ok()?);
            Some(SocketAddrV6::new(Ipv6Addr::from(octets), port, flow, scope).into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arena::{Arena, Layout};

    #[test]
    fn addresses_are_written_as_the_kernel_has_them() {
        let (bytes, len) = sockaddr("192.0.2.7:443".parse().unwrap());
        assert_eq!((len, &bytes[2..16]), (16, &[1, 0xbb, 192, 0, 2, 7, 0, 0, 0, 0, 0, 0, 0, 0][..]));
        for text in ["192.0.2.7:443", "[2001:db8::5%3]:65535", "[::1]:0"] {
            let wanted: SocketAddr = text.parse().unwrap();
            let (bytes, len) = sockaddr(wanted);
            assert_eq!(address(&bytes[..len]), Some(wanted));
            assert_eq!(address(&bytes[..len - 9]), None, "{text}: cut short");
        }
        assert_eq!(address(&[1, 0, 0, 0]), None, "a unix socket's");
    }

    #[test]
    fn a_head_is_read_as_it_was_written_and_doubted_otherwise() {
        let head = Head {
            from: "[::1]:9".parse().unwrap(),
            segment_size: 0,
            payload: 3,
            truncated: true,
            control_cut: false,
        };
        let mut slot = vec![7; DATAGRAM_HEAD + 3];
        assert!(head.write(&mut slot));
        assert_eq!(Head::read(&slot), Some(head));
        assert!(!head.write(&mut slot[..71]));
        assert_eq!(Head::read(&slot[..71]), None);
        assert_eq!(Head::read(&slot[..74]), None, "fewer bytes than it says");
        slot[4] = 25;
        assert_eq!(Head::read(&slot), None, "more control messages than there was room for");
        // CMSG: length 20, SOL_UDP 17, UDP_GRO 104, 1200.
        slot[4] = 24;
        slot[48..72].copy_from_slice(&[
            20, 0, 0, 0, 0, 0, 0, 0, 17, 0, 0, 0, 104, 0, 0, 0, 0xb0, 4, 0, 0, 0, 0, 0, 0,
        ]);
        if cfg!(all(target_pointer_width = "64", target_endian = "little")) {
            assert_eq!(Head::read(&slot).unwrap().segment_size, 1200);
            slot[64..68].fill(0xff);
            assert_eq!(Head::read(&slot).unwrap().segment_size, 0, "a negative size");
        }
        slot[..4].fill(0xff);
        assert!(Head::read(&slot).is_some(), "a name longer than its room is cut");
        slot[..4].fill(0);
        assert_eq!(Head::read(&slot), None, "it was never sent");
    }

    /// A datagram is whole all the same, unless it may be several.
    #[test]
    fn several_datagrams_without_their_ends_are_not_one() {
        let layout = Layout { rx_count: 1, rx_len: 200, tx_count: 0, tx_len: 1 };
        for (coalesces, control_cut, wanted) in
            [(false, false, false), (false, true, false), (true, false, false), (true, true, true)]
        {
            let arena = Arena::new(layout).unwrap();
            arena.publish(|_| {});
            let from = "192.0.2.7:443".parse().unwrap();
            let head = Head { from, segment_size: 0, payload: 30, truncated: false, control_cut };
            assert_eq!(arena.fill_with(0, |slot| head.write(slot)), Some(true));
            let (_, datagrams) = take(arena.lease(0, 102).unwrap(), coalesces).unwrap();
            assert_eq!(datagrams.is_truncated(), wanted, "{coalesces} {control_cut}");
        }
    }
}
