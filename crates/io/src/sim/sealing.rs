//! A kernel that seals, with the traits of the real one that programs stumble over.
//!
//! It knows no cryptography: the world's owner says what becomes of a record. It is strict where
//! Linux is (`MSG_WAITALL` after TCP_ULP, TCP_ULP after a FIN, a second key), and as careless: a
//! send is over when it is sealed, even if its record still waits for room, and a program that
//! shuts down or closes then loses that record.

use std::collections::VecDeque;
use std::rc::Rc;

use rustix::io::Errno;

use super::net::{Clock, End, Link};
use super::state::State;
use crate::sockopt::{SockOpt, TlsTx};

/// Seals records: content type and plain text in, the record out.
pub type Seal = Box<dyn FnMut(u8, &[u8]) -> Vec<u8>>;

/// The TLS of a world's kernel.
pub(super) struct TlsSupport {
    pub(super) make: Rc<dyn Fn(&TlsTx) -> Seal>,
    /// Whether a connection takes another key later (Linux 6.14).
    pub(super) rekey: bool,
}

/// TLS on one connection.
#[derive(Default)]
pub(super) enum Tls {
    #[default]
    No,
    Ulp,
    Sealed {
        seal: Seal,
        /// Sealed, and waiting for room.
        pending: VecDeque<u8>,
    },
}

/// An option on its way.
pub(super) enum Wanted {
    Nothing,
    Ulp,
    /// `None`: a kernel without TLS.
    Tx(Option<Seal>),
}

impl State {
    pub(super) fn wanted(&self, opt: &SockOpt) -> Wanted {
        match opt {
            SockOpt::NoDelay(_) => Wanted::Nothing,
            SockOpt::TlsUlp => Wanted::Ulp,
            SockOpt::TlsTx(tx) => Wanted::Tx(self.kernel_tls.as_ref().map(|tls| (tls.make)(tx))),
        }
    }

    pub(super) fn set_opt(&mut self, link: usize, wanted: Wanted) -> Result<u32, Errno> {
        let unwilling = self.rng.chance(self.faults.no_tls);
        let rekey = match (&wanted, &self.kernel_tls) {
            (Wanted::Nothing, _) => return Ok(0),
            (_, None) => return Err(Errno::NOENT),
            (_, Some(tls)) => tls.rekey,
        };
        let link = &mut self.links[link];
        let ended = link.has_ended();
        match (wanted, &mut link.tls) {
            (Wanted::Ulp, _) if ended => Err(Errno::NOTCONN),
            (Wanted::Ulp, Tls::Ulp | Tls::Sealed { .. }) => Err(Errno::EXIST),
            (Wanted::Tx(_), Tls::No) => Err(Errno::NOPROTOOPT),
            (Wanted::Tx(_), Tls::Sealed { .. }) if !rekey => Err(Errno::BUSY),
            _ if unwilling => Err(Errno::NOMEM),
            (Wanted::Ulp, tls) => {
                *tls = Tls::Ulp;
                Ok(0)
            }
            (Wanted::Tx(Some(new)), Tls::Sealed { seal, .. }) => {
                *seal = new;
                Ok(0)
            }
            (Wanted::Tx(Some(seal)), tls) => {
                *tls = Tls::Sealed { seal, pending: VecDeque::new() };
                Ok(0)
            }
            (Wanted::Tx(None) | Wanted::Nothing, _) => Err(Errno::NOENT),
        }
    }

    /// Records that waited for room, on all connections.
    pub(super) fn push_records(&mut self) {
        for index in 0..self.links.len() {
            if matches!(&self.links[index].tls, Tls::Sealed { pending, .. } if !pending.is_empty()) {
                self.with_link(index, Link::push_records);
            }
        }
    }
}

impl Link {
    /// Puts sealed records on their way, as far as there is room.
    pub(super) fn push_records(&mut self, clock: &mut Clock<'_>) {
        let Tls::Sealed { pending, .. } = &mut self.tls else { return };
        let mut waiting = std::mem::take(pending);
        while !waiting.is_empty() {
            match self.write(End::Server, waiting.make_contiguous(), clock) {
                Ok(count) => drop(waiting.drain(..count)),
                Err(Errno::AGAIN) => break,
                // Shut down or broken: they are lost.
                Err(_) => waiting.clear(),
            }
        }
        if let Tls::Sealed { pending, .. } = &mut self.tls {
            *pending = waiting;
        }
    }

    /// Seals one record and puts it on its way, or into the queue of those that wait.
    pub(super) fn seal(&mut self, content_type: u8, plain: &[u8], clock: &mut Clock<'_>) {
        if let Tls::Sealed { seal, pending } = &mut self.tls {
            pending.extend(seal(content_type, plain));
        }
        self.push_records(clock);
    }
}
