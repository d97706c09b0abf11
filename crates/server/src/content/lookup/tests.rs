use super::*;
use crate::content::inbox::{Inbox, Message};
use crate::content::loader::{Loader, LoaderWorker};
use crate::limits::Limits;
use crate::snapshot::{HostContent, Hosts, LatestSnapshot, Role};
use sitar_site::{Body, Budget, Options};
use std::time::{Duration, SystemTime};

const LEN: u64 = 100_000;
const ROOM: u64 = 10 * LEN;

fn asker() -> Asker {
    Asker { key: sitar_io::Key(1), now: std::time::Instant::now(), is_new: true }
}

/// A site of one file, as a shard serves it.
struct Shard {
    served: Served,
    worker: LoaderWorker,
    inbox: Inbox,
    budget: Budget,
}

#[derive(Debug, PartialEq)]
struct Answer {
    status: u16,
    etag: String,
    is_in_memory: bool,
    loads: usize,
}

impl Shard {
    fn new(folder: &std::path::Path) -> Shard {
        let site = Arc::new(Site::open(folder, &Options::default()).unwrap());
        let latest =
            LatestSnapshot::new(Snapshot::new(Hosts::one(site), Vec::new(), None, Limits::default()));
        let (inbox, budget) = (Inbox::default(), Budget::new(ROOM, ROOM));
        // The file counts as older than the grain of its times.
        let now = SystemTime::now() + Duration::from_secs(1000);
        let report = Arc::new(|incident| panic!("{incident}"));
        let (loader, worker) =
            Loader::new(latest.clone(), budget.clone(), vec![inbox.clone()], Arc::new(move || now), report);
        let cache = Cache::new(&latest.get(), 4, loader, 0);
        Shard { served: Served::new(latest.get(), cache, Gate::without_users()), worker, inbox, budget }
    }

    fn ask(&mut self, method: &str, lines: &str) -> Answer {
        let text = format!("{method} /a.bin HTTP/1.1\r\nHost: h\r\n{lines}\r\n");
        let head = sitar_http::h1::parse(text.as_bytes(), &sitar_http::h1::Limits::default());
        let request = head.unwrap().unwrap().request;
        for loads in 0..10 {
            match self.served.look_up(asker(), &mut Origin::new(Role::Http), &request) {
                Outcome::Reply(reply) => {
                    let fields = String::from_utf8(reply.pieces(|pieces| pieces.concat())).unwrap();
                    let etag = fields.lines().find_map(|line| line.strip_prefix("ETag: "));
                    return Answer {
                        status: reply.status.code(),
                        etag: etag.unwrap_or_default().to_owned(),
                        is_in_memory: matches!(reply.body, Body::Memory { .. }),
                        loads,
                    };
                }
                Outcome::Refused(rejection) => panic!("{}", rejection.reason),
                Outcome::Later => {}
            }
            while self.worker.work_once() {}
            for message in self.inbox.take() {
                let Message::Loaded { file, result, .. } = message else { panic!("no file") };
                self.served.cache.arrived(file, result);
                while self.served.cache.next_waiting(file).is_some() {}
                self.served.cache.settled(file);
            }
        }
        panic!("asked again and again");
    }
}

#[test]
fn conditions_and_heads_load_no_body_and_what_needs_it_does() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.bin"), vec![7; LEN as usize]).unwrap();
    let mut shard = Shard::new(folder.path());
    let head = shard.ask("HEAD", "");
    let etag = head.etag.clone();
    assert_eq!(head, Answer { status: 200, etag: etag.clone(), is_in_memory: false, loads: 1 });
    let known = format!("If-None-Match: {etag}\r\n");
    for (method, lines, status) in [
        ("GET", known.as_str(), 304),
        ("HEAD", known.as_str(), 304),
        ("GET", "If-Match: \"x\"\r\n", 412),
        ("GET", "If-Modified-Since: Fri, 01 Jan 2100 00:00:00 GMT\r\n", 304),
        ("HEAD", "If-None-Match: \"x\"\r\n", 200),
    ] {
        let answer = shard.ask(method, lines);
        assert_eq!((answer.status, answer.loads), (status, 0), "{method} {lines}");
    }
    assert_eq!(shard.budget.left(), ROOM);
    // The content is wanted after all.
    let answer = shard.ask("GET", "If-None-Match: \"x\"\r\n");
    assert_eq!(answer, Answer { status: 200, etag, is_in_memory: true, loads: 1 });
    assert_eq!(shard.budget.left(), ROOM - LEN);
    assert_eq!(shard.ask("GET", "").loads, 0);

    // Nothing is known: what has to be read for the answer stays.
    let mut shard = Shard::new(folder.path());
    let answer = shard.ask("GET", &known);
    assert_eq!((answer.status, answer.loads, shard.budget.left()), (304, 1, ROOM - LEN));
    assert_eq!(shard.ask("GET", "").loads, 0);
}

/// A connection whose peer the kernel could not tell, from before a reload that needs it.
#[test]
fn a_request_of_an_unknown_peer_is_refused_where_that_has_to_be_known() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.bin"), "a").unwrap();
    let mut shard = Shard::new(folder.path());
    let mut origin = Origin::new(Role::Http);
    let head = sitar_http::h1::parse(b"GET /a.bin HTTP/1.1\r\nHost: h\r\n\r\n", &Default::default());
    let request = head.unwrap().unwrap().request;
    let mut refusal = |origin: &mut Origin, needs_peers: bool| {
        let content = HostContent::Site(Arc::clone(shard.served.snapshot.site(HostId::ONLY).unwrap()));
        let access = needs_peers.then(Arc::default);
        let host = Host { is_default: true, access, ..Host::new(Vec::new(), content) };
        let hosts = Hosts::new(vec![host]).unwrap();
        shard.served.replace(Arc::new(Snapshot { hosts, ..(*shard.served.snapshot).clone() }));
        match shard.served.look_up(asker(), origin, &request) {
            Outcome::Refused(rejection) => Some(rejection.status.code()),
            _ => None,
        }
    };
    assert_eq!(refusal(&mut origin, false), None);
    assert_eq!(refusal(&mut origin, true), Some(403));
    origin.set_peer(crate::Peer::Unix);
    assert_eq!(refusal(&mut origin, true), None);
}
