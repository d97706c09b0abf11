//@ compiles
use sitar_io::{Busy, Conn, Ring, SendBuf, TxBuf, Uring};

pub fn keep_one(ring: &mut Ring<Uring>, conn: &Conn, tx: TxBuf) -> Result<(), Busy<SendBuf>> {
    ring.send(conn, tx.into(), 0)?;
    Ok(())
}
