//@ compiles
use sitar_io::{Region, Src};

pub fn first_line(region: Region) -> (Src, usize) {
    let line = region.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let len = line.len();
    let src = Src::Shared(region, 0..4096);
    (src, len)
}
