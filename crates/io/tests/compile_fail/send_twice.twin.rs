//@ compiles
use sitar_io::{Busy, Conn, Ring, Src, TxBuf, Uring};

pub fn both(ring: &mut Ring<Uring>, a: &Conn, b: &Conn, tx: TxBuf, another: TxBuf) -> Result<(), Busy<Src>> {
    ring.send(a, tx.into(), 0)?;
    ring.send(b, another.into(), 0)?;
    Ok(())
}
