//! sitar-io: completion I/O that cannot be misused.
//!
//! With a completion interface such as io_uring the kernel reads and writes memory *after* the call
//! that asked for it has returned. Borrowed buffers, futures that free their buffer when dropped,
//! and pools that hand out a slot again too early are all ways to let the kernel write into memory
//! that has another owner by then.
//!
//! Here one object, the [`Ring`], owns the memory, the table of operations in flight and the table
//! of descriptors:
//!
//! - A buffer to be sent or filled is *moved* into the ring and comes back in an [`Event`].
//!   Touching it in between does not compile.
//! - A connection is a [`Conn`]; dropping it closes it, after the kernel has finished with
//!   everything on it.
//! - A result owns what it reports, so that a late one that is dropped gives back its slot or
//!   descriptor.
//! - Dropping a ring, also while a panic unwinds, waits for the kernel; if that takes too long,
//!   memory is leaked. `mem::forget` of a ring leaks it: sound.
//! - What cannot be done, such as a read at an offset that no file has, is refused in an event.
//! - There are no futures. A loop calls [`Ring::wait`] and takes events by [`Ring::next`].
//!
//! A process that forks must leave a ring alone in the child, its drop included: the queues that it
//! shares with the kernel are not mapped there, and other memory may be in their place. In
//! Rust `fork` is unsafe to call, and this is one of the reasons; crates that wrap it in a safe
//! function (to become a daemon, for example) are to be called before a ring is made. Programs that
//! [`std::process::Command`] starts are not affected.
//!
//! Of the libraries that sitar is made of, this is the one that is meant for other programs too.
//! Its interface follows semantic versioning once it is published; the others' do not.
//!
//! [`break_it`] has the attempts to misuse it, beside programs that go wrong with other designs,
//! and the compiler's answers.
//!
//! ```no_run
//! use sitar_io::{Config, Event, Key, Ring};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let config = Config { connections: 64, rx_count: 64, rx_len: 4096, tx_count: 64, tx_len: 4096 };
//! let mut ring = Ring::uring(&config)?;
//! let socket = std::net::TcpListener::bind("127.0.0.1:0")?;
//! let listener = ring.listener(socket.into(), Key(u64::MAX));
//! let _ = ring.accept(&listener);
//! let mut conns = Vec::new();
//! loop {
//!     ring.wait(None)?;
//!     while let Some(event) = ring.next() {
//!         match event {
//!             Event::Accepted { conn, .. } => {
//!                 ring.set_key(&conn, Key(conns.len() as u64));
//!                 let _ = ring.recv(&conn);
//!                 conns.push(conn);
//!             }
//!             Event::Recv { key, buf } => {
//!                 let Some(mut tx) = ring.take_tx() else { continue };
//!                 tx[..buf.len()].copy_from_slice(&buf);
//!                 tx.set_filled(buf.len());
//!                 let _ = ring.send(&conns[key.0 as usize], tx.into(), 0);
//!             }
//!             _ => {}
//!         }
//!     }
//! }
//! # }
//! ```

#[cfg(any(doc, doctest))]
#[doc = include_str!("../docs/break-it.md")]
pub mod break_it {}

// The programs in the README are compiled with the tests of the documentation.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}

mod arena;
#[cfg(feature = "attacks")]
pub mod attacks;
mod conn;
pub mod counters;
mod engine;
mod epoll;
mod event;
mod file;
mod heap;
mod idle;
pub mod inherit;
mod key;
mod op;
pub mod probe;
mod read_buf;
pub mod refused;
mod region;
mod ring;
mod send_buf;
pub mod sim;
mod sockopt;
mod table;
mod udp;
mod uring;
pub mod usdt;
mod waker;
pub mod walk;

pub use arena::{RxBuf, TxBuf};
pub use conn::{Conn, Listener};
pub use engine::Engine;
pub use epoll::Epoll;
pub use event::{Event, RecvEnd};
pub use file::{File, FileKind, FileStat};
pub use heap::{release_program_pages, trim_heap};
pub use idle::{run_last, run_when_idle};
pub use key::{Busy, Key};
pub use read_buf::{RUNS_MAX, ReadBuf, Runs};
pub use region::{Region, RegionMut};
pub use ring::{Config, OpId, Ring, Stats, leaked_rings};
pub use rustix::io::Errno;
pub use send_buf::{GATHER_MAX, Segment, SendBuf};
pub use sockopt::{SockOpt, TlsCipher, TlsTx, refuse_descriptors, set_tcp_notsent_lowat};
pub use udp::{COALESCED_MAX, DATAGRAM_HEAD, Datagrams, Udp};
pub use uring::{Queues, SqPoll, Unavailable, Uring};
pub use waker::Waker;
