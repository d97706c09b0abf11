//@ E0594
use sitar_io::{Region, RegionMut, SendBuf};

pub fn body(mut region: RegionMut) -> (Region, SendBuf) {
    region[0] = b'<';
    let shared = region.freeze();
    let mine = shared.clone();
    mine[1] = b'!'; //~
    (mine, SendBuf::Shared(shared, 0..4096))
}
