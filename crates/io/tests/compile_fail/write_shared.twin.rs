//@ compiles
use sitar_io::{Region, RegionMut, Src};

pub fn body(mut region: RegionMut) -> (Region, Src) {
    region[0] = b'<';
    region[1] = b'!';
    let shared = region.freeze();
    let mine = shared.clone();
    (mine, Src::Shared(shared, 0..4096))
}
