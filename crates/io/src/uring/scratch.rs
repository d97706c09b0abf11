//! Memory and entries of operations that need more than a buffer.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ffi::CStr;
use std::io;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::ptr::NonNull;

use io_uring::{opcode, squeue, types};
use zeroize::Zeroize;

use crate::file::{self, FileStat};
use crate::read_buf::{RUNS_MAX, ReadBuf};
use crate::send_buf::OPERATION_MAX;
use crate::send_buf::{GATHER_MAX, SendBuf};
use crate::sockopt::{SockOpt, TlsTx};
use crate::udp;

// linux/io_uring.h
const SOCKET_URING_OP_GETSOCKOPT: u32 = 2;
const IORING_RECVSEND_POLL_FIRST: u16 = 1 << 0;
const IORING_RECV_MULTISHOT: u16 = 1 << 1;
/// Byte offset of `ioprio` in a submission queue entry; receives keep flags there.
const SQE_IOPRIO: usize = 2;
/// Byte offset of `cmd_op` in a submission queue entry.
const SQE_CMD_OP: usize = 8;
// linux/sock_diag.h: places in what SO_MEMINFO tells, and its length in bytes as far as it is asked
// for.
const SK_MEMINFO_WMEM_QUEUED: usize = 5;
const MEMORY_INFO: usize = 4 * (SK_MEMINFO_WMEM_QUEUED + 1);
// linux/tls.h
const TLS_SET_RECORD_TYPE: i32 = 1;

/// Memory for all operations: one allocation of zeros, made at the start, touched as far as it is
/// used.
pub(super) struct Scratches {
    base: NonNull<ScratchMemory>,
    layout: Layout,
    count: usize,
}

impl Scratches {
    pub(super) fn new(count: u32) -> io::Result<Scratches> {
        let count = count as usize;
        let layout =
            Layout::array::<ScratchMemory>(count).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
        if layout.size() == 0 {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        // SAFETY: the layout's size is not zero (checked above). Zero is a valid value of all
        // fields: integers, a bool and raw pointers.
        let base = unsafe { alloc_zeroed(layout) };
        let base = NonNull::new(base.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Scratches { base, layout, count })
    }

    /// The memory of one op-table index.
    pub(super) fn at(&mut self, index: u32) -> Scratch<'_> {
        assert!((index as usize) < self.count, "the op table is as large as this");
        // SAFETY: the index is below `count`, so the address is inside the allocation.
        let memory = unsafe { self.base.add(index as usize) };
        Scratch { memory, table: PhantomData }
    }
}

impl Drop for Scratches {
    fn drop(&mut self) {
        // SAFETY: `base` came from `alloc_zeroed` with this layout in `new`, and is given back
        // once. The engine is dropped only when nothing is in flight (I3), so the kernel holds no
        // address of it.
        unsafe { dealloc(self.base.as_ptr().cast(), self.layout) };
    }
}

/// Memory that one operation needs besides what it sends or fills. It stays in place until the
/// operation's terminal completion: the allocation never moves, and the op table gives an index to
/// one operation at a time.
pub(super) struct Scratch<'t> {
    // Behind a pointer: the kernel writes here, so no reference to it may exist while an operation
    // is in flight.
    memory: NonNull<ScratchMemory>,
    table: PhantomData<&'t mut Scratches>,
}

struct ScratchMemory {
    header: libc::msghdr,
    vectors: [libc::iovec; VECTORS],
    /// A sockaddr, at most `sockaddr_in6`.
    address: [u8; udp::NAME],
    /// One control message.
    control: Control,
    counter: u64,
    /// A descriptor to adopt, and the place that the kernel has put it in.
    adopted: RawFd,
    ipv6: bool,
    /// The value of a socket option. May hold a key, until `wipe`.
    option: [u8; TlsTx::MAX],
    how: types::OpenHow,
    stat: rustix::fs::Statx,
}

