//@ E0382
use sitar_io::{Busy, Conn, Ring, SendBuf, TxBuf, Uring};

pub fn both(ring: &mut Ring<Uring>, a: &Conn, b: &Conn, tx: TxBuf) -> Result<(), Busy<SendBuf>> {
    ring.send(a, tx.into(), 0)?;
    ring.send(b, tx.into(), 0)?; //~
    Ok(())
}
