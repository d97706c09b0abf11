//@ compiles
use sitar_io::{Busy, File, Key, OpId, ReadBuf, Ring, TxBuf, Uring};

pub fn fill(ring: &mut Ring<Uring>, file: &File, mut tx: TxBuf) -> Result<OpId, Busy<ReadBuf>> {
    tx[..4].copy_from_slice(b"HEAD");
    let op = ring.read(file, 0, ReadBuf::Tx(tx, 4..1024), Key(1))?;
    Ok(op)
}