/// A `cmsghdr` with up to eight bytes behind it: CMSG_SPACE of those, so that it is the last and
/// only one.
#[repr(C)]
struct Control {
    len: usize,
    level: libc::c_int,
    kind: libc::c_int,
    data: [u8; 8],
}

impl Control {
    fn new<const N: usize>(level: libc::c_int, kind: libc::c_int, value: [u8; N]) -> Control {
        const { assert!(N <= 8) };
        let mut data = [0; 8];
        data[..N].copy_from_slice(&value);
        Control { len: size_of::<libc::cmsghdr>() + N, level, kind, data }
    }
}

/// Runs of bytes of one operation.
const VECTORS: usize = if GATHER_MAX > RUNS_MAX { GATHER_MAX } else { RUNS_MAX };
const EMPTY: libc::iovec = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };

/// A header without bytes and address.
const NO_HEADER: libc::msghdr =
    // SAFETY: integers and raw pointers, of which zero is a value.
    unsafe { std::mem::zeroed() };

impl Scratch<'_> {
    /// The entry for a send: `send` for one run of bytes, `sendmsg` for several and for a record
    /// with a type.
    pub(super) fn send(&mut self, slot: u32, buf: &SendBuf, offset: usize, whole: bool) -> squeue::Entry {
        let mut vectors = [EMPTY; VECTORS];
        let mut count = 0;
        let mut skip = offset;
        buf.each(|bytes| {
            let rest = bytes.get(skip..).unwrap_or_default();
            skip = skip.saturating_sub(bytes.len());
            if !rest.is_empty() && count < VECTORS {
                vectors[count] =
                    libc::iovec { iov_base: rest.as_ptr().cast_mut().cast(), iov_len: rest.len() };
                count += 1;
            }
        });
        // WAITALL: the kernel goes on after a short send by itself. NOSIGNAL: EPIPE instead of
        // SIGPIPE.
        let flags = if whole { libc::MSG_WAITALL } else { 0 } | libc::MSG_NOSIGNAL;
        let record_type = match buf {
            SendBuf::Record(record_type, _) => Some(*record_type),
            SendBuf::Tx(_) | SendBuf::Shared(..) | SendBuf::Gather(_) => None,
        };
        if count <= 1 && record_type.is_none() {
            // Above it the kernel says EINVAL, while of several runs it takes what it can.
            let len = vectors[0].iov_len.min(OPERATION_MAX) as u32;
            return opcode::Send::new(types::Fixed(slot), vectors[0].iov_base.cast(), len)
                .flags(flags)
                .build();
        }
        let memory = self.memory.as_ptr();
        // SAFETY: the index is free (the op table has just handed it out), so no operation uses
        // this memory and no reference to it exists.
        let memory = unsafe { &mut *memory };
        memory.vectors = vectors;
        // All of it: the operation before this one may have had a name and control messages.
        memory.header = NO_HEADER;
        memory.header.msg_iov = memory.vectors.as_mut_ptr();
        memory.header.msg_iovlen = count as _;
        if let Some(record_type) = record_type {
            memory.control = Control::new(libc::SOL_TLS, TLS_SET_RECORD_TYPE, [record_type]);
            memory.header.msg_control = (&raw mut memory.control).cast();
            memory.header.msg_controllen = size_of::<Control>() as _;
        }
        let header = std::ptr::from_ref(&memory.header);
        opcode::SendMsg::new(types::Fixed(slot), header).flags(flags as u32).build()
    }

    /// The entry for a read: `read` for one run of bytes, `readv` for several.
    pub(super) fn read(&mut self, file: RawFd, at: u64, buf: &mut ReadBuf) -> squeue::Entry {
        let mut vectors = [EMPTY; VECTORS];
        let mut count = 0;
        buf.each_target(|address, len| {
            vectors[count] = libc::iovec { iov_base: address.cast(), iov_len: len };
            count += 1;
        });
        if count <= 1 {
            let len = vectors[0].iov_len.min(OPERATION_MAX) as u32;
            return opcode::Read::new(types::Fd(file), vectors[0].iov_base.cast(), len).offset(at).build();
        }
        let memory = self.memory.as_ptr();
        // SAFETY: as in `send`.
        let memory = unsafe { &mut *memory };
        memory.vectors = vectors;
        opcode::Readv::new(types::Fd(file), memory.vectors.as_ptr(), count as u32).offset(at).build()
    }

    /// The entry that sets a socket option.
    pub(super) fn set_opt(&mut self, slot: u32, opt: &SockOpt) -> squeue::Entry {
        let memory = self.memory.as_ptr();
        // SAFETY: as in `send`.
        let memory = unsafe { &mut *memory };
        opt.with(|level, name, value| {
            memory.option[..value.len()].copy_from_slice(value);
            let (address, len) = (memory.option.as_ptr().cast(), value.len() as u32);
            opcode::SetSockOpt::new(types::Fixed(slot), level as u32, name as u32, address, len).build()
        })
    }

    /// The entry that asks what a socket's queues hold: getsockopt(SOL_SOCKET, SO_MEMINFO).
    pub(super) fn memory_info(&mut self, slot: u32) -> squeue::Entry {
        const { assert!(MEMORY_INFO <= TlsTx::MAX) };
        let (level, name) = (libc::SOL_SOCKET as u32, libc::SO_MEMINFO as u32);
        // SAFETY: only the address is taken, of a field inside the live allocation.
        let value = unsafe { &raw mut (*self.memory.as_ptr()).option };
        let len = MEMORY_INFO as u32;
        let entry = opcode::SetSockOpt::new(types::Fixed(slot), level, name, value.cast_const().cast(), len);
        with_command(entry.build(), SOCKET_URING_OP_GETSOCKOPT)
    }

    /// Returns what a successful `memory_info` wrote about the send queue, `None` if `written`
    /// bytes do not reach as far.
    pub(super) fn queued(&mut self, written: u32) -> Option<u32> {
        // SAFETY: as in `address`.
        let memory = unsafe { self.memory.as_ref() };
        let (values, _) = memory.option.get(..written as usize)?.as_chunks::<4>();
        values.get(SK_MEMINFO_WMEM_QUEUED).map(|value| u32::from_ne_bytes(*value))
    }

    /// Overwrites the value of a socket option.
    pub(super) fn wipe(&mut self) {
        let memory = self.memory.as_ptr();
        // SAFETY: called at the terminal completion, or when the operation was not queued, so the
        // kernel has finished with this memory, or was never given it, and no other reference to it
        // exists.
        let memory = unsafe { &mut *memory };
        memory.option.zeroize();
    }

    /// The entry that puts a descriptor into a free place of the file table, as an accept does
    /// (since 5.19).
    pub(super) fn adopt(&mut self, socket: RawFd) -> squeue::Entry {
        // SAFETY: only the address is taken, of a field inside the live allocation.
        let adopted = unsafe { &raw mut (*self.memory.as_ptr()).adopted };
        // SAFETY: as in `send`; the address is that of a field inside the live allocation.
        unsafe { adopted.write(socket) };
        // IORING_FILE_INDEX_ALLOC: the kernel chooses the place, and writes it there.
        opcode::FilesUpdate::new(adopted.cast_const(), 1).offset(-1).build()
    }

    /// Returns the place that a successful `adopt` wrote.
    pub(super) fn place(&mut self) -> Option<u32> {
        // SAFETY: as in `address`.
        let memory = unsafe { self.memory.as_ref() };
        u32::try_from(memory.adopted).ok()
    }

    /// The entry that asks for the peer's address: getsockopt(SOL_SOCKET, SO_PEERNAME), with the
    /// exact length of the family's address (any other is EINVAL).
    pub(super) fn peer(&mut self, slot: u32, ipv6: bool) -> squeue::Entry {
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
        with_command(entry, SOCKET_URING_OP_GETSOCKOPT)
    }

    /// Returns what a successful `peer` wrote.
    pub(super) fn address(&mut self) -> Option<SocketAddr> {
        // SAFETY: called at the terminal completion only, so the kernel has finished with this
        // memory.
        let memory = unsafe { self.memory.as_ref() };
        let len = if memory.ipv6 { size_of::<libc::sockaddr_in6>() } else { size_of::<libc::sockaddr_in>() };
        udp::address(&memory.address[..len])
    }

    /// The entry for a multishot receive of datagrams: `msg_namelen` and `msg_controllen` say how
    /// much of a slot is set aside for either, in front of the datagram.
    pub(super) fn recv_from(&mut self, socket: RawFd, group: u16) -> squeue::Entry {
        let memory = self.memory.as_ptr();
        // SAFETY: as in `send`.
        let memory = unsafe { &mut *memory };
        memory.header = NO_HEADER;
        memory.header.msg_namelen = udp::NAME as _;
        memory.header.msg_controllen = udp::CONTROL as _;
        opcode::RecvMsgMulti::new(types::Fd(socket), std::ptr::from_ref(&memory.header), group).build()
    }

    /// The entry for a send of datagrams of `segment_size` bytes each, of one when that is 0.
    pub(super) fn send_to(
        &mut self,
        socket: RawFd,
        bytes: &[u8],
        to: SocketAddr,
        segment_size: u16,
    ) -> squeue::Entry {
        let memory = self.memory.as_ptr();
        // SAFETY: as in `send`.
        let memory = unsafe { &mut *memory };
        let (name, name_len) = udp::sockaddr(to);
        memory.address = name;
        memory.vectors[0] = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
        memory.header = NO_HEADER;
        memory.header.msg_name = memory.address.as_mut_ptr().cast();
        memory.header.msg_namelen = name_len as _;
        memory.header.msg_iov = memory.vectors.as_mut_ptr();
        memory.header.msg_iovlen = 1;
        if segment_size > 0 {
            memory.control = Control::new(libc::SOL_UDP, udp::UDP_SEGMENT, segment_size.to_ne_bytes());
            memory.header.msg_control = std::ptr::from_mut(&mut memory.control).cast();
            memory.header.msg_controllen = size_of::<Control>() as _;
        }
        let header = std::ptr::from_ref(&memory.header);
        opcode::SendMsg::new(types::Fd(socket), header).flags(libc::MSG_NOSIGNAL as u32).build()
    }

    /// The entry that opens `path` below `dir`.
    pub(super) fn open(&mut self, dir: RawFd, path: &CStr) -> squeue::Entry {
        let memory = self.memory.as_ptr();
        // SAFETY: as in `send`.
        let memory = unsafe { &mut *memory };
        let resolve = file::RESOLVE.bits();
        memory.how = types::OpenHow::new().flags(file::OPEN.bits().into()).resolve(resolve);
        let how = std::ptr::from_ref(&memory.how);
        // The path belongs to the op table's entry, on the heap: it stays where it is when the
        // entry moves.
        opcode::OpenAt2::new(types::Fd(dir), path.as_ptr(), how).build()
    }

    /// The entry that looks at `path` below `dir`.
    pub(super) fn stat(&mut self, dir: RawFd, path: &CStr) -> squeue::Entry {
        // SAFETY: only the address is taken, of a field inside the live allocation.
        let stat = unsafe { &raw mut (*self.memory.as_ptr()).stat };
        opcode::Statx::new(types::Fd(dir), path.as_ptr(), stat.cast())
            .flags(libc::AT_SYMLINK_NOFOLLOW | libc::AT_EMPTY_PATH)
            .mask(libc::STATX_BASIC_STATS)
            .build()
    }

    /// Returns what a successful `stat` wrote.
    pub(super) fn found(&mut self) -> FileStat {
        // SAFETY: as in `address`.
        let memory = unsafe { self.memory.as_ref() };
        memory.stat.into()
    }

    /// Returns where the waker's counter is read to. It is not looked at.
    pub(super) fn counter(&mut self) -> *mut u8 {
        // SAFETY: only the address is taken, of a field inside the live allocation.
        unsafe { (&raw mut (*self.memory.as_ptr()).counter).cast() }
    }
}

