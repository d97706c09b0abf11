//@ E0277
use sitar_io::{Busy, Conn, OpId, Ring, SendBuf, TxBuf, Uring};

pub fn answer(ring: &mut Ring<Uring>, conn: &Conn, mut tx: TxBuf) -> Result<OpId, Busy<SendBuf>> {
    let stack = *b"hello";
    tx[..5].copy_from_slice(&stack);
    tx.set_filled(5);
    ring.send(conn, (&stack[..]).into(), 0) //~
}
