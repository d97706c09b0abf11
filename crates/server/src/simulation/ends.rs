//! Each way in which a connection can end, and the reason that is counted for it.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fs;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use sitar_http::h2::{PREFACE, testing};
use sitar_io::Key;
use sitar_io::sim::{Faults, Next, Stream, World};
use sitar_site::Site;

use super::lab::fixture;
use super::served::{Served, serve};
use crate::shard::{FIRST_KEY, Shard};
use crate::stop::Stop;
use crate::{Counts, Ends, Limits};

/// A step of a client's script. All the while it reads what comes.
#[derive(Clone)]
enum Act {
    Say(Vec<u8>),
    Wait(Duration),
    /// Over TLS: goes through the handshake.
    Handshake,
    Finish,
    Reset,
    /// Asks the server to stop.
    Stop,
    /// Waits for the first bytes of an answer.
    Await,
    /// Reads nothing more.
    Stall,
    /// Cuts a file of the site off.
    Truncate(PathBuf),
}

fn say(text: &str) -> Act {
    Act::Say(text.as_bytes().to_vec())
}

const SECOND: Duration = Duration::from_secs(1);
const GET: &str = "GET /tiny.txt HTTP/1.1\r\nHost: a\r\n\r\n";

struct Client {
    stream: Option<Stream>,
    acts: VecDeque<Act>,
    tls: rustls::ClientConnection,
    received: Rc<RefCell<Vec<u8>>>,
    stop: Stop,
    stalled: bool,
}

