//! Limits of keys: an AEAD key may seal a limited number of records (RFC 8446 §5.5). Before the
//! last of them the next key is announced, and where there cannot be one the connection ends.

use sitar_tls::Version;

use super::output::Output;
use super::security::Security;
use super::state::{KtlsState, Transport};
use crate::TlsOffload;
use crate::close::Close;

/// With fewer seals left than this the sending key is changed: more than one send can be cut into.
const SEALS_LOW: u64 = 4096;
/// With fewer seals left than this no further request is read where the key cannot be changed. The
/// answer that is being given may take all of them, a gigabyte; one that is longer is cut off at
/// the end of the key, after 128 GiB.
const SEALS_LOW_FIXED: u64 = 1 << 16;

/// Announces the next key where records are sealed here, if that is due.
pub(super) fn rekey_if_due(output: &mut Output, security: &mut Security) -> Result<(), Close> {
    if is_rekey_due(security) {
        // Without room it is announced in the next buffer: it stays due.
        let _ = output.key_update(security).map_err(|_| Close::Ours("sealing a key update"))?;
    }
    Ok(())
}

/// Whether the next key is to be announced where records are sealed here.
pub(super) fn is_rekey_due(security: &Security) -> bool {
    let Security::Tls(records) = security else { return false };
    records.seals_left() < SEALS_LOW && records.version() == Version::Tls13
}

/// Whether the key of the kernel is used up.
#[must_use]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::tcp) enum KernelKey {
    /// Something can be sent.
    Usable,
    /// The kernel is given its next key first.
    UpdateFirst,
}

impl Transport {
    /// Whether the connection has to end for want of a fresh key: TLS 1.2 cannot make one, and
    /// kernels before 6.14 take only one.
    pub(in crate::tcp) fn is_key_worn(&self, offload: TlsOffload) -> bool {
        match &self.security {
            Security::Tls(records) => {
                records.seals_left() < SEALS_LOW_FIXED && records.version() == Version::Tls12
            }
            Security::Kernel(records) => {
                records.seals_left() < SEALS_LOW_FIXED && offload != (TlsOffload::Kernel { rekey: true })
            }
            Security::Handshaking(_) | Security::Plain | Security::Failed => false,
        }
    }

    /// Looks whether the kernel's next key comes first, and has it changed then.
    pub(in crate::tcp) fn check_kernel_key(&mut self, offload: TlsOffload) -> Result<KernelKey, Close> {
        let Security::Kernel(records) = &self.security else { return Ok(KernelKey::Usable) };
        match (records.seals_left(), offload) {
            (SEALS_LOW.., _) => Ok(KernelKey::Usable),
            (_, TlsOffload::Kernel { rekey: true }) => {
                self.ktls = KtlsState::UpdateDue;
                Ok(KernelKey::UpdateFirst)
            }
            // In the middle of a body there is no better end than this: the client sees that it was
            // cut.
            (0, _) => Err(Close::Ours("the kernel's only key is used up")),
            _ => Ok(KernelKey::Usable),
        }
    }
}
