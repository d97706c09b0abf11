//@ E0382
use sitar_io::{Busy, Conn, OpId, Ring, Uring};

pub fn goodbye(ring: &mut Ring<Uring>, conn: Conn) -> Result<OpId, Busy> {
    ring.close(conn);
    ring.recv(&conn) //~
}
