//@ compiles
use sitar_io::{Region, RegionMut, SendBuf};

pub fn body(mut region: RegionMut) -> (Region, SendBuf) {
    region[0] = b'<';
    region[1] = b'!';
    let shared = region.freeze();
    let mine = shared.clone();
    (mine, SendBuf::Shared(shared, 0..4096))
}
