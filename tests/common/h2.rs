//! A client of HTTP/2 over rustls or plain TCP: frames written by hand, no cleverness, so that what
//! is measured is the server.

use super::client::{self, Response, broken, socket};
use super::{Server, eventually, signal};
use rustix::process::Signal;
use rustls::ClientConfig;
use sitar_http::h2::PREFACE;
use sitar_http::h2::testing::Hpack;
pub(crate) use sitar_http::h2::testing::frame;
use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;

// RFC 9113 §6: kinds of frames, flags.
pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
/// SETTINGS_INITIAL_WINDOW_SIZE.
const INITIAL_WINDOW: u16 = 4;
/// The size of a window until a peer changes it (§6.9.2), and the most that it may be here.
const WINDOW: u32 = 65_535;
pub(crate) const WINDOW_MAX: u32 = (1 << 31) - 1;

/// A frame as it came.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

trait Wire: Read + Write + Send {}
impl<T: Read + Write + Send> Wire for T {}

/// A connection whose preface has been sent.
pub(crate) struct Client {
    wire: Box<dyn Wire>,
    /// Received and not yet given out: `held[used..]`.
    held: Vec<u8>,
    used: usize,
    hpack: Hpack,
    next_stream: u32,
    /// Bytes that the server may send on each stream before it hears of more; kept at that.
    window: u32,
    /// Bytes that it may still send on all of them together.
    left: u32,
    begun: BTreeMap<u32, Response>,
    whole: BTreeMap<u32, Response>,
    /// Whether it has said that it will answer no more than what it has.
    pub(crate) left_by_server: bool,
}

/// The same as for HTTP/1.1, but that `h2` is offered.
pub(crate) fn config(server: &Server) -> Arc<ClientConfig> {
    let mut config = ClientConfig::clone(&client::config(server));
    config.alpn_protocols = vec![b"h2".to_vec()];
    Arc::new(config)
}

impl Client {
    pub(crate) fn connect(server: &Server) -> Client {
        Client::open(&config(server), server.address(), WINDOW_MAX).unwrap()
    }

    /// Connects over TLS; `window` is how much may be under way on each stream.
    pub(crate) fn open(config: &Arc<ClientConfig>, address: SocketAddr, window: u32) -> io::Result<Client> {
        Client::over(client::Client::open(config, address)?, window)
    }

    /// The same on a connection whose handshake is done.
    pub(crate) fn over(client: client::Client, window: u32) -> io::Result<Client> {
        let stream = client.into_stream();
        if stream.conn.alpn_protocol() != Some(b"h2") {
            return Err(broken("h2 was not agreed on"));
        }
        Client::greet(Box::new(stream), window)
    }

    /// Connects over plain TCP, with prior knowledge (RFC 9113 §3.3).
    pub(crate) fn plain(address: SocketAddr, window: u32) -> io::Result<Client> {
        Client::greet(Box::new(socket(address)?), window)
    }

    fn greet(wire: Box<dyn Wire>, window: u32) -> io::Result<Client> {
        let mut client = Client {
            wire,
            held: Vec::new(),
            used: 0,
            hpack: Hpack::default(),
            next_stream: 1,
            window,
            left: WINDOW_MAX,
            begun: BTreeMap::new(),
            whole: BTreeMap::new(),
            left_by_server: false,
        };
        let setting = [&INITIAL_WINDOW.to_be_bytes()[..], &window.to_be_bytes()].concat();
        let more = (WINDOW_MAX - WINDOW).to_be_bytes();
        client.send(
            &[&PREFACE[..], &frame(SETTINGS, 0, 0, &setting), &frame(WINDOW_UPDATE, 0, 0, &more)].concat(),
        )?;
        Ok(client)
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.wire.write_all(bytes)?;
        self.wire.flush()
    }

    /// A request without content, as bytes to be sent, and its stream.
    pub(crate) fn ask(&mut self, method: &str, path: &str, fields: &[(&str, &str)]) -> (u32, Vec<u8>) {
        // :scheme https; :authority localhost. Literals without indexing, not Huffman-coded (RFC
        // 7541 §6.2.2).
        let block = b"\x87\x01\x09localhost".to_vec();
        let pseudo = [(":method", method), (":path", path)];
        self.ask_with(block, &[&pseudo, fields].concat())
    }

    /// A request for another host, with these fields behind its scheme.
    pub(crate) fn ask_for(&mut self, fields: &[(&str, &str)]) -> (u32, Vec<u8>) {
        self.ask_with(b"\x87".to_vec(), fields)
    }

