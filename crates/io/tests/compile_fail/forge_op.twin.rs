//@ compiles
use sitar_io::{Busy, Conn, OpId, Ring, Uring};

pub fn guess(ring: &mut Ring<Uring>, conn: &Conn) -> Result<(), Busy> {
    let id: OpId = ring.recv(conn)?;
    ring.cancel(id);
    Ok(())
}
