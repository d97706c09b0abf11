//@ E0451
use sitar_io::{Busy, Conn, OpId, Ring, Uring};

pub fn guess(ring: &mut Ring<Uring>, conn: &Conn) -> Result<(), Busy> {
    let id = OpId { index: 0, generation: 0 }; //~
    ring.cancel(id);
    Ok(())
}
