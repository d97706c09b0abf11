//@ compiles
use sitar_io::{Busy, Conn, OpId, Ring, SendBuf, TxBuf, Uring};

pub fn answer(ring: &mut Ring<Uring>, conn: &Conn, mut tx: TxBuf) -> Result<OpId, Busy<SendBuf>> {
    tx.set_filled(5);
    let view = &mut tx[..5];
    view.copy_from_slice(b"hello");
    let op = ring.send(conn, tx.into(), 0)?;
    Ok(op)
}
