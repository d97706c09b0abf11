//@ E0277
use sitar_io::RxBuf;

pub fn elsewhere(buf: RxBuf) {
    std::thread::spawn(move || buf.len()); //~
}
