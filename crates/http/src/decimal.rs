//! Numbers in decimal, as Content-Length and Content-Range have them.

/// A number written in decimal digits without leading zeros, at most 20 of them.
///
/// ```
/// assert_eq!(sitar_http::Decimal::new(1024).as_bytes(), b"1024");
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Decimal {
    bytes: [u8; 20],
    start: usize,
}

impl Decimal {
    /// Writes `value` in decimal.
    #[must_use]
    pub const fn new(mut value: u64) -> Decimal {
        let mut bytes = [b'0'; 20];
        let mut start = bytes.len();
        loop {
            start -= 1;
            // The remainder is below ten.
            bytes[start] = b'0' + (value % 10) as u8;
            value /= 10;
            if value == 0 {
                return Decimal { bytes, start };
            }
        }
    }

    /// Returns the digits.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[self.start..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_the_standard_library_writes_them() {
        for value in [0, 1, 9, 10, 99, 100, 1_048_576, u64::MAX - 1, u64::MAX] {
            assert_eq!(Decimal::new(value).as_bytes(), value.to_string().as_bytes());
        }
    }
}
