//@ compiles
use sitar_io::{Ring, Uring};

pub fn elsewhere(mut ring: Ring<Uring>) {
    let waker = ring.waker();
    std::thread::spawn(move || waker.wake());
    let _ = ring.wait(None);
}