    fn ask_with(&mut self, mut block: Vec<u8>, fields: &[(&str, &str)]) -> (u32, Vec<u8>) {
        for (name, value) in fields.iter().copied() {
            block.push(0);
            for text in [name, value] {
                // RFC 7541 §5.1, a prefix of seven bits.
                let mut len = text.len();
                if len < 127 {
                    block.push(u8::try_from(len).unwrap());
                } else {
                    block.push(127);
                    len -= 127;
                    while len >= 128 {
                        block.push(u8::try_from(len % 128).unwrap() | 128);
                        len /= 128;
                    }
                    block.push(u8::try_from(len).unwrap());
                }
                block.extend(text.as_bytes());
            }
        }
        let stream = self.next_stream;
        self.next_stream += 2;
        (stream, frame(HEADERS, END_HEADERS | END_STREAM, stream, &block))
    }

    pub(crate) fn request(
        &mut self,
        method: &str,
        path: &str,
        fields: &[(&str, &str)],
    ) -> io::Result<Response> {
        let (stream, bytes) = self.ask(method, path, fields);
        self.send(&bytes)?;
        let mut answers = self.answers(&[stream])?;
        answers.remove(&stream).ok_or_else(|| broken("no answer"))
    }

    pub(crate) fn get(&mut self, path: &str) -> io::Result<Response> {
        self.request("GET", path, &[])
    }

    /// Sends a request for each path in one piece, and reads the answers, in the order of the
    /// paths.
    pub(crate) fn get_all(&mut self, paths: &[&str], fields: &[(&str, &str)]) -> io::Result<Vec<Response>> {
        let mut wire = Vec::new();
        let mut streams = Vec::new();
        for path in paths {
            let (stream, bytes) = self.ask("GET", path, fields);
            wire.extend(bytes);
            streams.push(stream);
        }
        self.send(&wire)?;
        Ok(self.answers(&streams)?.into_values().collect())
    }

    /// Reads until these streams have been answered whole.
    pub(crate) fn answers(&mut self, streams: &[u32]) -> io::Result<BTreeMap<u32, Response>> {
        while !streams.iter().all(|stream| self.whole.contains_key(stream)) {
            self.go_on()?;
        }
        let whole = streams.iter().filter_map(|stream| Some((*stream, self.whole.remove(stream)?)));
        Ok(whole.collect())
    }

    /// Returns the answers that have come whole and were not given out.
    pub(crate) fn take_whole(&mut self) -> BTreeMap<u32, Response> {
        std::mem::take(&mut self.whole)
    }

    /// Answers of which the head has come and not yet the end.
    pub(crate) fn begun(&self) -> usize {
        self.begun.len()
    }

    /// Reads one frame.
    pub(crate) fn go_on(&mut self) -> io::Result<()> {
        let Frame { kind, flags, stream, payload } = self.frame()?;
        match kind {
            HEADERS => {
                let whole = flags & END_HEADERS != 0 && stream < self.next_stream;
                let new = !self.begun.contains_key(&stream) && !self.whole.contains_key(&stream);
                if !whole || !new {
                    return Err(broken("a head in pieces, or one too many"));
                }
                let head = self.head(&payload)?;
                self.begun.insert(stream, head);
            }
            DATA => {
                let answer = self.begun.get_mut(&stream).ok_or_else(|| broken("content without a head"))?;
                answer.body.extend(&payload);
                self.grant(stream, flags & END_STREAM != 0, payload.len())?;
            }
            RST_STREAM => return Err(broken("a stream was reset")),
            _ => return Ok(()),
        }
        if flags & END_STREAM != 0 {
            let answer = self.begun.remove(&stream).ok_or_else(|| broken("an end without a head"))?;
            self.whole.insert(stream, answer);
        }
        Ok(())
    }

    /// The next frame. SETTINGS and PING are answered, and still given out.
    pub(crate) fn frame(&mut self) -> io::Result<Frame> {
        let len = u32::from_be_bytes([0, self.byte(0)?, self.byte(1)?, self.byte(2)?]) as usize;
        let kind = self.byte(3)?;
        let flags = self.byte(4)?;
        let stream = u32::from_be_bytes([self.byte(5)?, self.byte(6)?, self.byte(7)?, self.byte(8)?]);
        while self.held.len() < self.used + 9 + len {
            self.fill()?;
        }
        let payload = self.held[self.used + 9..self.used + 9 + len].to_vec();
        self.used += 9 + len;
        match kind {
            SETTINGS if flags & ACK == 0 => self.send(&frame(SETTINGS, ACK, 0, &[]))?,
            PING if flags & ACK == 0 => self.send(&frame(PING, ACK, 0, &payload))?,
            GOAWAY => self.left_by_server = true,
            _ => {}
        }
        Ok(Frame { kind, flags, stream, payload })
    }

