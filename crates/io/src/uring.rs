//! The io_uring engine with batched submission: everything that a wake-up queued and did not submit
//! at once starts with one `io_uring_enter`, which also waits. Kernel 6.1 or newer.
//!
//! Flags: `SINGLE_ISSUER | DEFER_TASKRUN | SUBMIT_ALL`, a large completion queue, the ring's own
//! descriptor registered; `NO_SQARRAY` where the kernel has it (6.6), and `NO_IOWAIT` (6.15).
//! Sockets by direct descriptors, receiving from a provided buffer ring.
//!
//! The same with a polling kernel thread, and without system calls: `sqpoll`.

#[cfg(feature = "attacks")]
mod attacks;
mod buf_ring;
mod queues;
mod restrictions;
mod scratch;
mod sqpoll;
mod unavailable;

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use io_uring::{IoUring, cqueue, opcode, squeue, types};

use self::buf_ring::BufRing;
pub use self::queues::Queues;
pub(crate) use self::restrictions::{OPERATIONS, REGISTRATIONS};
use self::scratch::Scratches;
use self::sqpoll::Spinner;
pub use self::sqpoll::SqPoll;
pub use self::unavailable::Unavailable;

use crate::arena::Arena;
use crate::engine::{Answer, Completion, Engine, Full, Memory, Question, Sealed, Submission};
use crate::op::Request;
use crate::refused;
use crate::ring::{Config, Ring};
use crate::table::EntryId;
use crate::usdt;

/// The oldest kernel that has all that the engine stands on (multishot receive, DEFER_TASKRUN).
const KERNEL_MIN: (u32, u32) = (6, 1);
/// Socket commands (getsockopt by ring) came with this one.
const KERNEL_SOCKET_COMMANDS: (u32, u32) = (6, 7);
/// Before this one a file leaves the ring's table only when all operations that were begun before
/// its close have ended, those of other connections too: with receives that wait for ever the peer
/// would never hear of the close. So the socket is shut down first. (Seen on 6.1; the reference
/// counting was made per file in 6.13.)
const KERNEL_PROMPT_CLOSE: (u32, u32) = (6, 13);
/// Before this one, giving back the file table waits for the operations that use it without doing
/// the work by which they end, which with DEFER_TASKRUN is this thread's: for ever, once in a
/// while. (Seen on 6.1, not on 6.12.) There, closing the ring has to do; a worker of the kernel's
/// gives the files back soon after.
const KERNEL_UNREGISTER: (u32, u32) = (6, 12);
/// Since this one the memory of a ring counts against RLIMIT_MEMLOCK of the user
/// (`io_create_region`).
const KERNEL_LOCKS_RINGS: (u32, u32) = (6, 14);
/// Marks an entry whose completion is not waited for; no id has these bits.
const UNHEARD: u64 = u64::MAX;
/// The one group of provided buffers.
const GROUP: u16 = 0;
// linux/io_uring.h
const ENTER_GETEVENTS: u32 = 1;
const ENTER_EXT_ARG: u32 = 1 << 3;
const ENTER_REGISTERED_RING: u32 = 1 << 4;
const ENTER_NO_IOWAIT: u32 = 1 << 7;
const REGISTER_RING_FDS: u32 = 20;
const UNREGISTER_RING_FDS: u32 = 21;

/// The io_uring engine: batched ([`Ring::uring`]) or with a polling kernel thread
/// ([`Ring::sqpoll`]).
pub struct Uring {
    // Declared before the memory that it refers to, so that it is dropped first.
    ring: IoUring,
    buffers: BufRing,
    scratch: Scratches,
    /// Index of the registered ring descriptor; `None`: the plain one is used.
    registered: Option<u32>,
    /// Flags of each call: waiting for peers is no waiting for a disk, where the kernel can tell
    /// them apart (6.15).
    enter_flags: u32,
    socket_commands: bool,
    /// The kernel lets go of a closed direct descriptor late.
    late_close: bool,
    /// The kernel can be told to give the file table back.
    unregister: bool,
    /// The kernel refuses what is not in the list.
    restricted: bool,
    /// There is a polling kernel thread, and this side spins.
    spinner: Option<Spinner>,
    calls: u64,
}

