use std::collections::VecDeque;
use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use sitar_http::Status;
use sitar_server::{HttpVersion, LogId, Record};

use super::format::{Addresses, Format};
use super::sink::{PENDING_MAX, Sink};
use super::writer::{End, LogCounts, NewLog, Source, Writer};
use super::{Sample, Style};

mod traces;

/// Records in the place of a worker's.
#[derive(Clone, Default)]
struct Queue(Arc<(Mutex<State>, Condvar)>);

#[derive(Default)]
struct State {
    /// Log, status, target, traces.
    records: VecDeque<(LogId, Status, String, [u32; 4])>,
    is_over: bool,
    is_called: bool,
    dropped: u64,
}

impl Queue {
    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.0.0.lock().unwrap());
        self.0.1.notify_all();
    }

    fn push(&self, log: u16, target: &str) {
        self.push_status(LogId(log), Status::OK, target, [0; 4]);
    }

    fn push_traced(&self, traces: [u32; 4], target: &str) {
        self.push_status(LogId::NONE, Status::OK, target, traces);
    }

    fn push_status(&self, log: LogId, status: Status, target: &str, traces: [u32; 4]) {
        self.change(|state| state.records.push_back((log, status, target.into(), traces)));
    }
}

impl Source for Queue {
    fn read(&mut self, mut take: impl FnMut(&Record<'_>)) -> usize {
        let records = std::mem::take(&mut self.0.0.lock().unwrap().records);
        for (log, status, target, traces) in &records {
            take(&Record { traces: *traces, ..record(*log, *status, target.as_bytes()) });
        }
        records.len()
    }

    fn dropped(&self) -> u64 {
        self.0.0.lock().unwrap().dropped
    }

    fn rest(&mut self, limit: Option<Duration>) {
        let idle = |state: &mut State| state.records.is_empty() && !state.is_called;
        let (lock, changed) = &*self.0;
        let limit = limit.unwrap_or(Duration::from_secs(30));
        let (mut state, _) = changed.wait_timeout_while(lock.lock().unwrap(), limit, idle).unwrap();
        state.is_called = false;
    }

    fn is_over(&self) -> bool {
        self.0.0.lock().unwrap().is_over
    }
}

fn record(log: LogId, status: Status, target: &[u8]) -> Record<'_> {
    Record {
        log,
        traces: [0; 4],
        start: Instant::now(),
        duration: Duration::ZERO,
        peer: None,
        client: None,
        version: HttpVersion::Http11,
        method: b"GET",
        host: b"a",
        target,
        status,
        length: 1,
        tls: None,
        referer: None,
        user_agent: None,
        cut: None,
    }
}

/// A writer with its thread, and what it says.
struct Log {
    queue: Queue,
    writer: Writer,
    end: End,
    said: Arc<Mutex<Vec<String>>>,
}

impl Log {
    fn start() -> Log {
        let (queue, writer) = (Queue::default(), Writer::default());
        let (said, called) = (Arc::<Mutex<Vec<String>>>::default(), queue.clone());
        let says = Arc::clone(&said);
        let wake = Box::new(move || called.change(|state| state.is_called = true));
        let end = writer.start(queue.clone(), wake, move |_, line| says.lock().unwrap().push(line.into()));
        Log { queue, writer, end: end.unwrap(), said }
    }

    fn set(&self, id: u16, sink: Option<Sink>) -> Arc<LogCounts> {
        let counts = Arc::<LogCounts>::default();
        self.writer.set(vec![new(id, sink, &counts)]);
        counts
    }

    fn said(&self) -> Vec<String> {
        self.said.lock().unwrap().clone()
    }

    fn stop(self) -> Vec<String> {
        // Before the time for the end begins, which a slow disk may take up.
        eventually("all records are taken", || self.queue.0.0.lock().unwrap().records.is_empty());
        self.queue.change(|state| state.is_over = true);
        self.end.wait();
        eventually("the end of the thread", || Arc::strong_count(&self.said) == 1);
        self.said.lock().unwrap().clone()
    }
}

fn new(id: u16, sink: Option<Sink>, counts: &Arc<LogCounts>) -> NewLog {
    let style = Style { format: Format::Common, addresses: Addresses::Full, sample: Sample::default() };
    NewLog { id: LogId(id), name: format!("log{id}"), style, sink, counts: Arc::clone(counts) }
}

