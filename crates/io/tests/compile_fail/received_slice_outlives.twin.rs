//@ compiles
use sitar_io::RxBuf;

pub fn first(buf: RxBuf) -> u8 {
    let head = &buf[..1];
    let byte = head[0];
    drop(buf);
    byte
}
