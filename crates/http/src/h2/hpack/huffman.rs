//! The Huffman code of RFC 7541 Appendix B. It is canonical, so the lengths of its codes define it.

/// Bits of each symbol's code; the last is EOS.
#[rustfmt::skip]
const LENGTHS: [u8; SYMBOLS] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28,
    28, 28, 28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6,
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7,
    7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20, 22, 22, 23, 23, 21,
    23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24,
    21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, 30,
];

const SYMBOLS: usize = 257;
const EOS: u16 = 256;
/// Bits of the longest code that one look into a table finds; most characters of fields have 5 to 8
/// bits.
const FAST: u32 = 8;
const LONGEST: u32 = 30;

/// The text is no Huffman code: padding that is not the start of EOS, too long padding, or EOS
/// itself (RFC 7541 §5.2).
#[derive(Debug, PartialEq, Eq)]
pub(super) struct InvalidCode;

/// Returns the most bytes that `len` coded bytes can stand for: the shortest code has five bits.
pub(super) const fn decoded_max(len: usize) -> usize {
    len.saturating_mul(8) / 5
}

/// Decodes `input` into the start of `out`, which must have room for [`decoded_max`]; returns the
/// length.
pub(super) fn decode(input: &[u8], out: &mut [u8]) -> Result<usize, InvalidCode> {
    // The next bits, from the most significant down; all behind the first `count` of them are zero.
    let (mut bits, mut count) = (0_u64, 0_u32);
    let mut input = input.iter();
    let mut len = 0;
    loop {
        while count <= 56 {
            let Some(&byte) = input.next() else { break };
            bits |= u64::from(byte) << (56 - count);
            count += 8;
        }
        let (symbol, width) = match CODE.fast[(bits >> (64 - FAST)) as usize] {
            (_, 0) => slow(bits).ok_or(InvalidCode)?,
            found => (u16::from(found.0), u32::from(found.1)),
        };
        if width > count {
            // No whole code is left. RFC 7541 §5.2: fewer than 8 bits, the first ones of EOS, which
            // are all set.
            let is_padding = count < 8 && bits == !(u64::MAX >> count);
            return if is_padding { Ok(len) } else { Err(InvalidCode) };
        }
        // EOS has no byte.
        let byte = u8::try_from(symbol).map_err(|_| InvalidCode)?;
        *out.get_mut(len).ok_or(InvalidCode)? = byte;
        len += 1;
        bits <<= width;
        count -= width;
    }
}

/// Returns the symbol whose code, longer than [`FAST`], `bits` begin with, and the code's length.
fn slow(bits: u64) -> Option<(u16, u32)> {
    let window = bits >> 32;
    let mut length = FAST + 1;
    while length <= LONGEST {
        let at = length as usize;
        if window < CODE.end[at] {
            let nth = (window - CODE.first[at]) >> (32 - length);
            return Some((CODE.sorted[CODE.offset[at] + nth as usize], length));
        }
        length += 1;
    }
    None
}

/// Returns the bytes that `text` takes when coded.
#[cfg(test)]
pub(super) fn encoded_len(text: impl Iterator<Item = u8>) -> usize {
    let bits: usize = text.map(|byte| usize::from(LENGTHS[usize::from(byte)])).sum();
    bits.div_ceil(8)
}

/// Gives `text`, coded and padded, to `put` byte by byte, until that says `None`.
#[cfg(test)]
pub(super) fn encode(text: impl Iterator<Item = u8>, mut put: impl FnMut(u8) -> Option<()>) -> Option<()> {
    let (mut bits, mut count) = (0_u64, 0_u32);
    for byte in text {
        let (code, length) = (CODE.codes[usize::from(byte)], u32::from(LENGTHS[usize::from(byte)]));
        bits = bits << length | u64::from(code);
        count += length;
        while count >= 8 {
            count -= 8;
            put((bits >> count) as u8)?;
        }
    }
    if count > 0 {
        put((bits << (8 - count)) as u8 | 0xff >> count)?;
    }
    Some(())
}

struct Code {
    codes: [u32; SYMBOLS],
    /// For each beginning of eight bits the symbol and the length of its code; 0 when that is
    /// longer.
    fast: [(u8, u8); 1 << FAST],
    /// All symbols by length and then by value, which is by code.
    sorted: [u16; SYMBOLS],
    /// Per length: where its symbols begin in `sorted`,
    offset: [usize; 31],
    /// its first code, and the end of its last one, both as the upper bits of 32.
    first: [u64; 31],
    end: [u64; 31],
}

static CODE: Code = build();

