//@ E0599
use sitar_io::{Conn, Ring, Uring};

pub fn two_owners(ring: &mut Ring<Uring>, conn: Conn) -> Conn {
    ring.close(conn.clone()); //~
    conn
}