impl Ring<Uring> {
    /// Makes a ring on io_uring for the calling thread.
    ///
    /// # Errors
    /// [`Unavailable`] says why this machine cannot run it.
    pub fn uring(config: &Config) -> Result<Ring<Uring>, Unavailable> {
        Ring::uring_with(config, Queues::new(config))
    }

    /// Makes such a ring with queues of these sizes.
    ///
    /// # Errors
    /// Those of [`uring`](Ring::uring).
    pub fn uring_with(config: &Config, queues: Queues) -> Result<Ring<Uring>, Unavailable> {
        Uring::ring(config, queues, None)
    }

    /// Returns whether the kernel refuses all operations that this engine does not use, as it can
    /// since 5.10. That is so by default; see [`Queues::unrestricted`].
    #[must_use]
    pub fn is_restricted(&self) -> bool {
        self.engine().is_restricted()
    }
}

impl Uring {
    fn ring(config: &Config, queues: Queues, poll: Option<&SqPoll>) -> Result<Ring<Uring>, Unavailable> {
        let release = rustix::system::uname().release().to_string_lossy().into_owned();
        let version = parse_release(&release);
        if version < KERNEL_MIN {
            return Err(Unavailable::KernelTooOld(release));
        }
        let mut why = None;
        Ring::assemble(config, |arena| {
            Uring::new(config, queues, arena, version, poll).map_err(|error| {
                why = Some(error);
                io::ErrorKind::Other.into()
            })
        })
        .map_err(|error| {
            let step = match (error.kind(), error.raw_os_error()) {
                (io::ErrorKind::InvalidInput, _) => "sizes",
                (_, Some(libc::EMFILE | libc::ENFILE)) => "eventfd",
                _ => "memory",
            };
            why.unwrap_or(Unavailable::Failed(step, error))
        })
    }
}