fn file(path: &std::path::Path) -> Sink {
    let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::CLOEXEC;
    Sink::new(rustix::fs::open(path, flags, Mode::from(0o640)).unwrap()).unwrap()
}

/// Returns the targets of lines, in their order.
fn targets(text: &str) -> Vec<&str> {
    let target = |line: &'_ str| {
        let (_, rest) = line.split_once("\"GET ").unwrap();
        rest.split_once(" HTTP/1.1\" 200 1").unwrap_or_else(|| panic!("{line}")).0.len()
    };
    text.lines().map(|line| line.split_once("\"GET ").unwrap().1.split_at(target(line)).0).collect()
}

fn eventually(what: &str, mut is: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !is() {
        assert!(Instant::now() < end, "not within 30 s: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn read(number: &AtomicU64) -> u64 {
    number.load(Ordering::Relaxed)
}

/// Whether the thread has done what takes the place of these counts, or ends their log: a record
/// that it is about to read may else go where the one before went.
fn is_done(counts: &Arc<LogCounts>) -> bool {
    Arc::strong_count(counts) == 1
}

#[test]
fn records_go_to_the_files_of_their_logs() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let log = Log::start();
    let counts: [Arc<LogCounts>; 2] = Default::default();
    log.writer
        .set(vec![new(1, Some(file(&path("a"))), &counts[0]), new(7, Some(file(&path("b"))), &counts[1])]);
    for number in 0..1000 {
        log.queue.push(if number % 4 == 0 { 7 } else { 1 }, &format!("/{number}"));
    }
    // No log has this number.
    log.queue.push(2, "/");
    let writer = log.writer.clone();
    let said = log.stop();
    assert!(said.len() == 2 && said[1].ends_with("; 1 records were dropped"), "{said:?}");
    let text = [path("a"), path("b")].map(|path| std::fs::read_to_string(path).unwrap());
    let all = |is: fn(&i32) -> bool| (0..1000).filter(is).map(|n| format!("/{n}")).collect::<Vec<_>>();
    assert_eq!(targets(&text[0]), all(|n| n % 4 != 0));
    assert_eq!(targets(&text[1]), all(|n| n % 4 == 0));
    assert_eq!((read(&counts[0].written), read(&counts[1].written), writer.dropped()), (750, 250, 1));
}

#[test]
fn a_sample_is_one_of_as_many_of_its_class() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    let log = Log::start();
    let counts = Arc::<LogCounts>::default();
    let mut sampled = new(1, Some(file(&path)), &counts);
    sampled.style.sample = Sample([0, 10, 0, 2, 1]);
    log.writer.set(vec![sampled]);
    let internal_error = Status::from_code(500).unwrap();
    for number in 0..30 {
        for status in [Status::OK, Status::FOUND, Status::NOT_FOUND, internal_error] {
            log.queue
                .change(|state| state.records.push_back((LogId(1), status, format!("/{number}"), [0; 4])));
        }
    }
    log.stop();
    let text = std::fs::read_to_string(&path).unwrap();
    let of = |status: &str| text.lines().filter(|line| line.contains(status)).count();
    assert_eq!([of("\" 200 "), of("\" 302 "), of("\" 404 "), of("\" 500 ")], [3, 30, 15, 30]);
    for target in ["/0 HTTP/1.1\" 200", "/10 HTTP/1.1\" 200", "/20 HTTP/1.1\" 200", "/28 HTTP/1.1\" 404"] {
        assert_eq!(of(target), 1, "{target}");
    }
    assert_eq!((read(&counts.written), read(&counts.sampled), read(&counts.failed)), (78, 42, 0));
}

