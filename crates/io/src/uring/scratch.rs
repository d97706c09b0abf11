//! Memory and entries of operations that need more than a buffer.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::io;
use std::marker::PhantomData;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::ptr::NonNull;

use io_uring::{opcode, squeue, types};
use zeroize::Zeroize;

use crate::event::{GATHER_MAX, Src};
use crate::sockopt::{SockOpt, TlsTx};

// linux/io_uring.h
const SOCKET_URING_OP_SIOCOUTQ: u32 = 1;
const SOCKET_URING_OP_GETSOCKOPT: u32 = 2;
/// Byte offset of `cmd_op` in a submission queue entry.
const SQE_CMD_OP: usize = 8;
// linux/tcp.h, linux/tls.h
const TCP_ULP: u32 = 31;
const SOL_TLS: i32 = 282;
const TLS_TX: u32 = 1;
const TLS_SET_RECORD_TYPE: i32 = 1;

/// Memory for all operations: one allocation of zeros, made at the start, touched as far as it is used.
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
        // SAFETY: the layout's size is not zero (checked above). Zero is a valid value of all fields: integers, a bool and
        // raw pointers.
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
        // SAFETY: `base` came from `alloc_zeroed` with this layout in `new`, and is given back once. The engine is dropped
        // only when nothing is in flight (I3), so the kernel holds no address of it.
        unsafe { dealloc(self.base.as_ptr().cast(), self.layout) };
    }
}

/// Memory that one operation needs besides what it sends or fills. It stays in place until the operation's terminal
/// completion: the allocation never moves, and the op table gives an index to one operation at a time.
pub(super) struct Scratch<'t> {
    // Behind a pointer: the kernel writes here, so no reference to it may exist while an operation is in flight.
    memory: NonNull<ScratchMemory>,
    table: PhantomData<&'t mut Scratches>,
}

struct ScratchMemory {
    header: libc::msghdr,
    vectors: [libc::iovec; GATHER_MAX],
    /// A sockaddr, at most `sockaddr_in6`.
    address: [u8; 28],
    counter: u64,
    ipv6: bool,
    /// The value of a socket option. May hold a key, until `wipe`.
    option: [u8; TlsTx::MAX],
    control: Control,
}

/// A control message of one byte: CMSG_SPACE(1) bytes, as the alignment of the header makes it.
#[repr(C)]
struct Control {
    header: libc::cmsghdr,
    record_type: u8,
}

impl Scratch<'_> {
    /// The entry for a send: `send` for one run of bytes, `sendmsg` for several and for a record with a type.
    pub(super) fn send(&mut self, slot: u32, src: &Src, offset: usize, whole: bool) -> squeue::Entry {
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
        let flags = if whole { libc::MSG_WAITALL } else { 0 } | libc::MSG_NOSIGNAL;
        let record_type = match src {
            Src::Record(record_type, _) => Some(*record_type),
            Src::Tx(_) | Src::Shared(..) | Src::Gather(_) => None,
        };
        if count <= 1 && record_type.is_none() {
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
        memory.header.msg_control = std::ptr::null_mut();
        memory.header.msg_controllen = 0;
        if let Some(record_type) = record_type {
            memory.control.header.cmsg_level = SOL_TLS;
            memory.control.header.cmsg_type = TLS_SET_RECORD_TYPE;
            memory.control.header.cmsg_len = (size_of::<libc::cmsghdr>() + 1) as _;
            memory.control.record_type = record_type;
            memory.header.msg_control = (&raw mut memory.control).cast();
            memory.header.msg_controllen = size_of::<Control>() as _;
        }
        let header = std::ptr::from_ref(&memory.header);
        opcode::SendMsg::new(types::Fixed(slot), header).flags(flags as u32).build()
    }

    /// The entry that sets a socket option.
    pub(super) fn set_opt(&mut self, slot: u32, opt: &SockOpt) -> squeue::Entry {
        let number;
        let (level, name, value): (i32, u32, &[u8]) = match opt {
            SockOpt::NoDelay(on) => {
                number = i32::from(*on).to_ne_bytes();
                (libc::IPPROTO_TCP, libc::TCP_NODELAY as u32, &number)
            }
            SockOpt::TlsUlp => (libc::IPPROTO_TCP, TCP_ULP, b"tls"),
            SockOpt::TlsTx(tx) => (SOL_TLS, TLS_TX, tx.as_bytes()),
        };
        let memory = self.memory.as_ptr();
        // SAFETY: as in `send`.
        let memory = unsafe { &mut *memory };
        // No value is longer than TlsTx::MAX.
        memory.option[..value.len()].copy_from_slice(value);
        let address = memory.option.as_ptr().cast();
        opcode::SetSockOpt::new(types::Fixed(slot), level as u32, name, address, value.len() as u32).build()
    }

    /// Overwrites the value of a socket option.
    pub(super) fn wipe(&mut self) {
        let memory = self.memory.as_ptr();
        // SAFETY: called at the terminal completion only, so the kernel has finished with this memory and no other
        // reference to it exists.
        let memory = unsafe { &mut *memory };
        memory.option.zeroize();
    }

    /// The entry that asks for the peer's address: getsockopt(SOL_SOCKET, SO_PEERNAME), with the exact length of the
    /// family's address (any other is EINVAL).
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

    /// What a successful `peer` wrote.
    pub(super) fn address(&mut self) -> Option<SocketAddr> {
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
    pub(super) fn counter(&mut self) -> *mut u8 {
        // SAFETY: only the address is taken, of a field inside the live allocation.
        unsafe { (&raw mut (*self.memory.as_ptr()).counter).cast() }
    }
}

/// The entry that asks how much a socket holds unsent or unacknowledged (SIOCOUTQ). Its result is the number of bytes.
pub(super) fn unsent(slot: u32) -> squeue::Entry {
    // This command looks at the descriptor alone (io_uring/uring_cmd.c, `io_uring_cmd_sock`).
    let entry = opcode::SetSockOpt::new(types::Fixed(slot), 0, 0, std::ptr::null(), 0).build();
    with_command(entry, SOCKET_URING_OP_SIOCOUTQ)
}

/// `opcode::SetSockOpt` with another command, of those that the crate does not build: the commands share all other fields
/// (io_uring/uring_cmd.c, `io_uring_cmd_sock`).
fn with_command(entry: squeue::Entry, command: u32) -> squeue::Entry {
    // SAFETY: an entry is `repr(C)` around the 64-byte `io_uring_sqe`, plain integers; sizes are checked by `transmute`.
    let mut bytes: [u8; 64] = unsafe { std::mem::transmute(entry) };
    bytes[SQE_CMD_OP..SQE_CMD_OP + 4].copy_from_slice(&command.to_ne_bytes());
    // SAFETY: the reverse of the above; any bytes make a valid entry (the kernel checks them).
    unsafe { std::mem::transmute(bytes) }
}
