//@ E0277
use sitar_io::{Engine, Ring};

struct Liar;

impl Engine for Liar {} //~

pub fn serve<E: Engine>(ring: &mut Ring<E>) -> std::io::Result<()> {
    ring.wait(None).map(drop)
}
