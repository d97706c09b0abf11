//! Whether the kernel can seal TLS records here: found out by having it take keys, on connections
//! of our own.
//!
//! The module `tls` is loaded by the kernel itself when a program with CAP_NET_ADMIN asks for it
//! first, so this runs at the start, before privileges are dropped.

use std::fmt;
use std::io;

use sitar_io::Errno;
use sitar_io::probe::{self, TlsUnavailable};
use sitar_server::TlsOffload;

use crate::error::Error;

/// The reason that the kernel cannot seal.
#[derive(Debug)]
pub enum NoOffload {
    /// The ring cannot set socket options: the kernel is older than 6.7.
    NoSocketCommands,
    /// ENOENT from TCP_ULP: built without TLS, or its module is not loaded and may not be loaded by
    /// this user.
    NoModule,
    /// The kernel refused at this step.
    Refused(&'static str, Errno),
    /// The trial itself was not possible.
    Failed(&'static str, io::Error),
}

impl fmt::Display for NoOffload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NoOffload::NoSocketCommands => {
                f.write_str("io_uring of kernels before 6.7 cannot set socket options")
            }
            NoOffload::NoModule => f.write_str(
                "the kernel's module `tls` is not loaded, or the kernel was built without it (CONFIG_TLS)",
            ),
            NoOffload::Refused(step, errno) => write!(f, "{step}: {}", io::Error::from(*errno)),
            NoOffload::Failed(step, error) => write!(f, "{step}: {error}"),
        }
    }
}

/// Has the kernel take a key on a loopback connection, and then another one.
///
/// # Errors
/// The reason that it does not.
pub fn probe() -> Result<TlsOffload, NoOffload> {
    let has_set_opt = sitar_engines::has_set_opt();
    if !has_set_opt.map_err(|why| NoOffload::Failed("io_uring", io::Error::other(why)))? {
        return Err(NoOffload::NoSocketCommands);
    }
    let tls = probe::kernel_tls().map_err(|why| match why {
        TlsUnavailable::Refused(Errno::NOENT) => NoOffload::NoModule,
        TlsUnavailable::Refused(errno) => NoOffload::Refused("TCP_ULP", errno),
        TlsUnavailable::NoConnection(error) => NoOffload::Failed("a loopback connection", error),
    })?;
    // Where the kernel lacks a cipher, connections with it are sealed here: ChaCha20 is a module of
    // its own.
    match (tls.rekey, tls.ciphers.first()) {
        (Some(rekey), _) => Ok(TlsOffload::Kernel { rekey }),
        (None, Some((_, Err(errno)))) => Err(NoOffload::Refused("TLS_TX", *errno)),
        (None, _) => Err(NoOffload::Refused("TLS_TX", Errno::IO)),
    }
}

/// Returns the error for an operator who asked for a kernel that seals.
#[must_use]
pub fn explain(why: &NoOffload) -> Error {
    let error = Error::new("the kernel cannot seal TLS records here (--tls kernel)").cause(why.to_string());
    let error = match why {
        NoOffload::NoModule => error
            .hint("load the module as root: `modprobe tls`; and at every boot: `echo tls > /etc/modules-load.d/tls.conf`")
            .hint("where there is no such module the kernel was built without it (CONFIG_TLS)"),
        NoOffload::NoSocketCommands => error.hint("a newer kernel can"),
        NoOffload::Refused(..) | NoOffload::Failed(..) => error,
    };
    error.hint("or let sitar seal, which is the default: --tls user")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_with_its_remedy() {
        let text = explain(&NoOffload::NoModule).render(false);
        assert!(text.contains("`modprobe tls`") && text.contains("--tls user"), "{text}");
        let text = explain(&NoOffload::Refused("TLS_TX", Errno::NOMEM)).render(false);
        assert!(text.contains("TLS_TX: ") && text.contains("memory"), "{text}");
    }

    /// On every machine the answer is one of these, and comes soon.
    #[test]
    fn the_trial_ends_with_a_verdict() {
        match probe() {
            Ok(TlsOffload::Kernel { .. }) | Err(NoOffload::NoModule | NoOffload::NoSocketCommands) => {}
            // A machine without io_uring.
            Err(NoOffload::Failed("io_uring", _)) => {}
            other => panic!("{other:?}"),
        }
    }
}
