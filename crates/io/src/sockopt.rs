//! Options of a connection's socket, and the keys with which the kernel seals TLS records.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use rustix::io::Errno;
use zeroize::Zeroize;

/// An option that [`Ring::set_opt`](crate::Ring::set_opt) sets.
#[derive(Debug)]
pub enum SockOpt {
    /// TCP_NODELAY: small pieces leave at once.
    NoDelay(bool),
    /// TCP_ULP "tls": puts the kernel's TLS under the socket, which by itself changes nothing yet.
    /// The connection must be established, with both directions open (`ENOTCONN` otherwise);
    /// `ENOENT` where the kernel has no TLS or the module is not loaded. From then on, also when it
    /// failed, sends may be short: `MSG_WAITALL` is not allowed on such sockets.
    TlsUlp,
    /// SOL_TLS, TLS_TX: from now on the kernel seals what is sent. Every byte sent before must have
    /// been taken by the socket, and each is sealed already; each byte sent after is plain text.
    /// Setting it again, to change keys, is `EBUSY` before kernel 6.14.
    TlsTx(Box<TlsTx>),
}

/// linux/tls.h.
const TLS_TX: libc::c_int = 1;

impl SockOpt {
    /// Level and name, as setsockopt(2) wants them, and the value, which is passed to `value`. None
    /// is longer than [`TlsTx::MAX`].
    pub(crate) fn with<T>(&self, value: impl FnOnce(libc::c_int, libc::c_int, &[u8]) -> T) -> T {
        match self {
            SockOpt::NoDelay(on) => {
                value(libc::IPPROTO_TCP, libc::TCP_NODELAY, &libc::c_int::from(*on).to_ne_bytes())
            }
            SockOpt::TlsUlp => value(libc::IPPROTO_TCP, libc::TCP_ULP, b"tls"),
            SockOpt::TlsTx(tx) => value(libc::SOL_TLS, TLS_TX, tx.as_bytes()),
        }
    }

    /// Sets it by a system call.
    pub(crate) fn set_now(&self, socket: BorrowedFd<'_>) -> Result<(), Errno> {
        self.with(|level, name, value| set(socket, level, name, value))
    }
}

/// TCP_NOTSENT_LOWAT: how many bytes TCP takes beyond what it can send now; sockets that a listener
/// accepts inherit it.
///
/// # Errors
/// Those of setsockopt(2): the socket is not TCP's.
pub fn set_tcp_notsent_lowat(socket: impl AsFd, bytes: u32) -> io::Result<()> {
    let value = bytes.to_ne_bytes();
    Ok(set(socket.as_fd(), libc::IPPROTO_TCP, libc::TCP_NOTSENT_LOWAT, &value)?)
}

/// asm-generic/socket.h, since Linux 6.16.
const SO_PASSRIGHTS: libc::c_int = 83;

/// SO_PASSRIGHTS: a Unix socket is sent no descriptors (SCM_RIGHTS), nor are those that it accepts.
/// A receive that does not ask for them closes them, which may take as long as the sender likes
/// (SO_LINGER).
///
/// # Errors
/// Those of setsockopt(2): the kernel is older than 6.16, or this is no Unix socket.
pub fn refuse_descriptors(socket: impl AsFd) -> io::Result<()> {
    Ok(set(socket.as_fd(), libc::SOL_SOCKET, SO_PASSRIGHTS, &0_u32.to_ne_bytes())?)
}

/// setsockopt(2), for options that rustix does not have.
pub(crate) fn set(
    socket: BorrowedFd<'_>,
    level: libc::c_int,
    name: libc::c_int,
    value: &[u8],
) -> Result<(), Errno> {
    let len = libc::socklen_t::try_from(value.len()).map_err(|_| Errno::INVAL)?;
    // SAFETY: the kernel reads `len` bytes at `value`, a live slice of that length, during the call
    // only.
    let done = unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, value.as_ptr().cast(), len) };
    if done == 0 {
        return Ok(());
    }
    Err(Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO))
}

