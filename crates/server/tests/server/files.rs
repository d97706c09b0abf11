//! Files that are sent from a descriptor of their own: how many a connection may have open, which
//! requests wait for one, and that all are given back.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use sitar_http::h2::PREFACE;
use sitar_http::h2::testing::{Hpack, frame};
use sitar_server::{BodyMemory, Limits};

use crate::harness::{Engine, Server, answer, get, small};

crate::on_every_engine! {
    one_connection_has_a_few_files_open_and_the_others_wait,
    places_come_back_with_a_reset_and_with_a_goodbye,
    a_stalled_file_keeps_no_others_from_its_own_connection,
    with_no_place_left_each_connection_has_one_file,
    one_file_takes_one_place_however_often_it_is_sent,
    those_that_hold_most_give_way_when_others_wait,
    stalled_peers_give_way_when_no_file_can_be_opened,
    requests_for_files_that_cannot_be_opened_wait_and_are_answered,
}

const PATIENCE: Duration = Duration::from_secs(30);
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const LEN: usize = 20_000;

fn content(number: usize) -> Vec<u8> {
    (0..LEN).map(|at| (at % 251 + number) as u8).collect()
}

/// Files that are never in memory, and one that is.
fn site(folder: &Path) {
    for number in 0..100 {
        fs::write(folder.join(format!("{number}.bin")), content(number)).unwrap();
    }
    fs::write(folder.join("small.txt"), "hello\n").unwrap();
}

fn server(engine: Engine, limits: Limits) -> Server {
    Server::over(engine, limits, false, BodyMemory::new(1000, 1000), site)
}

fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "still waiting for {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

#[derive(Debug, Default)]
struct Answer {
    status: Vec<u8>,
    body: Vec<u8>,
    is_whole: bool,
}

/// A client of HTTP/2 whose streams have no window until it opens one.
struct Client {
    stream: TcpStream,
    next: u32,
    hpack: Hpack,
    answers: BTreeMap<u32, Answer>,
    pongs: usize,
}

impl Client {
    fn new(server: &Server) -> Client {
        let mut stream = server.connect();
        let window = [&[0, 4][..], &[0; 4]].concat();
        let all = (1_u32 << 30).to_be_bytes();
        let wire = [&PREFACE[..], &frame(SETTINGS, 0, 0, &window), &frame(WINDOW_UPDATE, 0, 0, &all)];
        stream.write_all(&wire.concat()).unwrap();
        Client { stream, next: 1, hpack: Hpack::default(), answers: BTreeMap::new(), pongs: 0 }
    }

    fn send(&mut self, kind: u8, stream: u32, payload: &[u8]) {
        self.stream.write_all(&frame(kind, 0, stream, payload)).unwrap();
    }

    /// Asks for a path; returns the stream.
    fn ask(&mut self, path: &str) -> u32 {
        let mut block = b"\x82\x86\x01\x09localhost\x04".to_vec();
        block.push(path.len() as u8);
        block.extend(path.as_bytes());
        let stream = self.next;
        self.next += 2;
        // END_HEADERS and END_STREAM.
        self.stream.write_all(&frame(HEADERS, 5, stream, &block)).unwrap();
        stream
    }

    fn ask_for(&mut self, files: impl IntoIterator<Item = usize>) -> Vec<u32> {
        files.into_iter().map(|number| self.ask(&format!("/{number}.bin"))).collect()
    }

    /// Lets a stream send all that it has.
    fn open(&mut self, stream: u32) {
        self.send(WINDOW_UPDATE, stream, &(1_u32 << 20).to_be_bytes());
    }

    fn reset(&mut self, stream: u32) {
        self.send(RST_STREAM, stream, &8_u32.to_be_bytes());
        self.answers.remove(&stream);
    }

