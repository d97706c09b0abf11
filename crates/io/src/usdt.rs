//! Probes for debuggers and tracers: user statically-defined tracing, as SystemTap, bpftrace, perf
//! and gdb know it.
//!
//! Each function here is one probe of the provider `sitar`: a note in the program that names a
//! place and its arguments, and a semaphore, which a tracer raises while it looks. With no tracer
//! a probe costs a load and a branch; its arguments are computed for a tracer only.
//!
//! They are here because a note is written in inline assembly, which is unsafe, and all unsafe code
//! is in this crate. The names speak of what sitar does: other users of this crate have
//! `ring_enter` and `ring_exit` only, which the ring calls itself.
//!
//! Those that are on the path of a request are inlined there. The others are functions, so that
//! each is one place in the program: a note about a place that the linker has dropped would stay.
//!
//! Arguments are words of 64 bits. A text is an address and a length in bytes, without a zero at
//! its end. A connection is the number that its shard gives it: unique within a thread, for as long
//! as it is open. `docs/probes.md` of sitar has the table.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Fires the probe of this name if a tracer looks. Returns whether one does.
///
/// SAFETY of the assembly that the macro writes: it is one `nop`, reads registers only, and leaves
/// memory, stack and flags alone; the semaphore is read as a volatile word of 16 bits that only
/// the kernel writes to.
macro_rules! fire {
    ($name:ident $(, $argument:expr)* $(,)?) => {
        probe::probe_lazy!(sitar, $name $(, $argument)*)
    };
}

/// A connection has come and has a place.
#[inline(never)]
pub fn connection_accepted(connection: u64) {
    fire!(connection_accepted, connection);
}

/// The peer of a connection is known: its address and port, where it has one.
#[inline(never)]
pub fn connection_peer(connection: u64, peer: Option<SocketAddr>) {
    let (family, address, port);
    fire!(
        connection_peer,
        {
            (family, address, port) = of_peer(peer);
            connection
        },
        family,
        address.as_ptr(),
        port,
    );
}

/// A connection is closed to make room, for others or for what they hold.
#[inline(never)]
pub fn connection_shed(connection: u64) {
    fire!(connection_shed, connection);
}

/// A connection has ended.
#[inline(never)]
pub fn connection_closed(connection: u64, reason: &dyn Fn() -> &'static str) {
    let text;
    fire!(
        connection_closed,
        {
            text = touched(reason().as_bytes());
            connection
        },
        text.as_ptr(),
        text.len(),
    );
}

/// A TLS handshake is done. `version` and `cipher_suite` are numbered as TLS does (RFC 8446).
#[inline(never)]
pub fn handshake_done(connection: u64, version: u16, cipher_suite: u16, resumed: bool) {
    fire!(handshake_done, connection, version, cipher_suite, resumed);
}

/// A TLS handshake has failed.
#[inline(never)]
pub fn handshake_failed(connection: u64, reason: &dyn Fn() -> &'static str) {
    let text;
    fire!(
        handshake_failed,
        {
            text = touched(reason().as_bytes());
            connection
        },
        text.as_ptr(),
        text.len(),
    );
}

/// The texts of a request.
#[derive(Clone, Copy, Debug)]
pub struct Request<'r> {
    /// Its method; empty where that is not known.
    pub method: &'r [u8],
    /// Its authority, with a port if the client sent one; empty where there is none.
    pub host: &'r [u8],
    /// Its path, without the query.
    pub path: &'r [u8],
}

/// A request is looked at for the first time.
#[inline(always)]
pub fn request<'r>(connection: u64, texts: impl FnOnce() -> Request<'r>) {
    let (text, words);
    fire!(
        request,
        {
            text = texts();
            words = text.words();
            connection
        },
        touched(text.method).as_ptr(),
        text.method.len(),
        text.path.as_ptr(),
        text.path.len(),
        words.as_ptr(),
    );
}

impl Request<'_> {
    /// Returns the address and the length of the path, then those of the host.
    ///
    /// A probe has the address of these as its last argument: bpftrace 0.17 reads six at most.
    #[cold]
    fn words(&self) -> [u64; 4] {
        let [path, host] = [self.path, self.host];
        [path.as_ptr() as u64, path.len() as u64, host.as_ptr() as u64, host.len() as u64]
    }
}

