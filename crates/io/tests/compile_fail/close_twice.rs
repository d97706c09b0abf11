//@ E0382
use sitar_io::{Conn, Ring, Uring};

pub fn goodbye(ring: &mut Ring<Uring>, conn: Conn) {
    ring.close(conn);
    ring.close(conn); //~
}
