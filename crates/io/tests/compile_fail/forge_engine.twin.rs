//@ compiles
use sitar_io::{Backend, Ring};

pub fn serve<B: Backend>(ring: &mut Ring<B>) -> std::io::Result<()> {
    ring.wait(None).map(drop)
}

pub fn serve_here(ring: &mut Ring<sitar_io::Uring>) -> std::io::Result<()> {
    serve(ring)
}
