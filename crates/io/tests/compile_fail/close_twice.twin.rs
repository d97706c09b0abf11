//@ compiles
use sitar_io::{Conn, Ring, Uring};

pub fn goodbye(ring: &mut Ring<Uring>, conn: Conn) {
    ring.close(conn);
}
