//! The io_uring engine with batched submission: everything that a wake-up queued starts with one `io_uring_enter`,
//! which also waits. Kernel 6.1 or newer.
//!
//! Flags: `SINGLE_ISSUER | DEFER_TASKRUN | SUBMIT_ALL`, a large completion queue, the ring's own descriptor
//! registered; `NO_SQARRAY` where the kernel has it (6.6). Sockets by direct descriptors, receiving from a provided
//! buffer ring.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsRawFd, RawFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use io_uring::{IoUring, cqueue, opcode, squeue, types};

use crate::arena::Arena;
use crate::backend::{Backend, Completion, Driver, Full, Request, Submission};
use crate::event::GATHER_MAX;
use crate::ring::{Config, Ring};
use crate::table::OpId;

/// The oldest kernel that has all that the engine stands on (multishot receive, DEFER_TASKRUN).
const KERNEL_MIN: (u32, u32) = (6, 1);
/// Socket commands (getsockopt by ring) came with this one.
const KERNEL_SOCKET_COMMANDS: (u32, u32) = (6, 7);
/// The one group of provided buffers.
const GROUP: u16 = 0;
/// Submission queue entries: what one wake-up may queue before an extra system call is needed.
const SQ_ENTRIES: u32 = 4096;
/// The kernel's own limit (IORING_MAX_CQ_ENTRIES).
const CQ_ENTRIES_MAX: u32 = 65536;

// linux/io_uring.h
const ENTER_GETEVENTS: u32 = 1;
const ENTER_EXT_ARG: u32 = 1 << 3;
const ENTER_REGISTERED_RING: u32 = 1 << 4;
const REGISTER_RING_FDS: u32 = 20;
const UNREGISTER_RING_FDS: u32 = 21;
const SOCKET_URING_OP_GETSOCKOPT: u32 = 2;
/// Byte offset of `cmd_op` in a submission queue entry.
const SQE_CMD_OP: usize = 8;

/// Why the engine cannot run here.
#[derive(Debug)]
pub enum Unavailable {
    /// The kernel is older than 6.1.
    KernelTooOld(String),
    /// Forbidden by seccomp (containers) or by the sysctl `kernel.io_uring_disabled`.
    Forbidden,
    /// The kernel was built without io_uring.
    Missing,
    /// The file table is larger than the limit on open files (`ulimit -n`).
    FileLimit {
        /// What was asked for.
        wanted: u32,
    },
    /// Anything else, with the step that failed.
    Failed(&'static str, io::Error),
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unavailable::KernelTooOld(release) => {
                write!(f, "kernel {release} is older than {}.{}", KERNEL_MIN.0, KERNEL_MIN.1)
            }
            Unavailable::Forbidden => {
                write!(
                    f,
                    "io_uring is forbidden here (a container's seccomp profile, or sysctl kernel.io_uring_disabled)"
                )
            }
            Unavailable::Missing => write!(f, "this kernel was built without io_uring"),
            Unavailable::FileLimit { wanted } => {
                write!(f, "the limit on open files is below {wanted} (ulimit -n)")
            }
            Unavailable::Failed(step, error) => write!(f, "{step}: {error}"),
        }
    }
}

impl std::error::Error for Unavailable {}

/// The batched io_uring engine.
pub struct Uring {
    // Declared before the memory that it refers to, so that it is dropped first.
    ring: IoUring,
    buffers: BufRing,
    scratch: Box<[Scratch]>,
    /// Index of the registered ring descriptor; `None`: the plain one is used.
    registered: Option<u32>,
    socket_commands: bool,
    calls: u64,
}

impl Ring<Uring> {
    /// Makes a ring on io_uring for the calling thread.
    ///
    /// # Errors
    /// [`Unavailable`] says why this machine cannot run it.
    pub fn uring(config: &Config) -> Result<Ring<Uring>, Unavailable> {
        let release = rustix::system::uname().release().to_string_lossy().into_owned();
        let version = parse_release(&release);
        if version < KERNEL_MIN {
            return Err(Unavailable::KernelTooOld(release));
        }
        let mut why = None;
        Ring::assemble(config, |arena| {
            Uring::new(config, arena, version).map_err(|error| {
                why = Some(error);
                io::ErrorKind::Other.into()
            })
        })
        .map_err(|error| why.unwrap_or(Unavailable::Failed("memory", error)))
    }
}