impl Client {
    fn act(&mut self, world: &World) -> Next {
        let Some(stream) = &mut self.stream else { return Next::Done };
        let mut buf = [0; 4096];
        while !self.stalled {
            match stream.read(&mut buf) {
                Ok(0) => return self.leave(),
                Ok(count) => {
                    self.received.borrow_mut().extend(&buf[..count]);
                    if let Some(Act::Handshake) = self.acts.front() {
                        self.tls.read_tls(&mut &buf[..count]).unwrap();
                        self.tls.process_new_packets().unwrap();
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                Err(_) => return self.leave(),
            }
        }
        while let Some(act) = self.acts.pop_front() {
            match act {
                Act::Say(bytes) => stream.write_all(&bytes).unwrap(),
                Act::Wait(time) => return Next::At(world.now() + time),
                Act::Handshake => {
                    let mut out = Vec::new();
                    while self.tls.wants_write() {
                        self.tls.write_tls(&mut out).unwrap();
                    }
                    stream.write_all(&out).unwrap();
                    if self.tls.is_handshaking() {
                        self.acts.push_front(Act::Handshake);
                        return Next::News;
                    }
                }
                Act::Finish => stream.finish(),
                Act::Reset => {
                    let stream = self.stream.take().unwrap();
                    stream.reset();
                    return Next::Done;
                }
                Act::Stop => self.stop.more(),
                Act::Await if self.received.borrow().is_empty() => {
                    self.acts.push_front(Act::Await);
                    return Next::News;
                }
                Act::Await => {}
                Act::Stall => {
                    self.stalled = true;
                    return Next::News;
                }
                Act::Truncate(path) => {
                    fs::File::options().write(true).open(path).unwrap().set_len(3).unwrap();
                }
            }
        }
        Next::News
    }

    fn leave(&mut self) -> Next {
        self.stream = None;
        Next::Done
    }
}

/// Has clients do something with a server, until all connections have ended. Returns what was
/// counted, and what each of the clients received.
fn run(tls: bool, limits: Limits, clients: &[Vec<Act>]) -> (Counts, Vec<Vec<u8>>) {
    run_site(&fixture().sites()[0], tls, limits, clients)
}

fn run_site(site: &Arc<Site>, tls: bool, limits: Limits, clients: &[Vec<Act>]) -> (Counts, Vec<Vec<u8>>) {
    let fixture = fixture();
    let world = World::with(7, Faults::none());
    let Served { mut shard, mut loader_worker, stop, .. } = serve(&world, site, tls, limits);
    let mut received = Vec::new();
    for acts in clients {
        let bytes = Rc::new(RefCell::new(Vec::new()));
        received.push(Rc::clone(&bytes));
        let name = "localhost".try_into().unwrap();
        let mut client = Client {
            stream: Some(world.connect(Key(FIRST_KEY))),
            acts: acts.clone().into(),
            tls: rustls::ClientConnection::new(Arc::clone(&fixture.client), name).unwrap(),
            received: bytes,
            stop: stop.clone(),
            stalled: false,
        };
        world.script(move |world| client.act(world));
    }
    let over = Rc::new(Cell::new(false));
    let is_over = Rc::clone(&over);
    world.script(move |world| {
        while loader_worker.work_once() {}
        if is_over.get() { Next::Done } else { Next::At(world.now() + Duration::from_millis(20)) }
    });
    let ended = |shard: &Shard<_>| shard.counts().ends.sum() == clients.len() as u64;
    for _ in 0..100_000 {
        if stop.is_asked() {
            shard.run().unwrap();
            break;
        }
        if ended(&shard) {
            break;
        }
        shard.turn().unwrap();
    }
    over.set(true);
    assert!(ended(&shard), "{:?}", shard.counts());
    let received = received.iter().map(|bytes| bytes.borrow().clone()).collect();
    (shard.counts(), received)
}

/// The reason of the only connection's end.
fn ends(tls: bool, acts: Vec<Act>) -> Ends {
    run(tls, Limits::default(), &[acts]).0.ends
}

#[test]
fn each_end_has_its_reason() {
    let plain = |acts| ends(false, acts);
    let done = Ends { finished: 1, ..Ends::default() };
    let left = Ends { peer_left: 1, ..Ends::default() };
    let fault = Ends { peer_faults: 1, ..Ends::default() };
    // Done: the client asks for the end, or closes an idle connection.
    assert_eq!(plain(vec![say("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")]), done);
    assert_eq!(plain(vec![say(GET), Act::Wait(SECOND), Act::Finish]), done);
    // The peer: a reset, an end in the middle of a request, a request that breaks the rules.
    assert_eq!(plain(vec![say("GET / HT"), Act::Wait(SECOND), Act::Reset]), left);
    assert_eq!(plain(vec![say("GET / HT"), Act::Wait(SECOND), Act::Finish]), left);
    assert_eq!(plain(vec![say("GET / HTTP/1.1\r\n\r\n")]), fault);
    // A record that cannot be opened, and what is no TLS.
    let broken = [&[23, 3, 3, 0, 32][..], &[0xaa; 32]].concat();
    assert_eq!(ends(true, vec![Act::Handshake, Act::Wait(SECOND), Act::Say(broken)]), fault);
    assert_eq!(ends(true, vec![Act::Say(b"\x16\x03\x01\x00\x05\xff\xff\xff\xff\xff".to_vec())]), fault);
    // Deadlines.
    let late = Ends { handshake_timeouts: 1, ..Ends::default() };
    assert_eq!(ends(true, vec![]), late);
    let late = Ends { request_timeouts: 1, ..Ends::default() };
    assert_eq!(plain(vec![say("GET / HT")]), late);
    let late = Ends { idle_timeouts: 1, ..Ends::default() };
    assert_eq!(plain(vec![]), late);
    assert_eq!(plain(vec![say(GET)]), late);
    // The operator.
    let drained = Ends { drained: 1, ..Ends::default() };
    assert_eq!(plain(vec![say(GET), Act::Wait(SECOND), Act::Stop]), drained);
}

#[test]
fn load_that_is_shed_is_counted_as_such() {
    let limits = Limits { held_max: 16 << 10, ..Limits::default() };
    let part = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "x".repeat(3000));
    let clients = vec![vec![say(&part)]; 4];
    let Counts { ends, shed, .. } = run(false, limits, &clients).0;
    assert!(ends.no_room > 0 && ends.no_room == shed, "{ends:?}");
    assert_eq!(ends.no_room + ends.request_timeouts, 4, "{ends:?}");
}

/// A stop that does not wait any longer, because its time is over or it was asked for again, counts
/// the connections that it cuts off.
#[test]
fn what_a_stop_cuts_off_is_counted_as_the_operators() {
    let drained = Ends { drained: 1, ..Ends::default() };
    let limits = Limits { drain: SECOND, ..Limits::default() };
    let half = vec![say("GET / HT"), Act::Wait(SECOND), Act::Stop];
    assert_eq!(run(false, limits, &[half]).0.ends, drained);
    let twice = vec![say("GET / HT"), Act::Wait(SECOND), Act::Stop, Act::Stop];
    assert_eq!(run(false, Limits::default(), &[twice]).0.ends, drained);
}

#[test]
fn a_connection_without_a_place_is_counted_too() {
    let limits = Limits { connections: 1, ..Limits::default() };
    let Counts { accepted, ends, .. } = run(false, limits, &[vec![], vec![], vec![]]).0;
    assert_eq!(accepted, 3);
    assert_eq!(ends, Ends { idle_timeouts: 1, no_room: 2, ..Ends::default() });
}

/// The file is too large for memory, and cut off when its first bytes have arrived.
#[test]
fn an_answer_whose_file_is_changed_is_incomplete() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large.bin");
    fs::File::create(&path).unwrap().write_all(&vec![7; 8 << 20]).unwrap();
    let site = Arc::new(Site::open(folder.path(), &sitar_site::Options::default()).unwrap());
    let get = say("GET /large.bin HTTP/1.1\r\nHost: a\r\n\r\n");
    let acts = vec![get, Act::Await, Act::Truncate(path)];
    let (counts, received) = run_site(&site, false, Limits::default(), &[acts]);
    assert_eq!(counts.ends, Ends { incomplete: 1, ..Ends::default() });
    assert!(received[0].starts_with(b"HTTP/1.1 200 ") && received[0].len() < 8 << 20);
}

