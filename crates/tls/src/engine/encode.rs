//! Takes from rustls what it wants to send.

use super::error::HandshakeError;
use rustls::unbuffered::{EncodeError, EncodeTlsData};

/// Appends the bytes that rustls wants to send. It copies from a buffer of its own; the first
/// attempt shows the size.
pub(super) fn encode<Data>(
    data: &mut EncodeTlsData<'_, Data>,
    out: &mut Vec<u8>,
) -> Result<(), HandshakeError> {
    let start = out.len();
    let encoded = match data.encode(&mut []) {
        Err(EncodeError::InsufficientSize(size)) => {
            out.resize(start + size.required_size, 0);
            data.encode(&mut out[start..])
        }
        result => result,
    };
    match encoded {
        Ok(len) => {
            out.truncate(start + len);
            Ok(())
        }
        Err(_) => {
            out.truncate(start);
            Err(HandshakeError::ours("the TLS library cannot encode what it has to send"))
        }
    }
}
