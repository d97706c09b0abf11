//! Keys wear out: an AEAD key is good for so many records only (RFC 8446 §5.5). Before the last of them comes the next key, and
//! where there cannot be one, the end.

use sitar_tls::Version;

use crate::TlsOffload;
use crate::shard::context::Gone;
use crate::tcp::connection::Connection;
use crate::tcp::transport::ktls::Keying;
use crate::tcp::transport::output::{Layer, Output};

/// With fewer seals left than this the sending key is changed: more than one send can be cut into.
const SEALS_LOW: u64 = 4096;
/// With fewer seals left than this no further request is read where the key cannot be changed. The answer that is being given
/// may take all of them, a gigabyte; one that is longer is cut off at the end of the key, after 128 GiB.
const SEALS_LOW_FIXED: u64 = 1 << 16;

/// Announces the next key where records are sealed here.
pub(in crate::tcp) fn mind_the_keys(output: &mut Output, layer: &mut Layer) -> Result<(), Gone> {
    if is_due(layer) {
        output.key_update(layer).map_err(|_| Gone)?;
    }
    Ok(())
}

/// Whether the next key is to be announced where records are sealed here.
pub(in crate::tcp) fn is_due(layer: &Layer) -> bool {
    let Layer::Tls(records) = layer else { return false };
    records.seals_left() < SEALS_LOW && records.version() == Version::Tls13
}

/// Whether the connection has to end for want of a fresh key: TLS 1.2 cannot make one, and kernels before 6.14 take only one.
pub(in crate::tcp) fn is_worn(layer: &Layer, offload: TlsOffload) -> bool {
    match layer {
        Layer::Tls(records) => records.seals_left() < SEALS_LOW_FIXED && records.version() == Version::Tls12,
        Layer::Kernel(records) => {
            records.seals_left() < SEALS_LOW_FIXED && offload != (TlsOffload::Kernel { rekey: true })
        }
        Layer::Handshake(_) | Layer::Plain => false,
    }
}

impl Connection {
    /// Whether the kernel's next key comes first.
    pub(in crate::tcp) fn needs_next_key(&mut self, offload: TlsOffload) -> Result<bool, Gone> {
        let Layer::Kernel(records) = &self.layer else { return Ok(false) };
        match (records.seals_left(), offload) {
            (SEALS_LOW.., _) => Ok(false),
            (_, TlsOffload::Kernel { rekey: true }) => {
                self.keying = Keying::Update;
                Ok(true)
            }
            // In the middle of a body there is no better end than this: the client sees that it was cut.
            (0, _) => Err(Gone),
            _ => Ok(false),
        }
    }
}