/// The entry of a receive that goes on until its slots are used up. One that yields polls first, so
/// that it receives after all that were submitted with it have been tried
/// (IORING_RECVSEND_POLL_FIRST, since 5.19).
pub(super) fn recv(slot: u32, group: u16, yields: bool) -> squeue::Entry {
    let entry = opcode::RecvMulti::new(types::Fixed(slot), group).build();
    if yields {
        patched(entry, SQE_IOPRIO, (IORING_RECVSEND_POLL_FIRST | IORING_RECV_MULTISHOT).to_ne_bytes())
    } else {
        entry
    }
}

/// `opcode::SetSockOpt` with another command, of those that the crate does not build: the commands
/// share all other fields (io_uring/uring_cmd.c, `io_uring_cmd_sock`).
fn with_command(entry: squeue::Entry, command: u32) -> squeue::Entry {
    patched(entry, SQE_CMD_OP, command.to_ne_bytes())
}

/// An entry with some of its bytes replaced.
fn patched<const N: usize>(entry: squeue::Entry, at: usize, by: [u8; N]) -> squeue::Entry {
    // SAFETY: an entry is `repr(C)` around the 64-byte `io_uring_sqe`, plain integers; sizes are
    // checked by `transmute`.
    let mut bytes: [u8; 64] = unsafe { std::mem::transmute(entry) };
    bytes[at..at + N].copy_from_slice(&by);
    // SAFETY: the reverse of the above; any bytes make a valid entry (the kernel checks them).
    unsafe { std::mem::transmute(bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;
    use crate::arena::Arena;
    use crate::engine::{Sealed, Submission};
    use crate::op::Request;
    use crate::sockopt::TlsCipher;
    use crate::table::EntryId;
    use crate::uring::{Queues, Uring};

    const CONFIG: Config = Config { connections: 1, rx_count: 1, rx_len: 64, tx_count: 1, tx_len: 64 };

    fn option(uring: &mut Uring, index: u32) -> [u8; TlsTx::MAX] {
        // SAFETY: nothing is in flight in these tests, so no reference to this memory exists and
        // the kernel does not write it.
        unsafe { uring.scratch.at(index).memory.as_ref().option }
    }

    /// Keys are copied to where the kernel reads them, and stay there until the completion only.
    /// There is none of what was refused.
    #[test]
    fn a_key_that_is_refused_is_wiped() {
        let arena = Arena::new(CONFIG.layout().unwrap()).unwrap();
        let mut uring = match Uring::new(&CONFIG, Queues::new(&CONFIG), &arena, (6, 1), None) {
            Ok(uring) => uring,
            // Where io_uring is forbidden; the tests of the engines say so.
            Err(why) => return println!("no ring: {why}"),
        };
        // The queue is never given to the kernel: calls that would go to a descriptor that there is
        // not.
        uring.registered = Some(u32::MAX);
        let key = TlsTx::tls13(TlsCipher::Aes128Gcm, &[0x5a; 16], &[0x5a; 12], 0).unwrap();
        let opt = SockOpt::TlsTx(Box::new(key));
        let set = |uring: &mut Uring, index| {
            let op = Request::SetOpt { slot: 0, opt: &opt };
            uring.submit(Submission { id: EntryId::new(index, 1), op }).is_ok()
        };
        assert!(set(&mut uring, 0));
        assert_eq!(option(&mut uring, 0)[12..28], [0x5a; 16]);
        uring.wipe(EntryId::new(0, 1));
        assert_eq!(option(&mut uring, 0), [0; 56]);
        let mut queued = 1;
        while uring.submit(Submission { id: EntryId::new(1, 1), op: Request::Shutdown { slot: 0 } }).is_ok() {
            queued += 1;
        }
        assert_eq!(queued, 4096);
        assert!(!set(&mut uring, 2));
        assert_eq!(option(&mut uring, 2), [0; 56]);
    }
}