#[test]
fn a_file_that_is_replaced_loses_no_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let log = Log::start();
    let counts = log.set(1, Some(file(&path("a"))));
    log.queue.push(1, "/before");
    eventually("the first line", || read(&counts.written) == 1);
    std::fs::rename(path("a"), path("a.1")).unwrap();
    log.queue.push(1, "/still");
    eventually("the second line", || read(&counts.written) == 2);
    let again = log.set(1, Some(file(&path("a"))));
    eventually("that it is done", || is_done(&counts));
    // Another log, and the first goes on for answers that began before.
    log.set(2, Some(file(&path("b"))));
    log.queue.push(1, "/after");
    log.queue.push(2, "/other");
    // Without a sink of its own: the one that it has.
    log.set(2, None);
    log.queue.push(2, "/last");
    log.stop();
    let text = ["a.1", "a", "b"].map(|name| std::fs::read_to_string(path(name)).unwrap());
    assert_eq!(targets(&text[0]), ["/before", "/still"]);
    assert_eq!(targets(&text[1]), ["/after"]);
    assert_eq!(targets(&text[2]), ["/other", "/last"]);
    assert_eq!((read(&counts.written), read(&again.written)), (2, 1));
}

#[test]
fn logs_that_are_in_force_no_more_stay_up_to_a_number() {
    let folder = tempfile::tempdir().unwrap();
    let log = Log::start();
    for id in 0..20 {
        log.set(id, Some(file(&folder.path().join(id.to_string()))));
        log.queue.push(id, "/a");
    }
    // The last is in force, and the 16 before it stay.
    (0..20).for_each(|id| log.queue.push(id, "/b"));
    let writer = log.writer.clone();
    log.stop();
    let lines = |id: u16| {
        let text = std::fs::read_to_string(folder.path().join(id.to_string())).unwrap();
        text.lines().filter(|line| line.contains("/b")).count()
    };
    assert_eq!((0..20).map(lines).collect::<Vec<_>>(), [vec![0; 3], vec![1; 17]].concat());
    assert!(writer.dropped() >= 3);
}

#[test]
fn logs_that_are_in_force_no_more_end_when_the_others_are_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let log = Log::start();
    let before = [1, 2, 3].map(|id| {
        let counts = log.set(id, Some(file(&path(&id.to_string()))));
        log.queue.push(id, "/a");
        counts
    });
    let counts = Arc::<LogCounts>::default();
    let again = [2, 3].map(|id| new(id, Some(file(&path(&format!("{id}.new")))), &counts));
    log.writer.reopen(again.into());
    eventually("that it is done", || is_done(&before[0]));
    (1..=3).for_each(|id| log.queue.push(id, "/b"));
    let writer = log.writer.clone();
    let said = log.stop();
    let text = ["1", "2.new", "3.new"].map(|name| std::fs::read_to_string(path(name)).unwrap());
    assert!(!text[0].contains("/b"), "{text:?}");
    assert_eq!((targets(&text[1]).last(), targets(&text[2]).last()), (Some(&"/b"), Some(&"/b")));
    let dropped = writer.dropped();
    assert!(dropped >= 1);
    assert!(said.last().unwrap().ends_with(&format!("; {dropped} records were dropped")), "{said:?}");
}

#[test]
fn a_full_device_is_spoken_of_once() {
    let full = File::options().write(true).open("/dev/full").unwrap();
    let log = Log::start();
    let counts = log.set(1, Some(Sink::new(full.into()).unwrap()));
    for number in 1..=3 {
        log.queue.push(1, "/");
        eventually("a record that fails", || read(&counts.failed) == number);
    }
    log.set(1, Some(Sink::new(File::options().write(true).open("/dev/null").unwrap().into()).unwrap()));
    eventually("that it is done", || is_done(&counts));
    log.queue.push(1, "/");
    eventually("it works again", || log.said().len() == 2);
    let said = [
        "the access log log1 cannot be written: No space left on device (os error 28); records are dropped \
         meanwhile",
        "the access log log1 is written again; 3 records were dropped",
    ];
    assert_eq!(log.stop(), said);
}

#[test]
fn what_was_dropped_is_told_at_the_end() {
    let full = || Sink::new(File::options().write(true).open("/dev/full").unwrap().into()).unwrap();
    let log = Log::start();
    let counts = log.set(1, Some(full()));
    log.queue.push(1, "/");
    eventually("a record that fails", || read(&counts.failed) == 1);
    // Another log is in force, and this one ends when that is opened again.
    let counts = log.set(2, Some(full()));
    log.writer.reopen(vec![new(2, None, &counts)]);
    eventually("its end", || log.said().len() == 2);
    (0..2).for_each(|_| log.queue.push(2, "/"));
    eventually("records that fail", || read(&counts.failed) == 2);
    let cannot = |id| {
        format!(
            "the access log log{id} cannot be written: No space left on device (os error 28); records are \
             dropped meanwhile"
        )
    };
    let said = [
        cannot(1),
        "the access log log1 ends; 1 records were dropped".to_owned(),
        cannot(2),
        "the access log log2 ends; 2 records were dropped".to_owned(),
    ];
    assert_eq!(log.stop(), said);
}

