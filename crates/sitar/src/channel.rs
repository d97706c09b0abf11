//! Messages between a supervisor and its worker, or between two supervisors: JSON, blobs that are
//! wiped when they are dropped, and descriptors, over a Unix stream socket.
//!
//! A message is a head (four lengths), the lengths of its blobs, a byte for each bundle of
//! descriptors, and then the JSON and the blobs. Each side says what it takes at most: what comes
//! from a worker is not believed.

mod line;

use std::io::{self, ErrorKind, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, Shutdown, SocketFlags, SocketType,
};
use serde_json::Value;
use zeroize::Zeroizing;

pub(crate) use self::line::{Line, Question};

/// Descriptors in one bundle; the kernel takes 253 (SCM_MAX_FD).
const BUNDLE: usize = 128;
/// The bytes of a head.
const HEAD: usize = 16;

/// The most that a message may bring.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Bytes of JSON.
    json: usize,
    /// Blobs.
    blobs: usize,
    /// Bytes of all blobs together.
    bytes: usize,
    /// Descriptors.
    descriptors: usize,
}

impl Limits {
    /// From a supervisor, which is believed.
    pub(crate) const OF_SUPERVISOR: Limits =
        Limits { json: 64 << 20, blobs: 1 << 16, bytes: 256 << 20, descriptors: 1 << 17 };
    /// From a worker: text only.
    pub(crate) const OF_WORKER: Limits = Limits { json: 4 << 20, blobs: 0, bytes: 0, descriptors: 0 };
    /// From what orders certificates: challenges for at most a hundred names. JSON takes many times
    /// its length where it is parsed.
    pub(crate) const OF_ACME: Limits = Limits { json: 512 << 10, ..Limits::OF_WORKER };
    /// From a packer: a few numbers, or a reason.
    pub(crate) const OF_PACKER: Limits = Limits { json: 64 << 10, ..Limits::OF_WORKER };
}

/// A message that has come.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) value: Value,
    pub(crate) blobs: Vec<Zeroizing<Vec<u8>>>,
    pub(crate) descriptors: Vec<OwnedFd>,
}

/// One end.
#[derive(Debug)]
pub(crate) struct Channel(OwnedFd);

impl Channel {
    /// Returns both ends of a new channel.
    ///
    /// # Errors
    /// No descriptor is left.
    pub(crate) fn pair() -> io::Result<(Channel, Channel)> {
        let (one, other) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        Ok((Channel(one), Channel(other)))
    }

    /// Takes over an end that another process has made.
    pub(crate) fn of(socket: OwnedFd) -> Channel {
        Channel(socket)
    }

    /// Returns a duplicate of the socket.
    ///
    /// # Errors
    /// No descriptor is left.
    pub(crate) fn socket(&self) -> io::Result<OwnedFd> {
        self.0.try_clone()
    }

    /// Returns the number of the process that has made the channel.
    pub(crate) fn maker(&self) -> Option<u32> {
        let peer = rustix::net::sockopt::socket_peercred(&self.0).ok()?;
        u32::try_from(peer.pid.as_raw_nonzero().get()).ok()
    }

    /// Gives the socket away.
    pub(crate) fn into_socket(self) -> OwnedFd {
        self.0
    }

    /// Sets the time after which the other end, which takes nothing of a message, is given up.
    ///
    /// # Errors
    /// The kernel's.
    pub(crate) fn give_up_after(&self, time: Duration) -> io::Result<()> {
        Ok(set_socket_timeout(&self.0, Timeout::Send, Some(time))?)
    }

    /// Sets the time after which a message of which nothing comes is given up.
    ///
    /// # Errors
    /// The kernel's.
    pub(crate) fn patience(&self, time: Duration) -> io::Result<()> {
        Ok(set_socket_timeout(&self.0, Timeout::Recv, Some(time))?)
    }

    /// Ends the channel for both ends.
    fn close(&self) {
        let _ = rustix::net::shutdown(&self.0, Shutdown::Both);
    }

