//@ compiles
use sitar_io::{Busy, Conn, OpId, Region, Ring, SendBuf, Uring};

pub fn body(ring: &mut Ring<Uring>, conn: &Conn, region: Region) -> Result<OpId, Busy<SendBuf>> {
    let op = ring.send(conn, SendBuf::Shared(region.clone(), 0..4096), 0)?;
    drop(region);
    Ok(op)
}
