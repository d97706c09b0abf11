//@ compiles
use sitar_io::{Busy, Conn, OpId, Region, Ring, Src, Uring};

pub fn body(ring: &mut Ring<Uring>, conn: &Conn, region: Region) -> Result<OpId, Busy<Src>> {
    let op = ring.send(conn, Src::Shared(region.clone(), 0..4096), 0)?;
    drop(region);
    Ok(op)
}
