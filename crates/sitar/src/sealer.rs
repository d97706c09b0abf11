//! Whether the kernel can seal TLS records here: found out by having it do so, on a connection of our own.
//!
//! The module `tls` is loaded by the kernel itself when a program with CAP_NET_ADMIN asks for it first, so this runs at the start,
//! before privileges are dropped.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::Duration;

use sitar_io::{Config, Errno, Event, Key, Ring, SockOpt, TlsCipher, TlsTx, Uring};
use sitar_server::Sealer;

use crate::error::Error;

/// Why the kernel cannot seal.
#[derive(Debug)]
pub enum Unsealed {
    /// The ring cannot set socket options: the kernel is older than 6.7.
    NoSocketCommands,
    /// ENOENT from TCP_ULP: built without TLS, or its module is not loaded and may not be loaded by this user.
    NoModule,
    /// The kernel refused at this step.
    Refused(&'static str, Errno),
    /// The trial itself failed.
    Failed(&'static str, io::Error),
}

impl fmt::Display for Unsealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unsealed::NoSocketCommands => {
                f.write_str("io_uring of kernels before 6.7 cannot set socket options")
            }
            Unsealed::NoModule => f.write_str(
                "the kernel's module `tls` is not loaded, or the kernel was built without it (CONFIG_TLS)",
            ),
            Unsealed::Refused(step, errno) => write!(f, "{step}: {}", io::Error::from(*errno)),
            Unsealed::Failed(step, error) => write!(f, "{step}: {error}"),
        }
    }
}

/// A trial takes no longer than this in all.
const TIME_LIMIT: Duration = Duration::from_secs(2);

/// Has the kernel take a key on a loopback connection, and then another one.
///
/// # Errors
/// Why it does not.
pub fn probe() -> Result<Sealer, Unsealed> {
    let config = Config { connections: 4, rx_count: 4, rx_len: 64, tx_count: 4, tx_len: 64 };
    let ring = Ring::uring(&config).map_err(|why| Unsealed::Failed("io_uring", io::Error::other(why)))?;
    let failed = |step| move |error| Unsealed::Failed(step, error);
    let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(failed("a loopback listener"))?;
    let address = socket.local_addr().map_err(failed("a loopback listener"))?;
    Trial { ring }.run(socket, || TcpStream::connect(address))
}

struct Trial {
    ring: Ring<Uring>,
}

impl Trial {
    fn run(
        mut self,
        socket: TcpListener,
        connect: impl FnOnce() -> io::Result<TcpStream>,
    ) -> Result<Sealer, Unsealed> {
        if !self.ring.has_set_opt() {
            return Err(Unsealed::NoSocketCommands);
        }
        let listener = self.ring.listener(socket.into(), Key(1));
        if self.ring.accept(&listener).is_err() {
            return Err(Unsealed::Failed("accepting", io::ErrorKind::ResourceBusy.into()));
        }
        // Kept until the end: the kernel's TLS needs an established connection.
        let _client = connect().map_err(|error| Unsealed::Failed("connecting", error))?;
        let conn = loop {
            match self.event()? {
                Event::Accepted { conn, .. } => break conn,
                Event::AcceptEnded { error: Some(errno), .. } => {
                    return Err(Unsealed::Refused("accepting", errno));
                }
                _ => {}
            }
        };
        self.ring.bind(&conn, Key(0));
        let mut set = |opt| -> Result<Result<(), Errno>, Unsealed> {
            if self.ring.set_opt(&conn, opt).is_err() {
                return Err(Unsealed::Failed("setting an option", io::ErrorKind::ResourceBusy.into()));
            }
            loop {
                if let Event::OptSet { result, .. } = self.event()? {
                    return Ok(result);
                }
            }
        };
        match set(SockOpt::TlsUlp)? {
            Ok(()) => {}
            Err(Errno::NOENT) => return Err(Unsealed::NoModule),
            Err(errno) => return Err(Unsealed::Refused("TCP_ULP", errno)),
        }
        set(key(1))?.map_err(|errno| Unsealed::Refused("TLS_TX", errno))?;
        // EBUSY before 6.14.
        Ok(Sealer::Kernel { rekey: set(key(2))?.is_ok() })
    }

    fn event(&mut self) -> Result<Event, Unsealed> {
        let until = self.ring.now() + TIME_LIMIT;
        loop {
            if let Some(event) = self.ring.next() {
                return Ok(event);
            }
            let now = self.ring.wait(Some(until)).map_err(|error| Unsealed::Failed("waiting", error))?;
            if now >= until {
                return Err(Unsealed::Failed("waiting", io::ErrorKind::TimedOut.into()));
            }
        }
    }
}

/// A key that seals nothing.
fn key(byte: u8) -> SockOpt {
    // The lengths are those of this cipher; were they not, the kernel would refuse a ULP that is set already.
    TlsTx::tls13(TlsCipher::Aes128Gcm, &[byte; 16], &[byte; 12], 0)
        .map_or(SockOpt::TlsUlp, |key| SockOpt::TlsTx(Box::new(key)))
}

/// For an operator who asked for a kernel that seals.
#[must_use]
pub fn explain(why: &Unsealed) -> Error {
    let error = Error::new("the kernel cannot seal TLS records here (--tls kernel)").cause(why.to_string());
    let error = match why {
        Unsealed::NoModule => error
            .hint("load the module as root: `modprobe tls`; and at every boot: `echo tls > /etc/modules-load.d/tls.conf`")
            .hint("where there is no such module the kernel was built without it (CONFIG_TLS)"),
        Unsealed::NoSocketCommands => error.hint("a newer kernel can"),
        Unsealed::Refused(..) | Unsealed::Failed(..) => error,
    };
    error.hint("or let sitar seal, which is the default: --tls user")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_with_its_remedy() {
        let text = explain(&Unsealed::NoModule).render(false);
        assert!(text.contains("`modprobe tls`") && text.contains("--tls user"), "{text}");
        let text = explain(&Unsealed::Refused("TLS_TX", Errno::NOMEM)).render(false);
        assert!(text.contains("TLS_TX: ") && text.contains("memory"), "{text}");
    }

    /// Whatever this machine has, the answer is one of these, and comes soon.
    #[test]
    fn the_trial_ends_with_a_verdict() {
        match probe() {
            Ok(Sealer::Kernel { .. }) | Err(Unsealed::NoModule | Unsealed::NoSocketCommands) => {}
            // A machine without io_uring.
            Err(Unsealed::Failed("io_uring", _)) => {}
            other => panic!("{other:?}"),
        }
    }
}
