//@ compiles
use sitar_io::RxBuf;

pub fn elsewhere(buf: RxBuf) {
    let copy = buf.to_vec();
    std::thread::spawn(move || copy.len());
}
