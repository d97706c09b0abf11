//@ compiles
use sitar_io::{Busy, Conn, Ring, Src, TxBuf, Uring};

pub fn keep_one(ring: &mut Ring<Uring>, conn: &Conn, tx: TxBuf) -> Result<(), Busy<Src>> {
    ring.send(conn, tx.into(), 0)?;
    Ok(())
}
