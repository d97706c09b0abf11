//@ E0277
use sitar_io::{Ring, Uring};

pub fn elsewhere(mut ring: Ring<Uring>) {
    std::thread::spawn(move || ring.wait(None)); //~
}
