//@ compiles
use sitar_io::{Busy, Conn, OpId, Ring, Uring};

pub fn goodbye(ring: &mut Ring<Uring>, conn: Conn) -> Result<OpId, Busy> {
    let op = ring.recv(&conn);
    ring.close(conn);
    op
}