/// Returns the ends of a pipe: the one to read, the one to write.
fn pipe() -> (File, OwnedFd) {
    let (reader, writer) = std::io::pipe().unwrap();
    (OwnedFd::from(reader).into(), writer.into())
}

#[test]
fn a_pipe_that_is_not_read_holds_nothing_up() {
    let (mut reader, end) = pipe();
    let flags = rustix::fs::fcntl_getfl(&end).unwrap();
    let log = Log::start();
    let shared = end.try_clone().unwrap();
    let counts = log.set(1, Some(Sink::new(end).unwrap()));
    let long = "x".repeat(999);
    // More than the pipe and the buffer take.
    let all = (PENDING_MAX + (64 << 10)) / 1000 + 500;
    for number in 0..all {
        log.queue.push(1, &format!("/{number}/{long}"));
    }
    eventually("records that are dropped", || read(&counts.failed) >= 500);
    assert_eq!(rustix::fs::fcntl_getfl(&shared).unwrap(), flags, "they belong to others as well");
    drop(shared);
    let reading = std::thread::spawn(move || {
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        text
    });
    eventually("what waited", || read(&counts.written) + read(&counts.failed) == all as u64);
    log.queue.push(1, "/last");
    eventually("it works again", || log.said().len() == 2);
    let failed = read(&counts.failed);
    let said = [
        "the access log log1 cannot be written: it is not read, or not fast enough; records are dropped \
         meanwhile"
            .to_owned(),
        format!("the access log log1 is written again; {failed} records were dropped"),
    ];
    assert_eq!(log.stop(), said);
    let text = reading.join().unwrap();
    let targets = targets(&text);
    assert_eq!(targets.len() as u64 + failed, all as u64 + 1);
    assert_eq!(targets.last(), Some(&"/last"));
}

#[test]
fn a_stop_waits_for_no_reader() {
    let (reader, end) = pipe();
    let log = Log::start();
    let counts = log.set(1, Some(Sink::new(end).unwrap()));
    let long = "x".repeat(999);
    (0..200).for_each(|_| log.queue.push(1, &long));
    let said = log.stop();
    let failed = read(&counts.failed);
    assert_eq!(read(&counts.written) + failed, 200);
    assert!(failed > 0);
    assert_eq!(said.len(), 2, "{said:?}");
    assert_eq!(said[1], format!("the access log log1 ends; {failed} records were dropped"));
    drop(reader);
}

#[test]
fn a_reader_that_has_gone_is_none() {
    let (reader, end) = pipe();
    drop(reader);
    let log = Log::start();
    let counts = log.set(1, Some(Sink::new(end).unwrap()));
    (0..3).for_each(|_| log.queue.push(1, "/"));
    eventually("records that fail", || read(&counts.failed) == 3);
    let said = log.stop();
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said[0].contains("Broken pipe"), "{said:?}");
    assert_eq!(said[1], "the access log log1 ends; 3 records were dropped");
}

#[test]
fn a_line_without_its_end_is_ended_before_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fifo");
    rustix::fs::mkfifoat(rustix::fs::CWD, &path, Mode::from(0o600)).unwrap();
    let both = File::options().read(true).write(true).open(&path).unwrap();
    let mut sink = Sink::new(File::options().write(true).open(&path).unwrap().into()).unwrap();
    let line =
        |length: usize| move |out: &mut Vec<u8>| out.extend(["x".repeat(length).as_bytes(), b"\n"].concat());
    assert!(sink.add(line(70_000)) && sink.add(line(3)));
    let wrote = sink.flush();
    assert_eq!((wrote.lines, wrote.failed, wrote.why), (0, 0, None));
    drop(both);
    let wrote = sink.flush();
    assert_eq!((wrote.lines, wrote.failed, wrote.why), (0, 2, Some(rustix::io::Errno::PIPE)));
    assert!(!sink.is_pending());
    // Still without a reader.
    assert!(sink.add(line(4)));
    assert_eq!(sink.flush().failed, 1);
    let mut reader = File::options().read(true).custom_flags(0o4000).open(&path).unwrap();
    let mut first = vec![0; 64 << 10];
    reader.read_exact(&mut first).unwrap();
    assert!(sink.add(line(5)) && sink.add(line(6)));
    let wrote = sink.flush();
    assert_eq!((wrote.lines, wrote.failed, wrote.why), (2, 0, None));
    drop(sink);
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert_eq!(text, "\nxxxxx\nxxxxxx\n");
}