    /// Reads one frame.
    fn read(&mut self) {
        let mut head = [0; 9];
        self.stream.read_exact(&mut head).unwrap();
        let [a, b, c, kind, flags, id @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        self.stream.read_exact(&mut payload).unwrap();
        let stream = u32::from_be_bytes([id[0], id[1], id[2], id[3]]);
        match kind {
            HEADERS => {
                let list = self.hpack.decode(&payload).unwrap();
                self.answers.entry(stream).or_default().status = list[0].1.clone();
            }
            DATA => self.answers.get_mut(&stream).unwrap().body.extend(payload),
            SETTINGS if flags & ACK == 0 => {
                self.stream.write_all(&frame(SETTINGS, ACK, 0, &[])).unwrap();
            }
            PING => self.pongs += 1,
            SETTINGS | WINDOW_UPDATE => {}
            kind => panic!("a frame of kind {kind}: {payload:?}"),
        }
        if matches!(kind, HEADERS | DATA) && flags & END_STREAM != 0 {
            self.answers.get_mut(&stream).unwrap().is_whole = true;
        }
    }

    /// Reads until these streams have their heads.
    fn heads(&mut self, streams: &[u32]) {
        while !streams.iter().all(|stream| self.answers.contains_key(stream)) {
            self.read();
        }
    }

    /// Reads all that is answered to what has been sent until now without waiting for anything.
    fn settle(&mut self) {
        let pongs = self.pongs;
        self.send(PING, 0, &[0; 8]);
        while self.pongs == pongs {
            self.read();
        }
    }

    /// Opens the windows of these streams and reads their answers, which are these files.
    fn finish(&mut self, streams: &[u32], files: impl IntoIterator<Item = usize>) {
        for stream in streams {
            self.open(*stream);
        }
        for (stream, number) in streams.iter().zip(files) {
            while !self.answers.get(stream).is_some_and(|answer| answer.is_whole) {
                self.read();
            }
            let answer = &self.answers[stream];
            assert!(answer.status == b"200" && answer.body == content(number), "{number}");
        }
    }
}

/// Files that are open.
fn open_files(server: &Server, limits: &Limits) -> usize {
    limits.files_open + limits.files_sent - server.worker.memory().files_left()
}

fn one_connection_has_a_few_files_open_and_the_others_wait(engine: Engine) {
    // More than are loaded at a time, so that none is closed before its turn.
    let limits = Limits { files_open: 16, ..small() };
    let server = server(engine, limits.clone());
    let mut client = Client::new(&server);
    let streams = client.ask_for(0..99);
    client.heads(&streams[..9]);
    // All of them have been loaded, and none has a head: what is sent later is read.
    let last = client.ask("/small.txt");
    client.heads(&[last]);
    for _ in 0..10 {
        client.settle();
    }
    assert_eq!(client.answers.len(), 9 + 1);
    assert!(open_files(&server, &limits) <= 9 + 16 + 1);
    // Each that ends makes room for the next, in order.
    for nth in 0..20 {
        client.finish(&streams[nth..=nth], [nth]);
        client.heads(&streams[..9 + nth + 1]);
        assert!(client.answers.len() <= 9 + nth + 2, "{}", client.answers.len());
    }
    client.finish(&streams, 0..99);
    drop(client);
    eventually("the files to be closed", || open_files(&server, &limits) <= 16);
    assert_eq!(server.stop().shed, 0);
}

fn places_come_back_with_a_reset_and_with_a_goodbye(engine: Engine) {
    let limits = Limits { files_open: 4, files_spare: 1, ..small() };
    let server = server(engine, limits.clone());
    // `take` has the only place, gives it back in some way, and another client gets it.
    let ways: [fn(&mut Client, u32); 4] = [
        |client, stream| client.reset(stream),
        |client, _| client.stream.shutdown(std::net::Shutdown::Both).unwrap(),
        // A window that is too large is an error of the stream.
        |client, stream| {
            for _ in 0..2 {
                client.send(WINDOW_UPDATE, stream, &((1_u32 << 31) - 1).to_be_bytes());
            }
        },
        // GOAWAY alone ends nothing, and neither does it hold anything.
        |client, stream| {
            client.send(GOAWAY, 0, &[0; 8]);
            client.open(stream);
        },
    ];
    for (number, way) in ways.into_iter().enumerate() {
        let mut holder = Client::new(&server);
        let held = holder.ask_for([0, 1]);
        holder.heads(&held);
        let mut other = Client::new(&server);
        let wanted = other.ask_for([10 + 2 * number, 11 + 2 * number]);
        other.heads(&wanted[..1]);
        other.settle();
        assert_eq!(other.answers.len(), 1);
        way(&mut holder, held[1]);
        other.heads(&wanted);
        other.finish(&wanted, [10 + 2 * number, 11 + 2 * number]);
    }
    eventually("the files to be closed", || open_files(&server, &limits) <= 4);
}

fn a_stalled_file_keeps_no_others_from_its_own_connection(engine: Engine) {
    for files_spare in [1, 64] {
        let server = server(engine, Limits { files_spare, ..small() });
        let mut client = Client::new(&server);
        let streams = client.ask_for(0..4);
        client.finish(&streams[1..], 1..4);
        client.finish(&streams, 0..4);
    }
}

fn with_no_place_left_each_connection_has_one_file(engine: Engine) {
    let server = server(engine, Limits { files_spare: 0, ..small() });
    let mut clients: Vec<Client> = (0..5).map(|_| Client::new(&server)).collect();
    let asked: Vec<Vec<u32>> = clients
        .iter_mut()
        .enumerate()
        .map(|(nth, client)| client.ask_for((0..10).map(|file| nth * 10 + file)))
        .collect();
    for (client, streams) in clients.iter_mut().zip(&asked) {
        client.heads(&streams[..1]);
    }
    for (nth, (client, streams)) in clients.iter_mut().zip(&asked).enumerate() {
        client.settle();
        assert_eq!(client.answers.len(), 1);
        client.finish(streams, nth * 10..);
    }
}

fn one_file_takes_one_place_however_often_it_is_sent(engine: Engine) {
    let server = server(engine, Limits { files_spare: 0, ..small() });
    let mut client = Client::new(&server);
    let streams = client.ask_for([7; 20]);
    client.heads(&streams);
    client.finish(&streams, [7; 20]);
}

/// Two peers hold all places beyond one file for each connection, and take nothing.
fn those_that_hold_most_give_way_when_others_wait(engine: Engine) {
    let server = server(engine, Limits { files_spare: 2, ..small() });
    let mut clients: Vec<Client> = (0..4).map(|_| Client::new(&server)).collect();
    let mut held = Vec::new();
    for (nth, client) in clients.iter_mut().enumerate() {
        let (asked, answered) = [(2, 2), (2, 2), (1, 1), (2, 1)][nth];
        let streams = client.ask_for((0..asked).map(|file| nth * 2 + file));
        client.heads(&streams[..answered]);
        held.push(streams);
    }
    // One of the two had to go.
    clients[3].heads(&held[3]);
    clients[3].finish(&held[3], 6..);
    clients[2].finish(&held[2], 4..);
    assert_eq!(server.stop().shed, 1);
}

/// Peers that take nothing and hold all descriptors, in both protocols.
fn stalled_peers_give_way_when_no_file_can_be_opened(engine: Engine) {
    let limits = Limits { files_open: 2, files_sent: 4, files_spare: 2, ..small() };
    let large = |folder: &Path| {
        site(folder);
        for number in 0..3 {
            // More than the sockets of a stalled connection take.
            let file = fs::File::create(folder.join(format!("large{number}"))).unwrap();
            file.set_len(64 << 20).unwrap();
        }
    };
    let server = Server::over(engine, limits, false, BodyMemory::new(1000, 1000), large);
    let mut clients: Vec<Client> = (0..2).map(|_| Client::new(&server)).collect();
    for (nth, client) in clients.iter_mut().enumerate() {
        client.ask_for([20 + 2 * nth, 21 + 2 * nth]);
        while client.answers.is_empty() {
            client.read();
        }
    }
    let readers: Vec<TcpStream> = (0..3)
        .map(|number| {
            let mut stream = server.connect_narrow();
            stream.write_all(&get(&format!("/large{number}"))).unwrap();
            stream
        })
        .collect();
    for number in 0..20 {
        let mut stream = server.connect();
        stream.write_all(&get(&format!("/{number}.bin"))).unwrap();
        assert!(answer(&mut stream) == (200, content(number)), "{number}");
    }
    drop((clients, readers));
    assert!(server.stop().shed >= 1);
    assert_eq!(*server.incidents.lock().unwrap(), [""; 0]);
}

fn requests_for_files_that_cannot_be_opened_wait_and_are_answered(engine: Engine) {
    let limits = Limits { files_open: 1, files_sent: 2, ..small() };
    let server = server(engine, limits.clone());
    thread::scope(|scope| {
        for nth in 0..4 {
            let server = &server;
            scope.spawn(move || {
                let mut client = Client::new(server);
                let files = (0..25).map(|file| (file * 4 + nth) % 100);
                let streams = client.ask_for(files.clone());
                client.finish(&streams, files);
            });
            scope.spawn(move || {
                for number in nth * 20..nth * 20 + 20 {
                    let mut stream = server.connect();
                    stream.write_all(&get(&format!("/{number}.bin"))).unwrap();
                    assert!(answer(&mut stream) == (200, content(number)), "{number}");
                }
            });
        }
    });
    eventually("the files to be closed", || open_files(&server, &limits) <= 1);
    assert_eq!(*server.incidents.lock().unwrap(), [""; 0]);
}
