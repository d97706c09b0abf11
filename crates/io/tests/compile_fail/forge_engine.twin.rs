//@ compiles
use sitar_io::{Engine, Ring};

pub fn serve<E: Engine>(ring: &mut Ring<E>) -> std::io::Result<()> {
    ring.wait(None).map(drop)
}

pub fn serve_here(ring: &mut Ring<sitar_io::Uring>) -> std::io::Result<()> {
    serve(ring)
}