/// The end was begun with the head of the answer, because nothing more will be asked; what breaks
/// the answer off is the reason all the same.
#[test]
fn an_end_that_was_begun_hides_no_reason() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large.bin");
    fs::File::create(&path).unwrap().write_all(&vec![7; 8 << 20]).unwrap();
    let site = Arc::new(Site::open(folder.path(), &sitar_site::Options::default()).unwrap());
    let get = "GET /large.bin HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let ends = |limits, acts: Vec<Act>| run_site(&site, false, limits, &[acts]).0.ends;
    // Nothing is read after the first bytes.
    let stalled = || vec![say(get), Act::Stall];
    let late = Ends { send_timeouts: 1, ..Ends::default() };
    assert_eq!(ends(Limits::default(), stalled()), late);
    let left = Ends { peer_left: 1, ..Ends::default() };
    assert_eq!(ends(Limits::default(), vec![say(get), Act::Await, Act::Reset]), left);
    // A stop begins no end here, and cuts this one off.
    let drained = Ends { drained: 1, ..Ends::default() };
    let limits = Limits { drain: SECOND, ..Limits::default() };
    assert_eq!(ends(limits, vec![say(get), Act::Await, Act::Stop, Act::Stall]), drained);
    let done = Ends { finished: 1, ..Ends::default() };
    assert_eq!(ends(Limits::default(), vec![say(get)]), done);
    // The last, since it changes the file.
    let cut = vec![say(get), Act::Await, Act::Truncate(path)];
    assert_eq!(ends(Limits::default(), cut), Ends { incomplete: 1, ..Ends::default() });
}

/// Pings that are answered in vain, until the server has had enough of them.
#[test]
fn a_flood_is_the_peers_fault_and_counted_as_calmed() {
    let settings = testing::frame(4, 0, 0, &[]);
    let pings = testing::frame(6, 0, 0, &[0; 8]).repeat(1000);
    let acts = vec![Act::Say([&PREFACE[..], &settings, &pings].concat())];
    let (counts, received) = run(false, Limits::default(), &[acts]);
    assert_eq!((counts.calmed, counts.ends), (1, Ends { peer_faults: 1, ..Ends::default() }));
    // The last frame is GOAWAY with ENHANCE_YOUR_CALM.
    assert!(received[0].windows(4).any(|code| code == [0, 0, 0, 11]), "{received:?}");
}

/// Nothing that comes after a failed handshake is taken for plain text, and only the alert goes
/// out.
#[test]
fn a_failed_handshake_is_never_plain_text() {
    let garbage = b"\x16\x03\x01\x00\x05\xff\xff\xff\xff\xff";
    let together = [&garbage[..], GET.as_bytes()].concat();
    let later =
        vec![Act::Say(garbage.to_vec()), say(GET), Act::Wait(SECOND), say(GET), Act::Wait(SECOND), say(GET)];
    for acts in [vec![Act::Say(together)], later] {
        let (counts, received) = run(true, Limits::default(), &[acts]);
        assert_eq!((counts.requests, counts.handshakes), (0, 0));
        assert_eq!(received[0][..5], [21, 3, 3, 0, 2], "an alert: {:?}", received[0]);
        assert_eq!(received[0].len(), 7, "and nothing else: {:?}", received[0]);
    }
    // HTTP on the port of HTTPS: one refusal, whatever else is asked.
    let acts = vec![say(GET), Act::Wait(SECOND), say(GET)];
    let (counts, received) = run(true, Limits::default(), &[acts]);
    let text = String::from_utf8(received[0].clone()).unwrap();
    assert_eq!((counts.requests, counts.handshakes, text.matches("HTTP/1.1 ").count()), (1, 0, 1), "{text}");
    assert!(text.starts_with("HTTP/1.1 400 "), "{text}");
}