    /// Sends a message, and waits until all of it is in the socket.
    ///
    /// # Errors
    /// The other end is gone (`BrokenPipe`), or the kernel's.
    pub(crate) fn send(
        &self,
        value: &Value,
        blobs: &[&[u8]],
        descriptors: &[BorrowedFd<'_>],
    ) -> io::Result<()> {
        let json = value.to_string();
        let mut head = Vec::with_capacity(HEAD + 4 * blobs.len());
        for number in [json.len(), blobs.len(), descriptors.len(), 0]
            .into_iter()
            .chain(blobs.iter().map(|blob| blob.len()))
        {
            let number = u32::try_from(number).map_err(|_| too_large())?;
            head.extend_from_slice(&number.to_le_bytes());
        }
        self.send_bytes(&head)?;
        for bundle in descriptors.chunks(BUNDLE) {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(BUNDLE))];
            let mut ancillary = SendAncillaryBuffer::new(&mut space);
            if !ancillary.push(SendAncillaryMessage::ScmRights(bundle)) {
                return Err(too_large());
            }
            again(|| {
                rustix::net::sendmsg(&self.0, &[IoSlice::new(&[0])], &mut ancillary, SendFlags::NOSIGNAL)
            })?;
        }
        self.send_bytes(json.as_bytes())?;
        blobs.iter().try_for_each(|blob| self.send_bytes(blob))
    }

    fn send_bytes(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let sent = again(|| rustix::net::send(&self.0, bytes, SendFlags::NOSIGNAL))?;
            bytes = bytes.get(sent..).unwrap_or_default();
        }
        Ok(())
    }

    /// Waits for a message. `None`: the other end is gone.
    ///
    /// # Errors
    /// It is not a message, it brings more than it may, or the kernel's. The channel is of no use
    /// then.
    pub(crate) fn receive(&self, limits: Limits) -> io::Result<Option<Message>> {
        self.receive_by(limits, None)
    }

    /// Waits for a message, all of which has to come within that time. [`Channel::patience`] counts
    /// no more.
    ///
    /// # Errors
    /// Those of [`Channel::receive`]; it is not all there in time (`TimedOut`, `WouldBlock`).
    pub(crate) fn receive_within(&self, limits: Limits, time: Duration) -> io::Result<Option<Message>> {
        self.receive_by(limits, Some(Instant::now() + time))
    }

    fn receive_by(&self, limits: Limits, until: Option<Instant>) -> io::Result<Option<Message>> {
        let mut head = [0; HEAD];
        if !self.receive_bytes(&mut head, until)? {
            return Ok(None);
        }
        let number = |at: usize| {
            let bytes = head.get(4 * at..4 * at + 4).and_then(|bytes| bytes.try_into().ok());
            u32::from_le_bytes(bytes.unwrap_or_default()) as usize
        };
        let (json, blobs, count) = (number(0), number(1), number(2));
        if json > limits.json || blobs > limits.blobs || count > limits.descriptors {
            return Err(too_large());
        }
        let mut lengths = vec![0; 4 * blobs];
        self.receive_whole(&mut lengths, until)?;
        let lengths: Vec<usize> = lengths
            .chunks_exact(4)
            .map(|bytes| u32::from_le_bytes(bytes.try_into().unwrap_or_default()) as usize)
            .collect();
        if lengths.iter().fold(0_usize, |sum, len| sum.saturating_add(*len)) > limits.bytes {
            return Err(too_large());
        }
        let mut descriptors = Vec::with_capacity(count);
        while descriptors.len() < count {
            let wanted = (count - descriptors.len()).min(BUNDLE);
            self.receive_bundle(wanted, &mut descriptors, until)?;
        }
        let mut text = vec![0; json];
        self.receive_whole(&mut text, until)?;
        let value = serde_json::from_slice(&text).map_err(|_| invalid("what came is no JSON"))?;
        let blobs = lengths.into_iter().map(|len| {
            let mut blob = Zeroizing::new(vec![0; len]);
            self.receive_whole(&mut blob, until)?;
            Ok(blob)
        });
        let blobs = blobs.collect::<io::Result<_>>()?;
        Ok(Some(Message { value, blobs, descriptors }))
    }

    fn receive_bundle(
        &self,
        wanted: usize,
        descriptors: &mut Vec<OwnedFd>,
        until: Option<Instant>,
    ) -> io::Result<()> {
        self.wait_until(until)?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(BUNDLE))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let before = descriptors.len();
        let received = again(|| {
            let mut byte = [0];
            rustix::net::recvmsg(
                &self.0,
                &mut [IoSliceMut::new(&mut byte)],
                &mut ancillary,
                RecvFlags::CMSG_CLOEXEC,
            )
        })?;
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                descriptors.extend(rights);
            }
        }
        if received.bytes == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        if descriptors.len() - before != wanted {
            // The kernel drops those for which no number is left.
            return Err(invalid("descriptors got lost: is the limit on open files too low (ulimit -n)?"));
        }
        Ok(())
    }

    /// Has the next receive wait no longer than until then.
    fn wait_until(&self, until: Option<Instant>) -> io::Result<()> {
        let Some(until) = until else { return Ok(()) };
        match until.saturating_duration_since(Instant::now()) {
            Duration::ZERO => Err(ErrorKind::TimedOut.into()),
            left => self.patience(left),
        }
    }

    fn receive_whole(&self, bytes: &mut [u8], until: Option<Instant>) -> io::Result<()> {
        if self.receive_bytes(bytes, until)? { Ok(()) } else { Err(ErrorKind::UnexpectedEof.into()) }
    }

    /// Returns whether anything came before the end.
    fn receive_bytes(&self, bytes: &mut [u8], until: Option<Instant>) -> io::Result<bool> {
        let mut got = 0;
        while let Some(rest) = bytes.get_mut(got..).filter(|rest| !rest.is_empty()) {
            self.wait_until(until)?;
            let (_, more) = again(|| rustix::net::recv(&self.0, &mut *rest, RecvFlags::empty()))?;
            match more {
                0 if got == 0 => return Ok(false),
                0 => return Err(ErrorKind::UnexpectedEof.into()),
                more => got += more,
            }
        }
        Ok(true)
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn again<T>(mut call: impl FnMut() -> Result<T, Errno>) -> io::Result<T> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            done => return Ok(done?),
        }
    }
}

