//@ E0308
use sitar_io::{Busy, Conn, OpId, Ring, Uring};

pub fn third(ring: &mut Ring<Uring>, conn: Conn) -> Result<OpId, Busy> {
    let third = Conn::from(3_u32); //~
    drop(conn);
    ring.recv(&third)
}