const fn build() -> Code {
    let mut code = Code {
        codes: [0; SYMBOLS],
        fast: [(0, 0); 1 << FAST],
        sorted: [0; SYMBOLS],
        offset: [0; 31],
        first: [0; 31],
        end: [0; 31],
    };
    let (mut next, mut filled, mut length) = (0_u32, 0, 1);
    while length <= LONGEST {
        let at = length as usize;
        next <<= 1;
        code.offset[at] = filled;
        code.first[at] = (next as u64) << (32 - length);
        let mut symbol = 0;
        while symbol <= EOS {
            if LENGTHS[symbol as usize] as u32 == length {
                code.codes[symbol as usize] = next;
                code.sorted[filled] = symbol;
                filled += 1;
                if length <= FAST {
                    let shift = FAST - length;
                    let mut low = 0;
                    while low < 1 << shift {
                        code.fast[((next << shift) + low) as usize] = (symbol as u8, length as u8);
                        low += 1;
                    }
                }
                next += 1;
            }
            symbol += 1;
        }
        code.end[at] = (next as u64) << (32 - length);
        length += 1;
    }
    code
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decoded(input: &[u8]) -> Result<Vec<u8>, InvalidCode> {
        let mut out = vec![0; decoded_max(input.len())];
        let len = decode(input, &mut out)?;
        out.truncate(len);
        Ok(out)
    }

    fn encoded(text: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let put = |byte| {
            out.push(byte);
            Some(())
        };
        encode(text.iter().copied(), put).unwrap();
        assert_eq!(out.len(), encoded_len(text.iter().copied()));
        out
    }

    // RFC 7541 Appendix B: some codes of each kind as they are printed there.
    #[test]
    fn codes_of_appendix_b() {
        for (symbol, code, length) in [
            (b'0', 0x0, 5),
            (b'a', 0x3, 5),
            (b' ', 0x14, 6),
            (b':', 0x5c, 7),
            (b'X', 0xfc, 8),
            (b'!', 0x3f8, 10),
            (b'\\', 0x7fff0, 19),
            (0, 0x1ff8, 13),
            (22, 0x3fff_fffe, 30),
            (127, 0xfff_fffc, 28),
            (249, 0xfff_fffe, 28),
            (255, 0x3ff_ffee, 26),
        ] {
            assert_eq!(CODE.codes[usize::from(symbol)], code, "{symbol}");
            assert_eq!(LENGTHS[usize::from(symbol)], length, "{symbol}");
        }
        assert_eq!((CODE.codes[256], LENGTHS[256]), (0x3fff_ffff, 30));
        assert_eq!(CODE.end[30], 1 << 32, "the code is complete");
    }

    // RFC 7541 Appendix C.4.1, C.6.1
    #[test]
    fn examples() {
        let www = b"\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff";
        assert_eq!(decoded(www).unwrap(), b"www.example.com");
        assert_eq!(encoded(b"www.example.com"), www);
        let date =
            b"\xd0\x7a\xbe\x94\x10\x54\xd4\x44\xa8\x20\x05\x95\x04\x0b\x81\x66\xe0\x82\xa6\x2d\x1b\xff";
        assert_eq!(decoded(date).unwrap(), b"Mon, 21 Oct 2013 20:13:21 GMT");
        assert_eq!(decoded(b"").unwrap(), b"");
    }

    // RFC 7541 §5.2
    #[test]
    fn padding_is_the_start_of_eos_and_shorter_than_a_byte() {
        assert_eq!(decoded(&[0b0001_1111]).unwrap(), b"a");
        assert_eq!(decoded(&[0b0001_1110]), Err(InvalidCode), "not all ones");
        assert_eq!(decoded(&[0b0001_1111, 0xff]), Err(InvalidCode), "eight bits and more");
        assert_eq!(decoded(&[0xff]), Err(InvalidCode), "a whole byte of it");
        assert_eq!(decoded(&[0xff, 0xff, 0xff, 0xff]), Err(InvalidCode), "EOS itself");
        assert_eq!(decoded(&[0xff, 0xff, 0xff, 0xfc, 0x1f]), Err(InvalidCode), "EOS in the middle");
        assert_eq!(decoded(&[0xff, 0xfe]), Err(InvalidCode), "a code cut short");
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(text: Vec<u8>) {
            prop_assert_eq!(decoded(&encoded(&text)).unwrap(), text);
        }

        // A canonical code is one to one: whatever decodes, encodes to the same bytes.
        #[test]
        fn what_is_decoded_was_encoded_so(bytes in proptest::collection::vec(any::<u8>(), 0..24)) {
            if let Ok(text) = decoded(&bytes) {
                prop_assert_eq!(encoded(&text), bytes);
            }
        }
    }
}