/// "6.12.41-amd64" → (6, 12); what cannot be read counts as too old.
fn parse_release(release: &str) -> (u32, u32) {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|digits| digits.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

fn build(config: &Config, no_sqarray: bool) -> io::Result<IoUring> {
    let mut builder = IoUring::builder();
    builder
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_submit_all()
        .setup_clamp()
        .setup_cqsize(
            config.ops().saturating_mul(2).next_power_of_two().clamp(SQ_ENTRIES * 2, CQ_ENTRIES_MAX),
        )
        .dontfork();
    if no_sqarray {
        builder.setup_no_sqarray();
    }
    builder.build(SQ_ENTRIES)
}

impl Uring {
    fn new(config: &Config, arena: &Arena, version: (u32, u32)) -> Result<Uring, Unavailable> {
        let ring = build(config, true).or_else(|error| match error.raw_os_error() {
            Some(libc::EINVAL) => build(config, false),
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
                _ => Unavailable::Failed("registering the file table", error),
            }
        })?;
        let rx_count = arena.layout().rx_count;
        let buffers = BufRing::new(rx_count).map_err(|error| Unavailable::Failed("memory", error))?;
        // SAFETY: the address is that of a live, page-aligned mapping of `rx_count` entries. It is unmapped by
        // `BufRing`'s drop, which runs after `ring` is gone (field order) and never when the ring is leaked.
        let done =
            unsafe { ring.submitter().register_buf_ring_with_flags(buffers.addr(), rx_count, GROUP, 0) };
        done.map_err(|error| Unavailable::Failed("registering receive buffers", error))?;
        let registered = register_ring_fd(ring.as_raw_fd());
        Ok(Uring {
            ring,
            buffers,
            scratch: (0..config.ops()).map(|_| Scratch::new()).collect(),
            registered,
            socket_commands: version >= KERNEL_SOCKET_COMMANDS,
            calls: 0,
        })
    }

    fn push(&mut self, entry: &squeue::Entry) -> Result<(), Full> {
        for attempt in 0..2 {
            // SAFETY: every address in `entry` was taken in `submit` from the op table's own entry (tokens, region
            // handles) or from `scratch`, both of which the ring keeps until the terminal completion or leaks (I2, I3).
            if unsafe { self.ring.submission().push(entry) }.is_ok() {
                return Ok(());
            }
            if attempt == 0 && self.enter(0, 0, None).is_err() {
                return Err(Full);
            }
        }
        Err(Full)
    }

    fn enter(&mut self, want: u32, flags: u32, timeout: Option<Duration>) -> io::Result<()> {
        let queued = self.ring.submission().len() as u32;
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
        // SAFETY: the arguments are those of io_uring_enter(2); `arg` and the time that it points to live on this
        // stack frame, and the kernel reads them during the call only.
        let done = unsafe {
            libc::syscall(
                libc::SYS_io_uring_enter,
                fd,
                queued,
                want,
                flags | ENTER_EXT_ARG,
                std::ptr::from_ref(&arg),
                size_of::<GetEventsArg>(),
            )
        };
        if done >= 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            // The time has passed; a signal; completions waiting for room; no memory for a request just now.
            // In each case the loop goes on: nothing queued is lost.
            Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN) => Ok(()),
            _ => Err(error),
        }
    }
}

impl Backend for Uring {}

