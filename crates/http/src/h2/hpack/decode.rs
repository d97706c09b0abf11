//! Decoding of field blocks (RFC 7541 §3, §6).

use super::Fault;
use super::huffman;
use super::table::{STATIC, Table};

/// The table size that both sides begin with, and that this server keeps to (RFC 9113 §6.5.2).
pub(crate) const TABLE_SIZE: usize = 4096;
/// Bytes of one integer beyond its prefix: 28 bits, more than any frame can hold (RFC 7541 §5.1
/// wants a limit).
const INTEGER_BYTES_MAX: usize = 4;

/// A receiver for the fields of a header list.
pub(crate) trait Sink {
    /// Takes the next field of the list. Returns whether to go on; otherwise decoding ends with an
    /// error.
    fn field(&mut self, name: &[u8], value: &[u8]) -> bool;
}

/// A buffer in which coded strings are decoded, one for many connections.
#[derive(Debug)]
pub(crate) struct Scratch(Box<[u8]>);

impl Scratch {
    /// Creates a buffer for blocks of at most `len` bytes.
    pub(crate) fn new(len: usize) -> Scratch {
        // Name and value of a field lie one behind the other; no string can be longer than its
        // block allows, and a name from the table is no longer than the table.
        Scratch(vec![0; huffman::decoded_max(len) + TABLE_SIZE].into_boxed_slice())
    }
}

/// The receiving half of a connection's header compression.
#[derive(Debug)]
pub(crate) struct Decoder {
    table: Table,
}

/// The kind of a literal (RFC 7541 §6.2). Never-indexed matters only to intermediaries.
#[derive(Clone, Copy, PartialEq)]
enum Literal {
    Indexed,
    NotIndexed,
}

impl Decoder {
    pub(crate) const fn new() -> Decoder {
        Decoder { table: Table::new(TABLE_SIZE) }
    }

    /// Returns the bytes of memory that the dynamic table takes.
    pub(crate) fn memory(&self) -> usize {
        self.table.memory()
    }

    /// Decodes a whole header block.
    ///
    /// # Errors
    /// The block is malformed, or the sink refused a field.
    pub(crate) fn decode(
        &mut self,
        block: &[u8],
        scratch: &mut Scratch,
        sink: &mut impl Sink,
    ) -> Result<(), Fault> {
        let mut input = Input { bytes: block, at: 0 };
        let mut begun = false;
        while let Some(&first) = input.bytes.get(input.at) {
            match first {
                // §6.1
                0x80.. => {
                    let index = input.integer(7)?;
                    let (name, value) = self.entry(index)?;
                    if !sink.field(name, value) {
                        return Err(TOO_MUCH);
                    }
                }
                0x40.. => self.literal(&mut input, 6, Literal::Indexed, scratch, sink)?,
                // §6.3; §4.2: at the beginning of a block only, and never more than was allowed.
                0x20.. => {
                    let size = input.integer(5)?;
                    if begun {
                        return Err(Fault("a table size update behind a field"));
                    }
                    if size > TABLE_SIZE {
                        return Err(Fault("a table larger than allowed"));
                    }
                    self.table.resize(size);
                    continue;
                }
                _ => self.literal(&mut input, 4, Literal::NotIndexed, scratch, sink)?,
            }
            begun = true;
        }
        Ok(())
    }

    /// Returns an entry of one of the tables, which share an address space (§2.3.3).
    fn entry(&self, index: usize) -> Result<(&[u8], &[u8]), Fault> {
        match index.checked_sub(1) {
            None => Err(Fault("index zero")),
            Some(at) if at < STATIC.len() => Ok(STATIC[at]),
            Some(at) => self.table.get(at - STATIC.len()).ok_or(Fault("an index beyond the table")),
        }
    }

    fn literal(
        &mut self,
        input: &mut Input<'_>,
        prefix: u32,
        kind: Literal,
        scratch: &mut Scratch,
        sink: &mut impl Sink,
    ) -> Result<(), Fault> {
        let index = input.integer(prefix)?;
        let (name_room, value_room);
        let mut room = &mut scratch.0[..];
        let name: &[u8] = match index {
            0 => {
                let string = input.string()?;
                (name_room, room) = string.split(room)?;
                string.read(name_room)?
            }
            1..=61 => STATIC[index - 1].0,
            // Copied, because inserting may evict what is referred to (§4.4).
            _ => {
                let name = self.entry(index)?.0;
                (name_room, room) = room.split_at_mut_checked(name.len()).ok_or(TOO_LONG)?;
                name_room.copy_from_slice(name);
                name_room
            }
        };
        let string = input.string()?;
        (value_room, _) = string.split(room)?;
        let value = string.read(value_room)?;
        if !sink.field(name, value) {
            return Err(TOO_MUCH);
        }
        if kind == Literal::Indexed {
            self.table.insert(name, value);
        }
        Ok(())
    }
}

const CUT_SHORT: Fault = Fault("a header block ends in the middle of a field");
const TOO_LONG: Fault = Fault("a string longer than a header block can be");
/// The list is well-formed and far beyond the limit.
pub(crate) const TOO_MUCH: Fault = Fault("the header list is far too large");

struct Input<'b> {
    bytes: &'b [u8],
    at: usize,
}

impl<'b> Input<'b> {
    fn byte(&mut self) -> Result<u8, Fault> {
        let byte = *self.bytes.get(self.at).ok_or(CUT_SHORT)?;
        self.at += 1;
        Ok(byte)
    }

    /// Reads an integer with a prefix of `prefix` bits (§5.1).
    fn integer(&mut self, prefix: u32) -> Result<usize, Fault> {
        let mask = (1_usize << prefix) - 1;
        let mut value = usize::from(self.byte()?) & mask;
        if value < mask {
            return Ok(value);
        }
        for nth in 0..INTEGER_BYTES_MAX {
            let byte = self.byte()?;
            value += usize::from(byte & 0x7f) << (7 * nth);
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Fault("an integer beyond 28 bits"))
    }

    /// Reads a string (§5.2).
    fn string(&mut self) -> Result<Coded<'b>, Fault> {
        let huffman = *self.bytes.get(self.at).ok_or(CUT_SHORT)? & 0x80 != 0;
        let len = self.integer(7)?;
        let bytes = self.bytes.get(self.at..).and_then(|rest| rest.get(..len)).ok_or(CUT_SHORT)?;
        self.at += len;
        Ok(Coded { bytes, huffman })
    }
}

/// A string literal as it lies in the block.
struct Coded<'b> {
    bytes: &'b [u8],
    huffman: bool,
}

impl<'b> Coded<'b> {
    /// Splits `room` into the part that the decoded string needs, and the rest.
    fn split<'r>(&self, room: &'r mut [u8]) -> Result<(&'r mut [u8], &'r mut [u8]), Fault> {
        let len = if self.huffman { huffman::decoded_max(self.bytes.len()) } else { 0 };
        room.split_at_mut_checked(len).ok_or(TOO_LONG)
    }

    fn read<'r>(&self, room: &'r mut [u8]) -> Result<&'r [u8], Fault>
    where
        'b: 'r,
    {
        if !self.huffman {
            return Ok(self.bytes);
        }
        let len = huffman::decode(self.bytes, room).map_err(|_| Fault("a string is not Huffman code"))?;
        Ok(&room[..len])
    }
}