/// An answer that begins.
#[derive(Clone, Copy, Debug)]
pub struct Response<'r> {
    /// Its number, unique within its thread.
    pub number: u64,
    /// Its connection.
    pub connection: u64,
    /// Its status.
    pub status: u16,
    /// Bytes of its content.
    pub content_length: u64,
    /// The time since the request was first looked at; 0 within one turn of the shard's loop.
    pub waited: Duration,
    /// The texts of the request; empty as far as it could not be read.
    pub request: Request<'r>,
}

/// An answer begins. Returns whether a tracer looks: then [`response_end`] is due as well.
#[inline(always)]
pub fn response<'r>(answer: impl FnOnce() -> Response<'r>) -> bool {
    let (it, words);
    fire!(
        response,
        {
            it = answer();
            words = it.request.words();
            it.number
        },
        it.connection,
        it.status,
        it.content_length,
        it.waited.as_nanos(),
        words.as_ptr(),
    )
}

/// An answer has ended: all of it was gathered for the kernel, or it was given up, and `cut` says
/// why. `unsent` are the bytes of its content that were not gathered.
#[inline(never)]
pub fn response_end(number: u64, unsent: u64, cut: Option<&'static str>) {
    let cut = cut.unwrap_or_default();
    fire!(response_end, number, unsent, touched(cut.as_bytes()).as_ptr(), cut.len());
}

/// A file that has been loaded, or could not be.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// Its name in its site.
    pub name: String,
    /// Bytes of memory that it takes from now on: little where it is sent from the file.
    pub resident: u64,
    /// The system's error, or 0.
    pub error: i32,
}

/// A file has been loaded, or could not be.
#[inline(never)]
pub fn file_loaded(loaded: &dyn Fn() -> Loaded) {
    let it;
    fire!(
        file_loaded,
        {
            it = loaded();
            it.name.as_ptr()
        },
        it.name.len(),
        it.resident,
        it.error,
    );
}

/// A shard serves from another snapshot, of this number, with this many hosts.
#[inline(never)]
pub fn snapshot_swapped(snapshot: u64, hosts: usize) {
    fire!(snapshot_swapped, snapshot, hosts);
}

/// io_uring_enter is about to be called, with operations that are `queued`, to wait for `wanted`
/// completions.
#[inline(always)]
pub(crate) fn ring_enter(queued: u32, wanted: u32) {
    fire!(ring_enter, queued, wanted);
}

/// io_uring_enter has returned this.
#[inline(always)]
pub(crate) fn ring_exit(result: i64) {
    fire!(ring_exit, result);
}

/// Returns the text, which is in memory now: a tracer reads nothing of a page of the program that
/// has not been needed yet.
#[cold]
fn touched(text: &[u8]) -> &[u8] {
    std::hint::black_box(text.first().copied());
    text
}

/// Returns the family (4, 6 or 0), the address as one of IPv6, and the port.
#[cold]
fn of_peer(peer: Option<SocketAddr>) -> (u64, [u8; 16], u16) {
    let Some(peer) = peer else { return (0, [0; 16], 0) };
    match peer.ip().to_canonical() {
        IpAddr::V4(ip) => (4, ip.to_ipv6_mapped().octets(), peer.port()),
        IpAddr::V6(ip) => (6, ip.octets(), peer.port()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_sixteen_bytes_whatever_its_family() {
        let of = |text: &str| of_peer(Some(text.parse().unwrap()));
        let mapped = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 7];
        assert_eq!(of("192.0.2.7:443"), (4, mapped, 443));
        assert_eq!(of("[::ffff:192.0.2.7]:443"), (4, mapped, 443));
        let ipv6 = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        assert_eq!(of("[2001:db8::1]:65535"), (6, ipv6, 65535));
        assert_eq!(of_peer(None), (0, [0; 16], 0));
    }

    #[test]
    fn the_texts_of_a_request_are_two_pairs_of_words() {
        let (path, host) = ("/index.html".as_bytes(), "example.org:8443".as_bytes());
        let words = Request { method: b"GET", host, path }.words();
        assert_eq!(words, [path.as_ptr() as u64, 11, host.as_ptr() as u64, 16]);
    }

    #[test]
    fn arguments_are_not_computed_while_nothing_looks() {
        request(1, || unreachable!("nothing looks"));
        assert!(!response(|| unreachable!("nothing looks")));
        connection_closed(1, &|| unreachable!("nothing looks"));
        handshake_failed(1, &|| unreachable!("nothing looks"));
    }
}