impl Driver for Uring {
    fn submit(&mut self, submission: Submission<'_>) -> Result<(), Full> {
        let Submission { id, op } = submission;
        let scratch = &mut self.scratch[id.index as usize];
        let entry = match op {
            Request::Accept { listener } => opcode::AcceptMulti::new(types::Fd(listener))
                .allocate_file_index(true)
                // SOCK_CLOEXEC is meaningless for (and refused with) direct descriptors.
                .flags(0)
                .build(),
            Request::Recv { slot } => opcode::RecvMulti::new(types::Fixed(slot), GROUP).build(),
            Request::Send { slot, src, offset } => scratch.send(slot, src, offset),
            Request::Read { file, at, into } => {
                let (addr, len) = into.target();
                let len = u32::try_from(len).unwrap_or(u32::MAX);
                opcode::Read::new(types::Fd(file), addr, len).offset(at).build()
            }
            Request::Peer { slot, ipv6 } => scratch.peer(slot, ipv6),
            Request::Shutdown { slot } => opcode::Shutdown::new(types::Fixed(slot), libc::SHUT_WR).build(),
            Request::Close { slot } => opcode::Close::new(types::Fixed(slot)).build(),
            Request::Cancel { target } => {
                opcode::AsyncCancel2::new(types::CancelBuilder::user_data(target.to_bits())).build()
            }
            Request::CancelSlot { slot } => {
                opcode::AsyncCancel2::new(types::CancelBuilder::fd(types::Fixed(slot)).all()).build()
            }
            Request::CancelAll => opcode::AsyncCancel2::new(types::CancelBuilder::any().all()).build(),
            Request::Wake { eventfd } => opcode::Read::new(types::Fd(eventfd), scratch.counter(), 8).build(),
        };
        self.push(&entry.user_data(id.to_bits()))
    }

    fn publish(&mut self, slot: u16, addr: *mut u8, len: u32) {
        self.buffers.push(slot, addr, len);
    }

    fn wait(&mut self, poll: bool, timeout: Option<Duration>) -> io::Result<()> {
        self.buffers.publish();
        // With DEFER_TASKRUN completions appear only inside an enter with GETEVENTS, so one is made each time.
        self.enter(u32::from(!poll), ENTER_GETEVENTS, timeout)
    }

    fn next(&mut self) -> Option<Completion> {
        let entry = self.ring.completion().next()?;
        Some(Completion {
            id: OpId::from_bits(entry.user_data()),
            result: entry.result(),
            buffer: cqueue::buffer_select(entry.flags()),
            more: cqueue::more(entry.flags()),
        })
    }

    fn peer(&mut self, id: OpId) -> Option<SocketAddr> {
        self.scratch.get_mut(id.index as usize)?.address()
    }

    fn has_peer(&self) -> bool {
        self.socket_commands
    }

    fn calls(&self) -> u64 {
        self.calls
    }

    fn shut(&mut self) {
        // Synchronously, so that descriptors and memory are free when the ring's drop returns; the kernel would
        // otherwise get round to it later. A failure leaves it to the kernel.
        let _ = self.ring.submitter().unregister_buf_ring(GROUP);
        let _ = self.ring.submitter().unregister_files();
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
    // SAFETY: `io_uring_register(2)` with one `io_uring_rsrc_update`, which lives for the call; the kernel may write
    // the index into it, for which the caller passes memory that it made for this purpose.
    unsafe { libc::syscall(libc::SYS_io_uring_register, ring, opcode, std::ptr::from_ref(update), 1) }
}

/// Registers the ring's descriptor with this thread, which saves a look-up in each call.
fn register_ring_fd(ring: RawFd) -> Option<u32> {
    let update = std::cell::UnsafeCell::new(RsrcUpdate { offset: u32::MAX, resv: 0, data: ring as u64 });
    // SAFETY: as in `register`; the cell allows the kernel's write, and nothing refers to its inside meanwhile.
    let done =
        unsafe { libc::syscall(libc::SYS_io_uring_register, ring, REGISTER_RING_FDS, update.get(), 1) };
    (done == 1).then(|| update.into_inner().offset)
}

/// Memory that one operation needs besides what it sends or fills: it must stay in place until the operation's terminal
/// completion, and does: one per op-table index, allocated at the start, never moved.
struct Scratch {
    // Behind a pointer: the kernel writes here, so no reference to it may exist while an operation is in flight.
    memory: NonNull<ScratchMemory>,
}

struct ScratchMemory {
    header: libc::msghdr,
    vectors: [libc::iovec; GATHER_MAX],
    /// A sockaddr, at most `sockaddr_in6`.
    address: [u8; 28],
    counter: u64,
    ipv6: bool,
}

impl Scratch {
    fn new() -> Scratch {
        // SAFETY: integers and raw pointers, for all of which zero is a valid value.
        let memory = unsafe { std::mem::zeroed::<ScratchMemory>() };
        Scratch { memory: NonNull::from(Box::leak(Box::new(memory))) }
    }

