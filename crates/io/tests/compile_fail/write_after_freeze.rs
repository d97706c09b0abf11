//@ E0382
use sitar_io::{Region, RegionMut};

pub fn publish(mut region: RegionMut) -> Region {
    let shared = region.freeze();
    region[0] = b'!'; //~
    shared
}