/// "6.12.41-amd64" → (6, 12); what cannot be read counts as too old.
fn parse_release(release: &str) -> (u32, u32) {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|digits| digits.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

fn build(queues: Queues, no_sqarray: bool, poll: Option<&SqPoll>) -> io::Result<IoUring> {
    let mut builder = IoUring::builder();
    builder
        .setup_single_issuer()
        .setup_submit_all()
        .setup_clamp()
        .setup_cqsize(queues.completions())
        .setup_r_disabled()
        .dontfork();
    if no_sqarray {
        builder.setup_no_sqarray();
    }
    match poll {
        // EINVAL with DEFER_TASKRUN: the poller runs the task work.
        Some(poll) => builder.setup_sqpoll(poll.idle_ms()),
        None => builder.setup_defer_taskrun(),
    };
    if let Some(cpu) = poll.and_then(|poll| poll.cpu) {
        builder.setup_sqpoll_cpu(cpu);
    }
    builder.build(queues.submissions())
}

impl Uring {
    fn new(
        config: &Config,
        queues: Queues,
        arena: &Arena,
        version: (u32, u32),
        poll: Option<&SqPoll>,
    ) -> Result<Uring, Unavailable> {
        let ring = build(queues, true, poll).or_else(|error| match error.raw_os_error() {
            Some(libc::EINVAL) => build(queues, false, poll),
            _ => Err(error),
        });
        let ring = ring.map_err(|error| match error.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => Unavailable::Forbidden,
            Some(libc::ENOSYS) => Unavailable::Missing,
            _ => Unavailable::Failed("io_uring_setup", error),
        })?;
        ring.submitter().register_files_sparse(config.connections).map_err(|error| {
            match error.raw_os_error() {
                Some(libc::EMFILE) => Unavailable::FileLimit { wanted: config.connections },
                // A seccomp profile that knows some of io_uring's calls only.
                Some(libc::EPERM | libc::EACCES) => Unavailable::Forbidden,
                _ => Unavailable::Failed("registering the file table", error),
            }
        })?;
        let rx_count = arena.layout().rx_count;
        let buffers = BufRing::new(rx_count).map_err(|error| Unavailable::Failed("memory", error))?;
        // SAFETY: the address is that of a live, page-aligned mapping of `rx_count` entries. It is
        // unmapped by `BufRing`'s drop, which runs after `ring` is gone (field order) and never
        // when the ring is leaked.
        let done =
            unsafe { ring.submitter().register_buf_ring_with_flags(buffers.addr(), rx_count, GROUP, 0) };
        done.map_err(|error| Unavailable::Failed("registering receive buffers", error))?;
        let scratch = Scratches::new(config.ops()).map_err(|error| Unavailable::Failed("memory", error))?;
        let registered = register_ring_fd(ring.as_raw_fd());
        let no_iowait = if ring.params().is_feature_no_iowait() { ENTER_NO_IOWAIT } else { 0 };
        let restricted = queues.are_restricted() && restrictions::restrict(&ring);
        // By the thread that uses the ring: it becomes the single issuer.
        let enabled = ring.submitter().register_enable_rings();
        enabled.map_err(|error| Unavailable::Failed("enabling the ring", error))?;
        Ok(Uring {
            ring,
            buffers,
            scratch,
            registered,
            enter_flags: ENTER_EXT_ARG | no_iowait,
            socket_commands: version >= KERNEL_SOCKET_COMMANDS,
            late_close: version < KERNEL_PROMPT_CLOSE,
            unregister: version >= KERNEL_UNREGISTER,
            restricted,
            spinner: poll.map(Spinner::new),
            calls: 0,
        })
    }

    fn push(&mut self, entry: &squeue::Entry) -> Result<(), Full> {
        for attempt in 0..2 {
            // SAFETY: every address in `entry` was taken in `submit` from the op table's own entry
            // (tokens, region handles) or from `scratch`, both of which the ring keeps until the
            // terminal completion or leaks (I2, I3).
            if unsafe { self.ring.submission().push(entry) }.is_ok() {
                return Ok(());
            }
            if attempt == 0 && self.make_room().is_err() {
                return Err(Full);
            }
        }
        Err(Full)
    }

    /// The submission queue is full: has what is in it started.
    fn make_room(&mut self) -> io::Result<()> {
        if self.spinner.is_some() { self.wait_for_room() } else { self.enter(0, 0, None) }
    }

    fn enter(&mut self, want: u32, flags: u32, timeout: Option<Duration>) -> io::Result<()> {
        // A polling thread submits by itself; a count would only hide an error of the wait.
        let queued = if self.spinner.is_some() { 0 } else { self.ring.submission().len() as u32 };
        let (fd, flags) = match self.registered {
            Some(index) => (index as i32, flags | ENTER_REGISTERED_RING),
            None => (self.ring.as_raw_fd(), flags),
        };
        let time = timeout.map(|timeout| libc::timespec {
            tv_sec: libc::time_t::try_from(timeout.as_secs()).unwrap_or(libc::time_t::MAX),
            tv_nsec: libc::c_long::from(timeout.subsec_nanos()),
        });
        let arg = GetEventsArg {
            sigmask: 0,
            sigmask_sz: 0,
            min_wait_usec: 0,
            ts: time.as_ref().map_or(0, |time| std::ptr::from_ref(time) as u64),
        };
        self.calls += 1;
        usdt::ring_enter(queued, want);
        // SAFETY: the arguments are those of io_uring_enter(2); `arg` and the time that it points
        // to live on this stack frame, and the kernel reads them during the call only.
        let done = unsafe {
            libc::syscall(
                libc::SYS_io_uring_enter,
                fd,
                queued,
                want,
                flags | self.enter_flags,
                std::ptr::from_ref(&arg),
                size_of::<GetEventsArg>(),
            )
        };
        usdt::ring_exit(done);
        if done >= 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            // The time has passed; a signal; completions waiting for room; no memory for a request
            // just now. In each case the loop goes on: nothing queued is lost.
            Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN) => Ok(()),
            _ => Err(error),
        }
    }
}