/// The AEADs that the kernel can seal TLS 1.3 records with (linux/tls.h).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TlsCipher {
    /// TLS_AES_128_GCM_SHA256.
    Aes128Gcm,
    /// TLS_AES_256_GCM_SHA384.
    Aes256Gcm,
    /// TLS_CHACHA20_POLY1305_SHA256; since kernel 5.11.
    ChaCha20Poly1305,
}

impl TlsCipher {
    /// Every cipher.
    pub const ALL: [TlsCipher; 3] = [TlsCipher::Aes128Gcm, TlsCipher::Aes256Gcm, TlsCipher::ChaCha20Poly1305];

    /// Returns the length of its key in bytes.
    #[must_use]
    pub fn key_len(self) -> usize {
        match self {
            TlsCipher::Aes128Gcm => 16,
            TlsCipher::Aes256Gcm | TlsCipher::ChaCha20Poly1305 => 32,
        }
    }

    /// TLS_CIPHER_AES_GCM_128 and so on.
    fn number(self) -> u16 {
        match self {
            TlsCipher::Aes128Gcm => 51,
            TlsCipher::Aes256Gcm => 52,
            TlsCipher::ChaCha20Poly1305 => 54,
        }
    }
}

/// Key, IV and next sequence number of the sending direction of a TLS 1.3 connection, as `struct
/// tls12_crypto_info_…`. Wiped when it is dropped.
///
/// TLS 1.2 is left out on purpose: the kernel takes the explicit part of its GCM nonces from the IV
/// that it is given, and a caller that has sealed records before would make it use a nonce twice.
pub struct TlsTx {
    /// On the heap from the start: a move copies bytes and does not wipe where they were.
    bytes: Box<[u8; TlsTx::MAX]>,
    len: usize,
}

impl TlsTx {
    /// Bytes of the longest of the structures.
    pub(crate) const MAX: usize = 56;

    /// Makes the structure, `None` when `key` does not have the length that `cipher` needs.
    #[must_use]
    pub fn tls13(cipher: TlsCipher, key: &[u8], iv: &[u8; 12], sequence: u64) -> Option<TlsTx> {
        if key.len() != cipher.key_len() {
            return None;
        }
        let mut tx = TlsTx { bytes: Box::new([0; TlsTx::MAX]), len: 0 };
        // TLS_1_3_VERSION
        tx.push(&0x0304_u16.to_ne_bytes());
        tx.push(&cipher.number().to_ne_bytes());
        match cipher {
            // The first four bytes of the IV are what linux/tls.h calls the salt.
            TlsCipher::Aes128Gcm | TlsCipher::Aes256Gcm => {
                tx.push(&iv[4..]);
                tx.push(key);
                tx.push(&iv[..4]);
            }
            TlsCipher::ChaCha20Poly1305 => {
                tx.push(iv);
                tx.push(key);
            }
        }
        tx.push(&sequence.to_be_bytes());
        Some(tx)
    }

    fn push(&mut self, bytes: &[u8]) {
        // The fields of the longest structure are MAX bytes together.
        self.bytes[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }

    /// The structure as the kernel gets it, key included: for a [simulated](crate::sim) one.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl Drop for TlsTx {
    fn drop(&mut self) {
        self.bytes.zeroize();
    }
}

impl fmt::Debug for TlsTx {
    // By hand, so that no key can end up in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsTx").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::{Ipv4Addr, TcpListener};
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn an_option_that_does_not_exist_is_refused() {
        let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let answer = set(socket.as_fd(), libc::IPPROTO_TCP, libc::TCP_ULP, b"no such thing");
        assert!(matches!(answer, Err(Errno::NOENT | Errno::NOTCONN)), "{answer:?}");
    }

