//! Requests that are counted by their clients, by the access log and by the numbers, over reloads,
//! a rotation and an upgrade.

use super::metrics::series;
use super::place::{NAME, Place, Service};
use crate::common::client::socket;
use crate::common::{Over, eventually, h2, signal};
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

/// Requests at least; `SITAR_RECORDS` is another number.
const REQUESTS: usize = 200_000;
/// Connections of HTTP/1.1, beside one of HTTP/2.
const CONNECTIONS: usize = 3;
/// Requests that are sent together.
const TOGETHER: usize = 50;
const LOGS: [&str; 3] = ["a.log", "b.log", "c.log"];

/// Clients that ask all the time, each time for something else: a number behind the path.
struct Clients {
    address: SocketAddr,
    next: AtomicUsize,
    answered: AtomicUsize,
    is_over: AtomicBool,
}

impl Clients {
    /// Asks while `during` runs. Returns the numbers that were answered, in order.
    fn ask(&self, during: impl FnOnce()) -> Vec<usize> {
        self.is_over.store(false, Ordering::Relaxed);
        let mut answered = thread::scope(|scope| {
            let over = Over(&self.is_over);
            let mut clients: Vec<_> = (0..CONNECTIONS).map(|_| scope.spawn(|| self.ask_all())).collect();
            clients.push(scope.spawn(|| self.ask_all_h2()));
            during();
            drop(over);
            clients.into_iter().flat_map(|client| client.join().unwrap()).collect::<Vec<_>>()
        });
        answered.sort_unstable();
        answered
    }