impl Engine for Uring {}

impl Sealed for Uring {
    fn submit(&mut self, submission: Submission<'_>) -> Result<(), Full> {
        let Submission { id, op } = submission;
        let is_option = matches!(op, Request::SetOpt { .. });
        let mut scratch = self.scratch.at(id.index());
        let entry = match op {
            Request::Accept { listener } => opcode::AcceptMulti::new(types::Fd(listener.raw()))
                .allocate_file_index(true)
                // SOCK_CLOEXEC is meaningless for (and refused with) direct descriptors.
                .flags(0)
                .build(),
            Request::Adopt { socket } => scratch.adopt(socket.as_raw_fd()),
            Request::Recv { slot, yields } => scratch::recv(slot, GROUP, yields),
            Request::Send { slot, buf, offset, whole } => scratch.send(slot, buf, offset, whole),
            Request::Writable { slot } => {
                opcode::PollAdd::new(types::Fixed(slot), libc::POLLOUT as u32).build()
            }
            Request::Read { file, at, buf } => scratch.read(file.raw(), at, buf),
            Request::RecvFrom { at } => scratch.recv_from(at.raw(), GROUP),
            Request::SendTo { by, to, segment_size, bytes } => {
                scratch.send_to(by.raw(), bytes, to, segment_size)
            }
            Request::Open { dir, path } => scratch.open(dir.raw(), path),
            Request::Stat { dir, path } => scratch.stat(dir.raw(), path),
            Request::Peer { slot, ipv6 } => scratch.peer(slot, ipv6),
            Request::SetOpt { slot, opt } => scratch.set_opt(slot, opt),
            Request::Unacked { slot } => scratch.memory_info(slot),
            Request::Shutdown { slot } => opcode::Shutdown::new(types::Fixed(slot), libc::SHUT_WR).build(),
            Request::Close { slot } => {
                if self.late_close {
                    // Best effort: without room the peer hears of the close when the kernel gets
                    // round to it.
                    let shut = opcode::Shutdown::new(types::Fixed(slot), libc::SHUT_RDWR).build();
                    let _ = self.push(&shut.user_data(UNHEARD));
                }
                opcode::Close::new(types::Fixed(slot)).build()
            }
            Request::Cancel { target } => {
                opcode::AsyncCancel2::new(types::CancelBuilder::user_data(target.to_bits())).build()
            }
            Request::CancelSlot { slot } => {
                opcode::AsyncCancel2::new(types::CancelBuilder::fd(types::Fixed(slot)).all()).build()
            }
            Request::CancelAll => opcode::AsyncCancel2::new(types::CancelBuilder::any().all()).build(),
            Request::Wake { waker } => {
                opcode::Read::new(types::Fd(waker.raw()), scratch.counter(), 8).build()
            }
        };
        let queued = self.push(&entry.user_data(id.to_bits()));
        if queued.is_err() && is_option {
            // The copy of its value may hold a key, and no completion will come to wipe it.
            self.scratch.at(id.index()).wipe();
        }
        queued
    }

    fn publish(&mut self, slot: u16, addr: *mut u8, len: u32) {
        self.buffers.push(slot, addr, len);
    }

    fn wait(&mut self, _: &mut Memory<'_>, poll: bool, timeout: Option<Duration>) -> io::Result<()> {
        if self.spinner.is_some() {
            return self.wait_polled(poll, timeout);
        }
        // With DEFER_TASKRUN completions appear only inside an enter with GETEVENTS, so one is made
        // each time.
        self.enter(u32::from(!poll), ENTER_GETEVENTS, timeout)
    }

    fn start(&mut self, _: &mut Memory<'_>) -> io::Result<()> {
        // The polling thread does so by itself.
        if self.spinner.is_some() { Ok(()) } else { self.enter(0, 0, None) }
    }

