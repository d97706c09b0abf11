//@ E0277
use sitar_io::{Backend, Ring};

struct Liar;

impl Backend for Liar {} //~

pub fn serve<B: Backend>(ring: &mut Ring<B>) -> std::io::Result<()> {
    ring.wait(None).map(drop)
}
