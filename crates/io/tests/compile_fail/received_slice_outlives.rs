//@ E0505
use sitar_io::RxBuf;

pub fn first(buf: RxBuf) -> u8 {
    let head = &buf[..1];
    drop(buf); //~
    head[0]
}
