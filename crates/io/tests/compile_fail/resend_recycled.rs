//@ E0308
use sitar_io::{Busy, Conn, Event, Ring, Uring};

pub fn send_rest(ring: &mut Ring<Uring>, conn: &Conn, event: Event) -> Result<(), Busy> {
    if let Event::Sent { buf: rest, result: Ok(sent), .. } = event {
        ring.send(conn, rest, sent).map_err(|_| Busy(()))?; //~
    }
    Ok(())
}