    /// The entry for a send: `send` for one run of bytes, `sendmsg` for several.
    fn send(&mut self, slot: u32, src: &crate::Src, offset: usize) -> squeue::Entry {
        const EMPTY: libc::iovec = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
        let mut vectors = [EMPTY; GATHER_MAX];
        let mut count = 0;
        let mut skip = offset;
        src.each(|bytes| {
            let rest = bytes.get(skip..).unwrap_or_default();
            skip = skip.saturating_sub(bytes.len());
            if !rest.is_empty() && count < GATHER_MAX {
                vectors[count] =
                    libc::iovec { iov_base: rest.as_ptr().cast_mut().cast(), iov_len: rest.len() };
                count += 1;
            }
        });
        // WAITALL: the kernel goes on after a short send by itself. NOSIGNAL: EPIPE instead of SIGPIPE.
        let flags = libc::MSG_WAITALL | libc::MSG_NOSIGNAL;
        if count <= 1 {
            let len = u32::try_from(vectors[0].iov_len).unwrap_or(u32::MAX);
            return opcode::Send::new(types::Fixed(slot), vectors[0].iov_base.cast(), len)
                .flags(flags)
                .build();
        }
        let memory = self.memory.as_ptr();
        // SAFETY: the index is free (the op table has just handed it out), so no operation uses this memory and no
        // reference to it exists.
        let memory = unsafe { &mut *memory };
        memory.vectors = vectors;
        memory.header.msg_iov = memory.vectors.as_mut_ptr();
        memory.header.msg_iovlen = count as _;
        let header = std::ptr::from_ref(&memory.header);
        opcode::SendMsg::new(types::Fixed(slot), header).flags(flags as u32).build()
    }

    /// The entry that asks for the peer's address: getsockopt(SOL_SOCKET, SO_PEERNAME), with the exact length of the
    /// family's address (any other is EINVAL).
    fn peer(&mut self, slot: u32, ipv6: bool) -> squeue::Entry {
        let memory = self.memory.as_ptr();
        // SAFETY: as in `send`.
        let memory = unsafe { &mut *memory };
        memory.ipv6 = ipv6;
        let len = if ipv6 { size_of::<libc::sockaddr_in6>() } else { size_of::<libc::sockaddr_in>() };
        let entry = opcode::SetSockOpt::new(
            types::Fixed(slot),
            libc::SOL_SOCKET as u32,
            libc::SO_PEERNAME as u32,
            memory.address.as_mut_ptr().cast_const().cast(),
            len as u32,
        )
        .build();
        as_getsockopt(entry)
    }

    /// What a successful `peer` wrote.
    fn address(&mut self) -> Option<SocketAddr> {
        // SAFETY: called at the terminal completion only, so the kernel has finished with this memory.
        let memory = unsafe { self.memory.as_ref() };
        let a = &memory.address;
        let family = i32::from(u16::from_ne_bytes([a[0], a[1]]));
        let port = u16::from_be_bytes([a[2], a[3]]);
        match family {
            libc::AF_INET => Some((Ipv4Addr::new(a[4], a[5], a[6], a[7]), port).into()),
            libc::AF_INET6 if memory.ipv6 => {
                let octets: [u8; 16] = a[8..24].try_into().ok()?;
                let scope = u32::from_ne_bytes([a[24], a[25], a[26], a[27]]);
                Some(SocketAddrV6::new(Ipv6Addr::from(octets), port, 0, scope).into())
            }
            _ => None,
        }
    }

