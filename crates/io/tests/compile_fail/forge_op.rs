//@ E0451
use sitar_io::{Busy, Conn, OpId, Ring, Uring};

pub fn guess(ring: &mut Ring<Uring>, conn: &Conn) -> Result<(), Busy> {
    let id = OpId { ring: 1, index: 0, generation: 1 }; //~
    ring.cancel(id);
    Ok(())
}
