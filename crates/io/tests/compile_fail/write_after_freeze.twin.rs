//@ compiles
use sitar_io::{Region, RegionMut};

pub fn publish(mut region: RegionMut) -> Region {
    region[0] = b'!';
    let shared = region.freeze();
    shared
}
