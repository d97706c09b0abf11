//! Accept-Encoding (RFC 9110 §12.5.3).

use crate::chars::trim;
use crate::{Field, Request};

/// A content coding (RFC 9110 §8.4.1) in which this server may hold a representation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Coding {
    /// Not encoded.
    Identity,
    /// `gzip`, also by its old name `x-gzip`.
    Gzip,
    /// `br`, Brotli (RFC 7932).
    Br,
    /// `zstd` (RFC 8878).
    Zstd,
}

/// The codings that a client accepts, with their weights (RFC 9110 §12.5.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AcceptEncoding {
    /// By [`Coding`] in the order of its declaration.
    listed: [Option<u16>; 4],
    /// The weight of `*`.
    others: Option<u16>,
    /// Whether there is a field at all.
    sent: bool,
}

impl AcceptEncoding {
    /// Reads the Accept-Encoding lines of a request.
    ///
    /// A list member that is malformed counts as absent; of a coding that is listed twice, the last
    /// weight counts.
    #[must_use]
    pub fn of(request: &Request<'_>) -> AcceptEncoding {
        let mut accept = AcceptEncoding { listed: [None; 4], others: None, sent: false };
        for line in request.fields.all(Field::AcceptEncoding) {
            accept.sent = true;
            for member in line.split(|&byte| byte == b',') {
                accept.add(member);
            }
        }
        accept
    }

    /// Returns the weight of a coding in thousandths; 0 is "not acceptable".
    ///
    /// Without the field only identity is acceptable: RFC 9110 would allow any coding, but a client
    /// that does not name one may not decode it. Identity is acceptable unless it is refused by
    /// name or by `*;q=0`. Where the client does not name it, it comes after all that the client
    /// names (1 of 1000).
    #[must_use]
    pub fn quality(&self, coding: Coding) -> u16 {
        if let Some(quality) = self.listed[coding as usize].or(self.others) {
            return quality;
        }
        match (coding, self.sent) {
            (Coding::Identity, true) => 1,
            (Coding::Identity, false) => 1000,
            _ => 0,
        }
    }

    /// Returns the available coding with the highest weight; between equals, the one that comes
    /// first in `available`. `None` when none is acceptable.
    #[must_use]
    pub fn best(&self, available: &[Coding]) -> Option<Coding> {
        let mut best = None;
        let mut best_quality = 0;
        for &coding in available {
            let quality = self.quality(coding);
            if quality > best_quality {
                best = Some(coding);
                best_quality = quality;
            }
        }
        best
    }

    fn add(&mut self, member: &[u8]) {
        let mut parts = member.splitn(2, |&byte| byte == b';');
        let name = trim(parts.next().unwrap_or_default());
        let Some(quality) = parts.next().map_or(Some(1000), weight) else { return };
        let known: [(&[u8], Coding); 5] = [
            (b"gzip", Coding::Gzip),
            (b"br", Coding::Br),
            (b"zstd", Coding::Zstd),
            (b"identity", Coding::Identity),
            // RFC 9110 §8.4.1.3: x-gzip is gzip.
            (b"x-gzip", Coding::Gzip),
        ];
        if name == b"*" {
            self.others = Some(quality);
        } else if let Some((_, coding)) = known.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)) {
            self.listed[*coding as usize] = Some(quality);
        }
    }
}

/// Reads a weight such as `q=0.5` in thousandths (RFC 9110 §12.4.2): a zero or one, and at most
/// three decimals.
pub(super) fn weight(parameter: &[u8]) -> Option<u16> {
    let [b'q' | b'Q', b'=', whole @ (b'0' | b'1'), fraction @ ..] = trim(parameter) else { return None };
    let decimals = match fraction {
        [] => &[],
        [b'.', decimals @ ..] if decimals.len() <= 3 => decimals,
        _ => return None,
    };
    let mut quality = u16::from(whole - b'0') * 1000;
    let mut unit = 100;
    for digit in decimals {
        if !digit.is_ascii_digit() {
            return None;
        }
        quality += u16::from(digit - b'0') * unit;
        unit /= 10;
    }
    (quality <= 1000).then_some(quality)
}

#[cfg(test)]
mod tests;