#[test]
fn another_file_does_not_begin_with_the_end_of_a_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let (reader, end) = pipe();
    let mut sink = Sink::new(end).unwrap();
    assert!(sink.add(|out| out.extend(["x".repeat(70_000).as_bytes(), b"\nsecond\n"].concat())));
    assert_eq!(sink.flush().lines, 0);
    assert_eq!(sink.replace(file(&path("a"))), 1);
    assert_eq!(sink.flush().lines, 1);
    assert_eq!(std::fs::read_to_string(path("a")).unwrap(), "second\n");
    drop(reader);
}

#[test]
fn a_line_that_another_file_cuts_off_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    let (reader, end) = pipe();
    let log = Log::start();
    let before = log.set(1, Some(Sink::new(end).unwrap()));
    log.queue.push(1, &"x".repeat(70_000));
    log.queue.push(1, "/second");
    eventually("a full pipe", || rustix::io::ioctl_fionread(&reader).unwrap() == 64 << 10);
    let after = log.set(1, Some(file(&path)));
    eventually("the second line", || read(&after.written) == 1);
    assert_eq!((read(&before.written), read(&before.failed), read(&after.failed)), (0, 1, 0));
    assert_eq!(targets(&std::fs::read_to_string(&path).unwrap()), ["/second"]);
    log.stop();
}

#[test]
fn the_journal_gets_a_datagram_for_each_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let journal = UnixDatagram::bind(&path).unwrap();
    journal.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let socket = UnixDatagram::unbound().unwrap();
    socket.connect(&path).unwrap();
    let log = Log::start();
    let counts = log.set(1, Some(Sink::journal(socket.into())));
    log.queue.push(1, "/a\nPRIORITY=0\n");
    let mut datagram = [0; 4096];
    let length = journal.recv(&mut datagram).unwrap();
    let text = std::str::from_utf8(&datagram[..length]).unwrap();
    let (fields, line) = text.split_once("MESSAGE=").unwrap();
    assert_eq!(fields, "SYSLOG_IDENTIFIER=sitar\nPRIORITY=6\n");
    assert!(line.starts_with("- - - [") && line.ends_with("\"GET /a\\x0APRIORITY=0\\x0A HTTP/1.1\" 200 1\n"));
    // Its queue is bounded: what has no room waits.
    (0..100).for_each(|number| log.queue.push(1, &format!("/{number}")));
    for number in 0..100 {
        let length = journal.recv(&mut datagram).unwrap();
        let text = std::str::from_utf8(&datagram[..length]).unwrap();
        assert!(text.contains(&format!("GET /{number} ")), "{number}: {text}");
    }
    eventually("all of them", || read(&counts.written) == 101);
    drop(journal);
    log.queue.push(1, "/gone");
    eventually("a record that fails", || read(&counts.failed) == 1);
    let said = log.stop();
    assert_eq!((said.len(), &*said[1]), (2, "the access log log1 ends; 1 records were dropped"));
}

#[test]
fn full_queues_are_spoken_of_once() {
    let log = Log::start();
    log.set(1, Some(Sink::new(File::options().write(true).open("/dev/null").unwrap().into()).unwrap()));
    for dropped in [5, 9] {
        log.queue.change(|state| state.dropped = dropped);
        log.queue.push(1, "/");
    }
    eventually("it keeps up again", || log.said().len() == 2);
    let said = [
        "access logs are not written as fast as records come; some are dropped",
        "access logs keep up again; 9 records were dropped",
    ];
    assert_eq!(log.writer.dropped(), 9);
    assert_eq!(log.stop(), said);
}
