//@ compiles
use sitar_io::{Busy, Conn, OpId, Ring, Uring};

pub fn third(ring: &mut Ring<Uring>, conn: Conn) -> Result<OpId, Busy> {
    let third = conn;
    ring.recv(&third)
}
