//@ E0505
use sitar_io::{Region, SendBuf};

pub fn first_line(region: Region) -> (SendBuf, usize) {
    let line = region.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let buf = SendBuf::Shared(region, 0..4096); //~
    (buf, line.len())
}
