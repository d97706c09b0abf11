use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use sitar_http::{Field, Method, Request, RequestTarget, Status};

use super::trace::TraceIds;
use super::*;
use crate::close::Close;
use crate::numbers::HttpVersion;
use crate::peer::Peer;
use crate::snapshot::HostId;

mod traces;

/// A shard's side with one log, 7, for the first host and 9 for what no host answers.
fn recorder(queues: &Arc<Queues>) -> Recorder {
    let wants = Wants { hosts: [Some(LogId(7)), None].into(), others: Some(LogId(9)), ..Wants::default() };
    Recorder::new(Arc::clone(queues), wants, None)
}

fn answer<'a>(request: &'a Request<'a>, start: Instant, length: u64) -> Answer<'a> {
    Answer {
        requested: Requested::Request(request, Some(HostId::at(0))),
        version: HttpVersion::Http2,
        start: Some(start),
        peer: Some(Peer::Unix),
        tls: None,
        status: Status::OK,
        length,
    }
}

fn request<'a>(path: &'a [u8]) -> Request<'a> {
    Request::new(Method::Get, RequestTarget { path, query: None })
}

/// What has been recorded, as it shows itself.
fn read(records: &mut Records) -> Vec<String> {
    let mut lines = Vec::new();
    records.read(|record| {
        let Record { target, duration, length, cut, .. } = record;
        let target = target.escape_ascii();
        lines.push(format!("{target} {} ms {length} {}", duration.as_millis(), cut.unwrap_or("whole")));
    });
    lines
}

#[test]
fn a_record_comes_back_as_it_was_written() {
    let epoch = Instant::now();
    let queues = Arc::new(Queues::new(epoch));
    let mut recorder = recorder(&queues);
    let mut records = Records::new(queues);
    let start = epoch + Duration::from_millis(5);
    let mut request = Request::new(Method::Head, RequestTarget { path: b"/a", query: Some(b"b=c") });
    request.authority = Some(b"example.org:8443");
    request.fields.push(Field::UserAgent, b"agent").unwrap();
    request.fields.push(Field::Referer, b"").unwrap();
    request.fields.push(Field::Authorization, b"Basic c2VjcmV0").unwrap();
    let tls = Some(LogTls { version: 0x0304, cipher_suite: 0x1301, resumed: true });
    let v6 = "2001:db8::7".parse().unwrap();
    let asked = Requested::Request(&request, Some(HostId::at(0)));
    let peers = [None, Some(Peer::Unix), Some(Peer::Ip(v6)), Some(Peer::Ip("192.0.2.9".parse().unwrap()))];
    for (version, peer) in [HttpVersion::Http10, HttpVersion::Http11, HttpVersion::Http2, HttpVersion::Http2]
        .into_iter()
        .zip(peers)
    {
        recorder.note_whole(&Answer {
            requested: asked,
            version,
            start: None,
            peer,
            tls,
            status: Status::PARTIAL_CONTENT,
            length: 1 << 40,
        });
        assert!(recorder.begin(false).is_none());
        recorder.end_turn(start, || start + Duration::from_micros(250));
        let mut count = 0;
        records.read(|record| {
            count += 1;
            let expected = Record {
                log: LogId(7),
                traces: [0; TRACES_MAX],
                start,
                duration: Duration::from_micros(250),
                peer,
                client: None,
                version,
                method: b"HEAD",
                host: b"example.org:8443",
                target: b"/a?b=c",
                status: Status::PARTIAL_CONTENT,
                length: 1 << 40,
                tls,
                referer: Some(b""),
                user_agent: Some(b"agent"),
                cut: None,
            };
            assert_eq!(*record, expected);
        });
        assert_eq!(count, 1);
    }
}