fn too_large() -> io::Error {
    invalid("a message is too large")
}

fn invalid(why: &'static str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Read as _, Seek as _, Write as _};

    use serde_json::json;

    use super::*;

    #[test]
    fn a_message_comes_as_it_was_sent() {
        let (one, other) = Channel::pair().unwrap();
        let mut files: Vec<File> = (0..300).map(|_| tempfile::tempfile().unwrap()).collect();
        for (at, file) in files.iter_mut().enumerate() {
            write!(file, "{at}").unwrap();
        }
        let blob = vec![7; 1 << 20];
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let fds: Vec<BorrowedFd<'_>> = files.iter().map(AsFd::as_fd).collect();
                one.send(&json!({ "what": "all" }), &[b"first", &blob, b""], &fds).unwrap();
                one.send(&json!(null), &[], &[]).unwrap();
            });
            let Message { value, blobs, descriptors } =
                other.receive(Limits::OF_SUPERVISOR).unwrap().unwrap();
            assert_eq!(value, json!({ "what": "all" }));
            assert_eq!(blobs.iter().map(|blob| blob.len()).collect::<Vec<_>>(), [5, 1 << 20, 0]);
            assert_eq!(**blobs[0], *b"first");
            assert!(blobs[1].iter().all(|byte| *byte == 7));
            assert_eq!(descriptors.len(), 300);
            for (at, fd) in descriptors.into_iter().enumerate() {
                let mut file = File::from(fd);
                let mut text = String::new();
                file.rewind().unwrap();
                file.read_to_string(&mut text).unwrap();
                assert_eq!(text, at.to_string());
            }
            let Message { value, blobs, descriptors } = other.receive(Limits::OF_WORKER).unwrap().unwrap();
            assert!(value.is_null() && blobs.is_empty() && descriptors.is_empty());
        });
        drop(one);
        assert!(other.receive(Limits::OF_WORKER).unwrap().is_none());
    }

    #[test]
    fn a_worker_brings_neither_blobs_nor_descriptors_nor_endless_text() {
        let refused = |send: &dyn Fn(&Channel)| {
            let (one, other) = Channel::pair().unwrap();
            send(&one);
            other.receive(Limits::OF_WORKER).unwrap_err().to_string()
        };
        let file = tempfile::tempfile().unwrap();
        let too_large = "a message is too large";
        assert_eq!(refused(&|end| end.send(&json!(1), &[b"x"], &[]).unwrap()), too_large);
        assert_eq!(refused(&|end| end.send(&json!(1), &[], &[file.as_fd()]).unwrap()), too_large);
        let head = |json: u32| [json.to_le_bytes(), [0; 4], [0; 4], [0; 4]].concat();
        assert_eq!(refused(&|end| end.send_bytes(&head(u32::MAX)).unwrap()), too_large);
        let garbage = |end: &Channel| end.send_bytes(&[&head(2)[..], b"{x"].concat()).unwrap();
        assert_eq!(refused(&garbage), "what came is no JSON");
    }

    #[test]
    fn an_end_in_the_midst_of_a_message_is_an_error() {
        for sent in [&[1_u8, 0, 0][..], &[1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]] {
            let (one, other) = Channel::pair().unwrap();
            one.send_bytes(sent).unwrap();
            drop(one);
            assert_eq!(other.receive(Limits::OF_WORKER).unwrap_err().kind(), ErrorKind::UnexpectedEof);
        }
    }

    #[test]
    fn a_message_that_comes_byte_by_byte_is_given_up() {
        let (one, other) = Channel::pair().unwrap();
        let time = Duration::from_millis(200);
        std::thread::scope(|scope| {
            scope.spawn(move || {
                // Each is within any time for one of them, and all of them within none.
                let head = [[0, 0, 1, 0], [0; 4], [0; 4], [0; 4]].concat();
                for byte in head.into_iter().chain(std::iter::repeat(b' ')) {
                    if one.send_bytes(&[byte]).is_err() {
                        break;
                    }
                    std::thread::sleep(time / 20);
                }
            });
            let kind = other.receive_within(Limits::OF_PACKER, time).unwrap_err().kind();
            assert!(matches!(kind, ErrorKind::TimedOut | ErrorKind::WouldBlock), "{kind}");
            drop(other);
        });
    }

    #[test]
    fn an_end_that_takes_nothing_is_given_up() {
        let (one, _other) = Channel::pair().unwrap();
        one.give_up_after(Duration::from_millis(10)).unwrap();
        let error = one.send(&json!(1), &[&vec![0; 64 << 20]], &[]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
    }
}
