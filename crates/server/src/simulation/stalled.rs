//! A full table of peers that take nothing of what they have asked for.

use std::cell::Cell;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;
use std::time::Duration;

use sitar_http::h2::{PREFACE, testing};
use sitar_io::Key;
use sitar_io::sim::{Faults, Next, Stream, World};

use super::lab::fixture;
use super::served::{Served, serve};
use crate::Limits;
use crate::shard::FIRST_KEY;

fn connect(world: &World, host: u8) -> Stream {
    world.connect_from(IpAddr::V4(Ipv4Addr::new(192, 0, 2, host)), Key(FIRST_KEY))
}

/// Whether the answer has come; an error when the connection is over.
fn is_answered(stream: &mut Stream) -> std::io::Result<bool> {
    let mut buf = [0; 4096];
    match stream.read(&mut buf) {
        Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
        Ok(count) => Ok(buf[..count].starts_with(b"HTTP/1.1 200 ")),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(error),
    }
}

/// Returns after how many seconds a newcomer is served while peers that say `words` stay.
fn served_after(words: &[u8]) -> u64 {
    let world = World::with(7, Faults::none());
    let hour = Duration::from_secs(3600);
    let limits = Limits { connections: 4, send: hour, ..Limits::default() };
    let Served { mut shard, mut loader_worker, .. } = serve(&world, &fixture().sites()[0], false, limits);
    let served = Rc::new(Cell::new(None));
    let (words, is_served) = (words.to_vec(), Rc::clone(&served));
    let (mut stalled, mut newcomer, start) = (Vec::new(), None, world.now());
    world.script(move |world| {
        if stalled.is_empty() {
            for host in 0..4 {
                let mut stream = connect(world, host);
                stream.write_all(&words).unwrap();
                stalled.push(stream);
            }
            return Next::At(world.now() + Duration::from_secs(1));
        }
        let stream = newcomer.get_or_insert_with(|| {
            let mut stream = connect(world, 9);
            stream.write_all(b"GET /tiny.txt HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
            stream
        });
        match is_answered(stream) {
            Ok(true) => {
                is_served.set(Some((world.now() - start).as_secs()));
                return Next::Done;
            }
            Ok(false) => {}
            Err(_) => newcomer = None,
        }
        Next::At(world.now() + Duration::from_millis(200))
    });
    world.script(move |world| {
        while loader_worker.work_once() {}
        Next::At(world.now() + Duration::from_millis(20))
    });
    while served.get().is_none() && world.age() < hour {
        shard.turn().unwrap();
    }
    served.get().expect("never served")
}

#[test]
fn a_peer_that_takes_nothing_leaves_its_place_in_a_full_table() {
    let seconds = served_after(b"GET /k300.bin HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!((10..=30).contains(&seconds), "after {seconds} s");
}

#[test]
fn so_does_one_of_http_2_that_opens_no_window() {
    let mut words = PREFACE.to_vec();
    // SETTINGS_INITIAL_WINDOW_SIZE of 0 (RFC 9113 §6.5.2).
    words.extend(testing::frame(4, 0, 0, &[0, 4, 0, 0, 0, 0]));
    // GET http://a/k300.bin: HEADERS with END_STREAM and END_HEADERS, indexed and literal fields
    // (RFC 7541 §6).
    let block = b"\x82\x86\x41\x01a\x44\x09/k300.bin";
    words.extend(testing::frame(1, 5, 1, block));
    let seconds = served_after(&words);
    assert!((10..=30).contains(&seconds), "after {seconds} s");
}
