//@ compiles
use sitar_io::{Conn, Ring, Uring};

pub fn two_owners(ring: &mut Ring<Uring>, conn: Conn) -> Conn {
    ring.stop_recv(&conn);
    conn
}