    /// Waits until that number has been answered in all.
    fn wait_for(&self, count: usize) {
        // Each wait has its patience, however long they are together.
        while self.answered.load(Ordering::Relaxed) < count {
            let before = self.answered.load(Ordering::Relaxed);
            eventually("more answers", || self.answered.load(Ordering::Relaxed) > before);
        }
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    /// Returns the first of the next numbers.
    fn next(&self) -> usize {
        self.next.fetch_add(TOGETHER, Ordering::Relaxed)
    }

    fn ask_all(&self) -> Vec<usize> {
        let mut answered = Vec::new();
        while !self.is_over() {
            let mut stream = socket(self.address).unwrap();
            while !self.is_over() {
                let first = self.next();
                let heads: String = (first..first + TOGETHER)
                    .map(|number| format!("GET /name.txt?{number} HTTP/1.1\r\nHost: localhost\r\n\r\n"))
                    .collect();
                // Those behind the last answer of a connection may find it closed.
                let is_sent = stream.write_all(heads.as_bytes()).is_ok();
                let count = count_answers(&mut stream);
                answered.extend(first..first + count);
                self.answered.fetch_add(count, Ordering::Relaxed);
                if !is_sent || count < TOGETHER {
                    break;
                }
            }
        }
        answered
    }

    fn ask_all_h2(&self) -> Vec<usize> {
        let mut answered = Vec::new();
        while !self.is_over() {
            let mut client = h2::Client::plain(self.address, h2::WINDOW_MAX).unwrap();
            while !self.is_over() && !client.left_by_server {
                let first = self.next();
                let (mut bytes, mut streams) = (Vec::new(), BTreeMap::new());
                for number in first..first + TOGETHER {
                    let (stream, request) = client.ask("GET", &format!("/name.txt?{number}"), &[]);
                    bytes.extend(request);
                    streams.insert(stream, number);
                }
                let mut is_open = client.send(&bytes).is_ok();
                let mut count = 0;
                while count < TOGETHER && is_open {
                    is_open = client.go_on().is_ok();
                    for (stream, answer) in client.take_whole() {
                        assert_eq!((answer.status, answer.body.as_slice()), (200, NAME.as_bytes()));
                        answered.push(streams[&stream]);
                        count += 1;
                    }
                }
                self.answered.fetch_add(count, Ordering::Relaxed);
                if !is_open {
                    break;
                }
            }
        }
        answered
    }
}

/// Reads answers until all have come, or the connection ends.
fn count_answers(stream: &mut impl Read) -> usize {
    let end = format!("\r\n\r\n{NAME}");
    let (mut come, mut used, mut count) = (Vec::new(), 0, 0);
    let mut room = vec![0; 64 << 10];
    while count < TOGETHER {
        let len = stream.read(&mut room).unwrap_or(0);
        come.extend_from_slice(&room[..len]);
        while let Some(at) = come[used..].windows(end.len()).position(|some| some == end.as_bytes()) {
            let head = &come[used..used + at];
            assert!(head.starts_with(b"HTTP/1.1 200 OK\r\n"), "{}", head.escape_ascii());
            used += at + end.len();
            count += 1;
        }
        if len == 0 {
            break;
        }
    }
    // Nothing comes in part, and nothing that was not asked for.
    assert_eq!(used, come.len(), "{}", come[used..].escape_ascii());
    count
}

fn configure(place: &Place, log: &str) {
    place.configure(&format!("[log]\naccess = \"./{log}\"\nformat = \"common\"\n"));
    let text = fs::read_to_string(place.path("sitar.toml")).unwrap();
    place.write("sitar.toml", text.replace("[admin]\n", "[admin]\nlisten = \"unix:metrics.sock\"\n"));
}

/// Returns the numbers in the logs, in order.
fn recorded(service: &Service) -> Vec<usize> {
    let texts = LOGS.map(|name| fs::read_to_string(service.place.path(name)).unwrap_or_default());
    let number = |line: &str| {
        let (before, rest) = line.split_once("\"GET /name.txt?").unwrap_or_else(|| panic!("{line}"));
        let (number, end) = rest.split_once(' ').unwrap();
        assert!(
            before.starts_with("127.") && end.starts_with("HTTP/") && end.ends_with("\" 200 6"),
            "{line}"
        );
        number.parse().unwrap()
    };
    let mut numbers: Vec<usize> = texts.iter().flat_map(|text| text.lines()).map(number).collect();
    numbers.sort_unstable();
    numbers
}

/// Returns how many records were dropped, as standard error says it.
fn dropped(service: &Service) -> usize {
    let said = service.server.said();
    let counts =
        said.lines().filter_map(|line| line.strip_suffix(" records were dropped")?.rsplit(' ').next());
    counts.map(|count| count.parse::<usize>().unwrap()).sum()
}

#[test]
fn requests_are_records_or_drops_over_reloads_and_an_upgrade() {
    let requests = std::env::var("SITAR_RECORDS").map_or(REQUESTS, |requests| requests.parse().unwrap());
    let place = Place::new();
    configure(&place, "a.log");
    let service = place.start();
    let clients = Clients {
        address: service.http,
        next: AtomicUsize::new(0),
        answered: AtomicUsize::new(0),
        is_over: AtomicBool::new(false),
    };
    let part = |number: usize| clients.wait_for(requests / 6 * number);
    let mut answered = clients.ask(|| {
        part(1);
        service.reload();
        part(2);
        configure(&service.place, "b.log");
        service.reload();
        part(3);
        fs::rename(service.place.path("b.log"), service.place.path("c.log")).unwrap();
        signal(service.supervisor(), Signal::USR1);
        eventually("the file again", || service.place.path("b.log").exists());
        part(4);
    });
    // The numbers agree with what the clients have counted, and with themselves.
    let sum = |start: &str| -> u64 {
        series(&service).iter().filter(|(name, _)| name.starts_with(start)).map(|(_, count)| count).sum()
    };
    let count = answered.len() as u64;
    assert_eq!(sum("sitar_http_requests_total{"), count, "{:?}", series(&service));
    assert_eq!(sum("sitar_http_requests_total{site=\"\""), 0);
    eventually("what has become of each record", || {
        sum("sitar_log_written_total") + sum("sitar_log_dropped_total{") == count
    });
    assert_eq!(recorded(&service).len() as u64, sum("sitar_log_written_total"));

    answered.extend(clients.ask(|| {
        part(5);
        service.run(&["upgrade"]).ok();
        clients.wait_for(requests);
    }));
    eventually("the end of the old processes", || service.place.processes().len() == 2);
    signal(service.supervisor(), Signal::TERM);
    eventually("the end of the server", || service.place.processes().is_empty());
    let (recorded, dropped) = (recorded(&service), dropped(&service));
    println!("{} answers, {} records, {dropped} drops", answered.len(), recorded.len());
    assert!(answered.len() >= requests);
    assert_eq!(recorded.len() + dropped, answered.len());
    assert!(recorded.windows(2).all(|two| two[0] < two[1]), "a request has two records");
    let strange = recorded.iter().find(|number| answered.binary_search(number).is_err());
    assert_eq!(strange, None, "a record of a request that was not answered");
}
