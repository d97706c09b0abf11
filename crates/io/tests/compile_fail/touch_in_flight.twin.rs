//@ compiles
use sitar_io::{Busy, Conn, OpId, Ring, SendBuf, TxBuf, Uring};

pub fn answer(ring: &mut Ring<Uring>, conn: &Conn, mut tx: TxBuf) -> Result<OpId, Busy<SendBuf>> {
    tx[..5].copy_from_slice(b"hello");
    tx.set_filled(5);
    tx[0] = b'H';
    let op = ring.send(conn, tx.into(), 0)?;
    Ok(op)
}