    /// Where the waker's counter is read to. Nobody looks at it.
    fn counter(&mut self) -> *mut u8 {
        // SAFETY: only the address is taken, of a field inside the live allocation.
        unsafe { (&raw mut (*self.memory.as_ptr()).counter).cast() }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // SAFETY: `memory` came from `Box::leak` in `new`, and is given back once. The engine is dropped only when
        // nothing is in flight (I3), so the kernel holds no address of it.
        drop(unsafe { Box::from_raw(self.memory.as_ptr()) });
    }
}

/// `opcode::SetSockOpt` with the command changed to GETSOCKOPT, which the crate does not build: the two commands share
/// all other fields (io_uring/uring_cmd.c, `io_uring_cmd_getsockopt`).
fn as_getsockopt(entry: squeue::Entry) -> squeue::Entry {
    // SAFETY: an entry is `repr(C)` around the 64-byte `io_uring_sqe`, plain integers; sizes are checked by `transmute`.
    let mut bytes: [u8; 64] = unsafe { std::mem::transmute(entry) };
    bytes[SQE_CMD_OP..SQE_CMD_OP + 4].copy_from_slice(&SOCKET_URING_OP_GETSOCKOPT.to_ne_bytes());
    // SAFETY: the reverse of the above; any bytes make a valid entry (the kernel checks them).
    unsafe { std::mem::transmute(bytes) }
}

/// The ring in which receive slots are handed to the kernel.
struct BufRing {
    base: NonNull<u8>,
    entries: u16,
    /// Counts every slot ever pushed, modulo 2^16, as the kernel does.
    tail: u16,
}

/// Bytes of `struct io_uring_buf`: address (8), length (4), id (2), reserved (2; in the first entry: the tail).
const BUF_ENTRY: usize = 16;
const BUF_TAIL: usize = 14;

impl BufRing {
    fn new(entries: u16) -> io::Result<BufRing> {
        // SAFETY: a fresh anonymous mapping touches no existing memory; a mapping is page-aligned, as the kernel asks.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                usize::from(entries) * BUF_ENTRY,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(BufRing { base, entries, tail: 0 })
    }

    fn addr(&self) -> u64 {
        self.base.as_ptr() as u64
    }

    fn push(&mut self, slot: u16, addr: *mut u8, len: u32) {
        let index = usize::from(self.tail & (self.entries - 1));
        let entry = self.base.as_ptr().wrapping_add(index * BUF_ENTRY);
        // SAFETY: `index` is below `entries`, so the 8 bytes lie in the mapping, aligned to 16. The kernel does not
        // read an entry at or behind the tail that it was told.
        unsafe { entry.cast::<u64>().write(addr as u64) };
        // SAFETY: as above, 4 bytes at offset 8.
        unsafe { entry.wrapping_add(8).cast::<u32>().write(len) };
        // SAFETY: as above, 2 bytes at offset 12. Offset 14 is left alone: in the first entry it is the tail.
        unsafe { entry.wrapping_add(12).cast::<u16>().write(slot) };
        self.tail = self.tail.wrapping_add(1);
    }

    /// Tells the kernel of all that was pushed.
    fn publish(&self) {
        let tail = self.base.as_ptr().wrapping_add(BUF_TAIL).cast::<u16>();
        // SAFETY: two aligned bytes inside the mapping that both sides use atomically only.
        let tail = unsafe { AtomicU16::from_ptr(tail) };
        tail.store(self.tail, Ordering::Release);
    }
}

impl Drop for BufRing {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `new`, unmapped once. The io_uring that knew it has been closed before (field
        // order in `Uring`) and holds its own reference to the pages besides.
        unsafe { libc::munmap(self.base.as_ptr().cast(), usize::from(self.entries) * BUF_ENTRY) };
    }
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