    /// Returns how much an accepted socket takes for a peer that does not read.
    fn taken(lowat: Option<u32>) -> usize {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        rustix::net::sockopt::set_socket_send_buffer_size(&listener, 2 << 20).unwrap();
        rustix::net::sockopt::set_socket_recv_buffer_size(&listener, 8 << 10).unwrap();
        if let Some(bytes) = lowat {
            set_tcp_notsent_lowat(&listener, bytes).unwrap();
        }
        let family = rustix::net::AddressFamily::INET;
        let client = rustix::net::socket(family, rustix::net::SocketType::STREAM, None).unwrap();
        rustix::net::sockopt::set_socket_recv_buffer_size(&client, 8 << 10).unwrap();
        rustix::net::connect(&client, &listener.local_addr().unwrap()).unwrap();
        let (mut accepted, _) = listener.accept().unwrap();
        accepted.set_nonblocking(true).unwrap();
        let mut taken = 0;
        while let Ok(len) = accepted.write(&[0; 4096]) {
            taken += len;
        }
        taken
    }

    #[test]
    fn little_is_taken_that_cannot_be_sent() {
        let (little, much) = (taken(Some(64 << 10)), taken(None));
        assert!(little < 256 << 10 && much > little * 2, "{little} with the option, {much} without");
        let udp = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        assert!(set_tcp_notsent_lowat(&udp, 1).is_err());
    }

    const KEY: [u8; 32] = *b"0123456789abcdefghijklmnopqrstuv";
    const IV: [u8; 12] = *b"SALTivivivIV";

    /// struct tls12_crypto_info_aes_gcm_128 { u16 version, cipher; u8 iv[8], key[16], salt[4],
    /// rec_seq[8]; }
    #[test]
    fn the_structures_are_those_of_linux_tls_h() {
        let tx = TlsTx::tls13(TlsCipher::Aes128Gcm, &KEY[..16], &IV, 0x0102).unwrap();
        let mut wanted = [0x0304_u16.to_ne_bytes(), 51_u16.to_ne_bytes()].concat();
        wanted.extend_from_slice(b"ivivivIV0123456789abcdefSALT\0\0\0\0\0\0\x01\x02");
        assert_eq!(tx.as_bytes(), wanted);
        assert_eq!(tx.as_bytes().len(), 40);

        let tx = TlsTx::tls13(TlsCipher::Aes256Gcm, &KEY, &IV, 7).unwrap();
        let mut wanted = [0x0304_u16.to_ne_bytes(), 52_u16.to_ne_bytes()].concat();
        wanted.extend_from_slice(b"ivivivIV0123456789abcdefghijklmnopqrstuvSALT\0\0\0\0\0\0\0\x07");
        assert_eq!(tx.as_bytes(), wanted);

        let tx = TlsTx::tls13(TlsCipher::ChaCha20Poly1305, &KEY, &IV, 0).unwrap();
        let mut wanted = [0x0304_u16.to_ne_bytes(), 54_u16.to_ne_bytes()].concat();
        wanted.extend_from_slice(b"SALTivivivIV0123456789abcdefghijklmnopqrstuv\0\0\0\0\0\0\0\0");
        assert_eq!(tx.as_bytes(), wanted);
        assert_eq!(tx.as_bytes().len(), TlsTx::MAX);
    }

    #[test]
    fn a_key_stays_where_it_was_written() {
        let tx = TlsTx::tls13(TlsCipher::Aes256Gcm, &KEY, &IV, 7).unwrap();
        let place = tx.as_bytes().as_ptr();
        let opt = SockOpt::TlsTx(Box::new(tx));
        let SockOpt::TlsTx(tx) = opt else { panic!() };
        assert_eq!(tx.as_bytes().as_ptr(), place);
    }

    #[test]
    fn a_key_of_another_length_is_refused_and_none_is_printed() {
        assert!(TlsTx::tls13(TlsCipher::Aes128Gcm, &KEY, &IV, 0).is_none());
        assert!(TlsTx::tls13(TlsCipher::ChaCha20Poly1305, &KEY[..16], &IV, 0).is_none());
        let tx = TlsTx::tls13(TlsCipher::Aes256Gcm, &KEY, &IV, 0).unwrap();
        assert_eq!(format!("{tx:?}"), "TlsTx { .. }");
    }
}