#[test]
fn of_what_could_not_be_read_the_first_line_is_kept() {
    let long = [&b"GET /"[..], &[b'x'; 9000]].concat();
    let cases: [(&[u8], &[u8], &[u8]); 15] = [
        (b"GET /a HTTP/1.1\r\nHost: b\r\n", b"GET", b"/a"),
        (b"\r\nGET /a HTTP/1.1\r\n", b"GET", b"/a"),
        (b"BREW /pot HTCPCP/1.0\r\n", b"BREW", b"/pot HTCPCP/1.0"),
        (b"GET /a b HTTP/1.1\n", b"GET", b"/a b"),
        (b"GET  HTTP/1.1\r\n", b"GET", b""),
        (b"GET HTTP/1.1\r\n", b"GET", b"HTTP/1.1"),
        (b"GET", b"", b"GET"),
        (b"G\"T /\r\n", b"", b"G\"T /"),
        (b"A-METHOD-OF-MORE-THAN-32-CHARACTERS /", b"", b"A-METHOD-OF-MORE"),
        (b"Cookie: secret", b"", b"Cookie"),
        (b"name=a&password=secret", b"", b"name"),
        (b"words, then a secret", b"", b"words, then a se"),
        (b"\x16\x03\x01\x02\0", b"", b"\x16\x03\x01\x02\0"),
        (b"", b"", b""),
        (&long, b"GET", &long[4..4 + TARGET_MAX]),
    ];
    let epoch = Instant::now();
    let queues = Arc::new(Queues::new(epoch));
    let mut recorder = recorder(&queues);
    let mut records = Records::new(queues);
    for (text, method, target) in cases {
        let asked = Request::new(Method::Get, RequestTarget { path: b"/", query: None });
        recorder.note_whole(&Answer { requested: Requested::Text(text), ..answer(&asked, epoch, 1) });
        let _ = recorder.begin(false);
        recorder.end_turn(epoch, || epoch);
        let read = records.read(|record| {
            assert_eq!((record.method, record.target), (method, target), "{}", text.escape_ascii());
            assert_eq!((record.log, record.host, record.user_agent), (LogId(9), &b""[..], None));
        });
        assert_eq!(read, 1);
    }
}

#[test]
fn only_hosts_with_a_log_are_recorded() {
    let epoch = Instant::now();
    let queues = Arc::new(Queues::new(epoch));
    let mut recorder = recorder(&queues);
    let mut records = Records::new(Arc::clone(&queues));
    let asked = request(b"/");
    let mut answered = |recorder: &mut Recorder, host: Option<HostId>| {
        let requested = Requested::Request(&asked, host);
        recorder.note_whole(&Answer { requested, ..answer(&asked, epoch, 1) });
        let _ = recorder.begin(false);
        recorder.end_turn(epoch, || epoch);
        let mut logs = Vec::new();
        records.read(|record| logs.push(record.log.0));
        logs
    };
    let [first, second, third] = [0, 1, 2].map(HostId::at);
    assert_eq!(answered(&mut recorder, Some(first)), [7]);
    assert_eq!(answered(&mut recorder, Some(second)), []);
    assert_eq!(answered(&mut recorder, Some(third)), []);
    assert_eq!(answered(&mut recorder, None), [9]);
    let none = || Wants { hosts: [None].into(), ..Wants::default() };
    recorder.take_up(none());
    assert_eq!(answered(&mut recorder, Some(first)), []);
    assert_eq!(answered(&mut recorder, None), []);
    assert!(!recorder.is_on(), "it costs as much as with a log");
    // Where no log has ever been wanted there is no queue.
    assert!(!Recorder::new(queues, none(), None).is_on());
}

#[test]
fn a_record_comes_when_its_turn_and_its_answer_have_ended() {
    let epoch = Instant::now();
    let at = |ms| epoch + Duration::from_millis(ms);
    let queues = Arc::new(Queues::new(epoch));
    let mut recorder = recorder(&queues);
    let mut records = Records::new(queues);
    recorder.note_whole(&answer(&request(b"/whole"), at(1), 100));
    assert!(recorder.begin(false).is_none());
    recorder.note_whole(&answer(&request(b"/long"), at(1), 1000));
    let long = recorder.begin(true);
    recorder.note_whole(&answer(&request(b"/cut"), at(1), 1000));
    let cut = recorder.begin(true);
    recorder.note_whole(&answer(&request(b"/watched"), at(1), 1000));
    let mut watched = recorder.watch(true).unwrap();
    assert_eq!(read(&mut records), [""; 0]);
    recorder.end_turn(at(1), || at(3));
    assert_eq!(read(&mut records), ["/whole 2 ms 100 whole"]);
    recorder.end(long, 0, None);
    recorder.end(cut, 400, Some(Cut::Closed(Close::Shed)));
    watched.unsent = 999;
    drop(watched);
    assert_eq!(read(&mut records), [""; 0]);
    recorder.end_turn(at(1), || at(11));
    assert_eq!(read(&mut records), ["/long 10 ms 1000 whole", "/cut 10 ms 600 no_room"]);
    recorder.note_ends(Cut::StreamReset);
    recorder.end_turn(at(1), || at(21));
    assert_eq!(read(&mut records), ["/watched 20 ms 1 stream_reset"]);
    // Nothing has happened in this turn: it does not count.
    recorder.end_turn(at(1), || panic!("the clock is not read"));
    recorder.note_whole(&answer(&request(b"/watched"), at(30), 1000));
    recorder.watch(true).unwrap().unsent = 0;
    recorder.note_ends(Cut::StreamReset);
    recorder.end_turn(at(1), || at(30));
    assert_eq!(read(&mut records), ["/watched 0 ms 1000 whole"]);
}