    /// Whether the server has ended the connection, and cleanly: behind close_notify, or a FIN in
    /// plain text.
    pub(crate) fn is_ended(&mut self) -> io::Result<bool> {
        loop {
            match self.frame() {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    // What rustls calls by the same name is an end without close_notify; ours has
                    // no text.
                    return Ok(error.get_ref().is_none() && self.held.len() == self.used);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Opens the windows again by what has come.
    fn grant(&mut self, stream: u32, ended: bool, len: usize) -> io::Result<()> {
        let len = u32::try_from(len).unwrap();
        if len == 0 {
            return Ok(());
        }
        self.left -= len;
        let mut wire = Vec::new();
        if !ended && self.window < WINDOW_MAX {
            wire.extend(frame(WINDOW_UPDATE, 0, stream, &len.to_be_bytes()));
        }
        if self.left < WINDOW_MAX / 2 {
            wire.extend(frame(WINDOW_UPDATE, 0, 0, &(WINDOW_MAX - self.left).to_be_bytes()));
            self.left = WINDOW_MAX;
        }
        if wire.is_empty() { Ok(()) } else { self.send(&wire) }
    }

    fn head(&mut self, block: &[u8]) -> io::Result<Response> {
        let list = self.hpack.decode(block).map_err(broken)?;
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).map_err(|_| broken("a field is not UTF-8"));
        let mut fields = Vec::new();
        for (name, value) in list {
            fields.push((text(name)?, text(value)?));
        }
        if fields.is_empty() || fields[0].0 != ":status" {
            return Err(broken("no status"));
        }
        let status = fields.remove(0).1.parse().map_err(|_| broken("the status is no number"))?;
        Ok(Response::new(status, fields))
    }

    fn byte(&mut self, at: usize) -> io::Result<u8> {
        while self.held.len() <= self.used + at {
            self.fill()?;
        }
        Ok(self.held[self.used + at])
    }

    fn fill(&mut self) -> io::Result<()> {
        self.held.drain(..self.used);
        self.used = 0;
        // Read beside, so that ten thousand of these take no more memory than what they hold.
        let mut chunk = [0; 32 * 1024];
        match self.wire.read(&mut chunk)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            len => {
                self.held.extend_from_slice(&chunk[..len]);
                Ok(())
            }
        }
    }
}

/// A load of fixed size on connections that stay open, with a fixed number of streams at a time on
/// each.
pub(crate) struct Load {
    clients: Vec<Client>,
    streams: usize,
    path: &'static str,
    fields: Vec<(&'static str, String)>,
    status: u16,
}

impl Load {
    pub(crate) fn new(
        server: &Server,
        connections: usize,
        streams: usize,
        path: &'static str,
        conditional: bool,
    ) -> Load {
        let config = config(server);
        let mut clients: Vec<Client> =
            (0..connections).map(|_| Client::open(&config, server.address(), WINDOW_MAX).unwrap()).collect();
        let first = clients[0].get(path).unwrap();
        assert_eq!(first.status, 200);
        let mut load = Load { clients, streams, path, fields: Vec::new(), status: 200 };
        if conditional {
            load.fields.push(("if-none-match", first.field("etag").unwrap().to_string()));
            load.status = 304;
        }
        // Warm: tickets sent, buffers at their size, the body in the cache.
        load.send(20);
        load
    }

    /// Requests of one round.
    pub(crate) fn round(&self) -> usize {
        self.clients.len() * self.streams
    }

    /// Sends `rounds` times, on each connection from a thread of its own, a request on each stream,
    /// and reads all answers.
    pub(crate) fn send(&mut self, rounds: usize) {
        let fields: Vec<(&str, &str)> =
            self.fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let (paths, status) = (vec![self.path; self.streams], self.status);
        std::thread::scope(|scope| {
            for client in &mut self.clients {
                let (fields, paths) = (&fields, &paths);
                scope.spawn(move || {
                    for _ in 0..rounds {
                        for answer in client.get_all(paths, fields).unwrap() {
                            assert_eq!(answer.status, status, "{}", paths[0]);
                        }
                    }
                });
            }
        });
    }

    /// The same, but that the requests of a round are sent while the server is stopped: what it
    /// finds when it wakes is then the same on every machine, all of them.
    pub(crate) fn together(&mut self, server: &Server, rounds: usize) {
        for _ in 0..rounds {
            let mut waiting = Vec::new();
            signal(server.pid(), Signal::STOP);
            eventually("a server that is stopped", || server.threads_in_state('T'));
            for client in &mut self.clients {
                let asked: Vec<_> = (0..self.streams).map(|_| client.ask("GET", self.path, &[])).collect();
                let bytes: Vec<u8> = asked.iter().flat_map(|(_, bytes)| bytes).copied().collect();
                client.send(&bytes).unwrap();
                waiting.push(asked.into_iter().map(|(stream, _)| stream).collect::<Vec<_>>());
            }
            signal(server.pid(), Signal::CONT);
            for (client, streams) in self.clients.iter_mut().zip(waiting) {
                for answer in client.answers(&streams).unwrap().values() {
                    assert_eq!(answer.status, self.status, "{}", self.path);
                }
            }
        }
    }
}