    fn next(&mut self) -> Option<Completion> {
        let entry = loop {
            let entry = self.ring.completion().next()?;
            if entry.user_data() != UNHEARD {
                break entry;
            }
            if entry.result() == -libc::EACCES && self.restricted {
                refused::count_operation(None);
            }
        };
        Some(Completion {
            id: EntryId::from_bits(entry.user_data()),
            result: entry.result(),
            buffer: cqueue::buffer_select(entry.flags()),
            more: cqueue::more(entry.flags()),
        })
    }

    fn answer(&mut self, id: EntryId, question: Question, number: u32) -> Option<Answer> {
        let mut scratch = self.scratch.at(id.index());
        match question {
            Question::Place => scratch.place().map(Answer::Place),
            Question::Peer => scratch.address().map(Answer::Address),
            // A filter may have cut the answer short: then there is none.
            Question::Unacked => scratch.queued(number).map(Answer::Bytes),
            Question::Stat => Some(Answer::Stat(scratch.found())),
            Question::Open => {
                let number = RawFd::try_from(number).ok()?;
                // SAFETY: the kernel has made this descriptor for an open of this ring and says so
                // in its completion, of which the op table lets one through. Nothing else knows the
                // number. (A kernel that names a stranger's descriptor cannot be guarded against:
                // it is what gives descriptors their meaning.)
                let fd = unsafe { OwnedFd::from_raw_fd(number) };
                Some(Answer::File(fd.into()))
            }
        }
    }

    fn has_set_opt(&self) -> bool {
        self.socket_commands
    }

    fn wipe(&mut self, id: EntryId) {
        self.scratch.at(id.index()).wipe();
    }

    fn has_gro(&self) -> bool {
        true
    }

    fn has_peer(&self) -> bool {
        self.socket_commands
    }

    fn is_restricted(&self) -> bool {
        self.restricted
    }

    fn calls(&self) -> u64 {
        self.calls
    }

    fn shut(&mut self) {
        // Synchronously, so that descriptors and memory are free when the ring's drop returns; the
        // kernel would otherwise get round to it later. A failure leaves it to the kernel.
        let _ = self.ring.submitter().unregister_buf_ring(GROUP);
        if self.unregister {
            let _ = self.ring.submitter().unregister_files();
        }
        if let Some(index) = self.registered.take() {
            let update = RsrcUpdate { offset: index, resv: 0, data: 0 };
            register(self.ring.as_raw_fd(), UNREGISTER_RING_FDS, &update);
        }
    }
}

/// `struct io_uring_getevents_arg`.
#[repr(C)]
struct GetEventsArg {
    sigmask: u64,
    sigmask_sz: u32,
    min_wait_usec: u32,
    ts: u64,
}

/// `struct io_uring_rsrc_update`.
#[repr(C)]
struct RsrcUpdate {
    offset: u32,
    resv: u32,
    data: u64,
}

fn register(ring: RawFd, opcode: u32, update: &RsrcUpdate) -> i64 {
    // SAFETY: `io_uring_register(2)` with one `io_uring_rsrc_update`, which lives for the call; the
    // kernel may write the index into it, for which the caller passes memory that it made for this
    // purpose.
    unsafe { libc::syscall(libc::SYS_io_uring_register, ring, opcode, std::ptr::from_ref(update), 1) }
}

/// Registers the ring's descriptor with this thread, which saves a look-up in each call.
fn register_ring_fd(ring: RawFd) -> Option<u32> {
    let update = std::cell::UnsafeCell::new(RsrcUpdate { offset: u32::MAX, resv: 0, data: ring as u64 });
    // SAFETY: as in `register`; the cell allows the kernel's write, and nothing refers to its
    // inside meanwhile.
    let done =
        unsafe { libc::syscall(libc::SYS_io_uring_register, ring, REGISTER_RING_FDS, update.get(), 1) };
    (done == 1).then(|| update.into_inner().offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_read() {
        assert_eq!(parse_release("6.12.41+deb13-amd64"), (6, 12));
        assert_eq!(parse_release("5.15.0"), (5, 15));
        assert_eq!(parse_release("6"), (6, 0));
        assert_eq!(parse_release(""), (0, 0));
    }
}