#[test]
fn where_there_is_no_room_records_are_dropped_and_ends_are_not() {
    let epoch = Instant::now();
    let queues = Arc::new(Queues::new(epoch));
    let mut recorder = recorder(&queues);
    let mut records = Records::new(queues);
    let path = [&b"/"[..], &[b'x'; 8000]].concat();
    let long = request(&path);
    let (mut open, mut begun) = (Vec::new(), 0);
    // Until nothing fits any more, not even a small one.
    for request in [&long, &request(b"/")] {
        let before = records.dropped();
        while records.dropped() == before {
            recorder.note_whole(&answer(request, epoch, 8));
            open.extend(Some(recorder.begin(begun % 2 == 0)).filter(|open| !open.is_none()));
            recorder.end_turn(epoch, || epoch);
            begun += 1;
            assert!(begun < 100_000, "the queue grows");
        }
    }
    let opened = open.len();
    for answer in open {
        recorder.end(answer, 0, None);
        recorder.end_turn(epoch, || epoch);
    }
    let all = read(&mut records).len();
    assert_eq!((all + 2, records.dropped()), (begun, 2));
    assert!(opened > 60, "{opened} of {all} had an end to come");
    recorder.note_whole(&answer(&request(b"/"), epoch, 8));
    assert!(!recorder.begin(true).is_none(), "there is room again");
    assert_eq!(records.dropped(), 2);
    // Many in one turn are copied before its end.
    let queues = Arc::new(Queues::new(epoch));
    let mut recorder = self::recorder(&queues);
    let mut records = Records::new(queues);
    for _ in 0..1000 {
        recorder.note_whole(&answer(&long, epoch, 8));
        let _ = recorder.begin(false);
    }
    assert_eq!(read(&mut records), [""; 0], "the turn has not ended");
    recorder.end_turn(epoch, || epoch);
    let all = read(&mut records).len() as u64;
    assert!(all >= 100 && all + records.dropped() == 1000, "{all} and {}", records.dropped());
}

#[test]
fn a_shard_that_is_faster_than_the_reader_does_not_keep_it() {
    let epoch = Instant::now();
    let queues = Arc::new(Queues::new(epoch));
    let mut recorder = recorder(&queues);
    let mut records = Records::new(queues);
    let mut answered = || {
        recorder.note_whole(&answer(&request(b"/"), epoch, 5));
        let _ = recorder.begin(false);
        recorder.end_turn(epoch, || epoch);
    };
    answered();
    for _ in 0..2 {
        let mut count = 0;
        let read = records.read(|_| {
            count += 1;
            assert_eq!(count, 1, "it reads on and on");
            answered();
        });
        assert_eq!(read, 1);
    }
}

/// A client may let as many answers stand still as it likes: each has a record, that of the peer's
/// next request too.
#[test]
fn answers_that_are_too_many_to_follow_are_recorded_at_once() {
    let epoch = Instant::now();
    let queues = Arc::new(Queues::new(epoch));
    let mut recorder = recorder(&queues);
    let mut records = Records::new(Arc::clone(&queues));
    let path = [&b"/"[..], &[b'x'; 8000]].concat();
    let (long, short) = (request(&path), request(b"/short"));
    let mut open = Vec::new();
    let mut begin = |recorder: &mut Recorder, records: &mut Records, request| {
        recorder.note_whole(&answer(request, epoch, 1000));
        open.extend(Some(recorder.begin(true)).filter(|open| !open.is_none()));
        recorder.end_turn(epoch, || epoch);
        (open.len(), read(records))
    };
    // More than are kept, by their bytes.
    let mut last = (0, Vec::new());
    while last.1.is_empty() {
        assert!(last.0 < 10_000, "the memory of the reader grows");
        last = begin(&mut recorder, &mut records, &long);
    }
    assert!(last.1[0].ends_with("x 0 ms 0 not_followed") && last.0 > 4000, "{last:?}");
    // More than have places for their ends.
    let mut count = last.0;
    loop {
        let (open, lines) = begin(&mut recorder, &mut records, &short);
        if open == count {
            assert_eq!(lines, ["/short 0 ms 0 not_followed"]);
            break;
        }
        count = open;
        assert!(count < 100_000, "the ends are without limit");
    }
    recorder.note_whole(&answer(&short, epoch, 7));
    let _ = recorder.begin(false);
    recorder.end_turn(epoch, || epoch);
    assert_eq!(read(&mut records), ["/short 0 ms 7 whole"]);
    // Of those that are kept the ends have records.
    let kept = open.len();
    for answer in open {
        recorder.end(answer, 0, None);
    }
    recorder.end_turn(epoch, || epoch);
    let told = read(&mut records);
    assert!(told.len() > 4000 && told.len() < kept, "{} of {kept}", told.len());
    assert!(told.iter().all(|line| line.ends_with(" 0 ms 1000 whole")));
    assert_eq!(records.dropped(), 0);
}

#[test]
fn answers_of_a_shard_that_fails_are_recorded() {
    let epoch = Instant::now();
    let queues = Arc::new(Queues::new(epoch));
    let mut failing = recorder(&queues);
    let mut records = Records::new(Arc::clone(&queues));
    failing.note_whole(&answer(&request(b"/long"), epoch, 50));
    let _long = failing.begin(true);
    failing.end_turn(epoch, || epoch);
    // This turn does not end.
    failing.note_whole(&answer(&request(b"/unknown"), epoch, 50));
    let _ = failing.begin(false);
    assert_eq!(read(&mut records), [""; 0]);
    assert!(!records.is_over());
    drop(failing);
    let lines = read(&mut records);
    let ends: Vec<_> = lines.iter().map(|line| line.split(' ').next_back().unwrap()).collect();
    assert_eq!(ends, ["own_faults", "own_faults"], "{lines:?}");
    assert!(records.is_over());
    // Its successor has a queue of its own.
    let mut next = recorder(&queues);
    assert!(!records.is_over());
    next.note_whole(&answer(&request(b"/next"), epoch, 5));
    let _ = next.begin(false);
    next.end_turn(epoch, || epoch);
    assert_eq!(read(&mut records), ["/next 0 ms 5 whole"]);
}

#[test]
fn a_reader_that_sleeps_is_called_by_the_end_of_a_shard() {
    let epoch = Instant::now();
    let queues = Arc::new(Queues::new(epoch));
    let mut failing = recorder(&queues);
    let mut records = Records::new(Arc::clone(&queues));
    let (read, waker) = (AtomicUsize::new(0), records.waker());
    thread::scope(|scope| {
        scope.spawn(|| {
            while read.load(Ordering::SeqCst) < 2 {
                read.fetch_add(records.read(|_| {}), Ordering::SeqCst);
                records.rest(Duration::from_secs(3600));
            }
        });
        failing.note_whole(&answer(&request(b"/"), epoch, 5));
        let _ = failing.begin(false);
        failing.end_turn(epoch, || epoch);
        let until = Instant::now() + Duration::from_secs(60);
        while read.load(Ordering::SeqCst) < 1 || !queues.wake.is_asleep.load(Ordering::SeqCst) {
            assert!(Instant::now() < until, "it does not fall asleep");
            thread::sleep(Duration::from_millis(1));
        }
        // This turn does not end.
        failing.note_whole(&answer(&request(b"/"), epoch, 5));
        let _ = failing.begin(false);
        drop(failing);
        let until = Instant::now() + Duration::from_secs(60);
        while read.load(Ordering::SeqCst) < 2 && Instant::now() < until {
            thread::sleep(Duration::from_millis(1));
        }
        let has_come = read.swap(2, Ordering::SeqCst) == 2;
        waker.wake();
        assert!(has_come, "it is not called");
    });
}

/// A reader that sleeps is called by the first record, and by its owner.
#[test]
fn a_reader_that_sleeps_is_called() {
    let epoch = Instant::now();
    let queues = Arc::new(Queues::new(epoch));
    let mut recorder = recorder(&queues);
    let mut records = Records::new(Arc::clone(&queues));
    let waker = records.waker();
    let (read, rested) = (AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            // For ever, as far as this test is concerned.
            while read.load(Ordering::SeqCst) < 3 {
                read.fetch_add(records.read(|_| {}), Ordering::SeqCst);
                records.rest(Duration::from_secs(3600));
                rested.fetch_add(1, Ordering::SeqCst);
            }
        });
        for number in 0..3 {
            let until = Instant::now() + Duration::from_secs(60);
            while !queues.wake.is_asleep.load(Ordering::SeqCst) {
                assert!(Instant::now() < until, "it does not fall asleep");
                thread::sleep(Duration::from_millis(1));
            }
            if number == 1 {
                let before = rested.load(Ordering::SeqCst);
                waker.wake();
                while rested.load(Ordering::SeqCst) == before {
                    assert!(Instant::now() < until, "it is not woken");
                    thread::sleep(Duration::from_millis(1));
                }
            }
            recorder.note_whole(&answer(&request(b"/"), epoch, 5));
            let _ = recorder.begin(false);
            recorder.end_turn(epoch, || epoch);
            while read.load(Ordering::SeqCst) <= number {
                assert!(Instant::now() < until, "it is not called");
                thread::sleep(Duration::from_millis(1));
            }
        }
        waker.wake();
    });
}
