//! What traces take, and what is left of them.

use super::*;

/// A shard's side with two hosts, of which the second has log 7, and what starts traces of it.
struct Traced {
    queues: Arc<Queues>,
    recorder: Recorder,
    records: Records,
    traces: Traces,
    epoch: Instant,
}

fn wants() -> Wants {
    let labels = ["first.test".into(), "second.test".into()].into();
    Wants { hosts: [None, Some(LogId(7))].into(), labels, ..Wants::default() }
}

impl Traced {
    fn new(wants: Wants) -> Traced {
        let epoch = Instant::now();
        let queues = Arc::new(Queues::new(epoch));
        let recorder = Recorder::new(Arc::clone(&queues), wants, None);
        let (records, traces) =
            (Records::new(Arc::clone(&queues)), Traces::new(Arc::clone(&queues), Vec::new()));
        Traced { queues, recorder, records, traces, epoch }
    }

    /// Starts a trace, which the shard takes up.
    fn start(&mut self, filter: TraceFilter) -> Trace {
        let trace = self.traces.start(filter).unwrap();
        self.recorder.take_up_traces();
        trace
    }

    /// Returns what the shard has counted for a trace.
    fn counts(&mut self, trace: &Trace) -> TraceCounts {
        self.recorder.take_up_traces();
        trace.counts()
    }

    /// Answers in a turn of its own.
    fn answer(&mut self, host: u16, (authority, path): (&str, &str), status: u16) {
        let mut request = request(path.as_bytes());
        request.authority = Some(authority.as_bytes());
        let requested = Requested::Request(&request, Some(HostId::at(host)));
        self.answer_to(requested, status);
    }

    fn answer_to(&mut self, requested: Requested<'_>, status: u16) {
        let (asked, status) = (request(b"/"), Status::from_code(status).unwrap());
        self.recorder.note_whole(&Answer { requested, status, ..answer(&asked, self.epoch, 1) });
        let _ = self.recorder.begin(false);
        self.recorder.end_turn(self.epoch, || self.epoch);
    }

    /// Returns the log of each record, its traces and its target.
    fn read(&mut self) -> Vec<(u16, TraceIds, String)> {
        let mut all = Vec::new();
        self.records.read(|record| {
            all.push((record.log.0, record.traces, record.target.escape_ascii().to_string()));
        });
        all
    }

    /// Returns the targets that a trace has got.
    fn targets(&mut self, trace: &Trace) -> Vec<String> {
        let of = |(_, ids, target): (u16, TraceIds, String)| ids.contains(&trace.id()).then_some(target);
        self.read().into_iter().filter_map(of).collect()
    }
}

const ALL: TraceCounts = TraceCounts { matched: 0, sampled: 0, left_out: 0, no_room: 0 };

#[test]
fn a_filter_takes_the_answers_that_match() {
    let load: [(u16, (&str, &str), u16); 8] = [
        (0, ("first.test", "/a"), 200),
        (0, ("First.Test.:8443", "/a/b"), 404),
        (0, ("other.test", "/a"), 503),
        (1, ("second.test", "/a"), 200),
        (1, ("www.second.test", "/ab"), 500),
        (1, ("[2001:db8::1]:443", "/b"), 304),
        (1, ("", "/c"), 200),
        (0, ("first.test", "/A"), 200),
    ];
    let all = TraceFilter::default;
    let host = |name: &str| TraceFilter { host: Some(name.as_bytes().into()), ..all() };
    let exact = |path: &[u8]| TraceFilter { path: Some(TracePath::Exact(path.into())), ..all() };
    let prefix = |path: &[u8]| TraceFilter { path: Some(TracePath::Prefix(path.into())), ..all() };
    let status = |first, last| TraceFilter { status: (first, last), ..all() };
    let cases: [(TraceFilter, &[usize]); 14] = [
        (all(), &[0, 1, 2, 3, 4, 5, 6, 7]),
        // By the label of the site, and by the name that was asked for.
        (host("first.test"), &[0, 1, 2, 7]),
        (host("other.test"), &[2]),
        (host("www.second.test"), &[4]),
        (host("second.test"), &[3, 4, 5, 6]),
        (host("[2001:db8::1]"), &[5]),
        (host("nothing.test"), &[]),
        (exact(b"/a"), &[0, 2, 3]),
        (prefix(b"/a"), &[0, 1, 2, 3, 4]),
        (prefix(b"/a/"), &[1]),
        (status(500, 599), &[2, 4]),
        (status(404, 404), &[1]),
        (TraceFilter { path: exact(b"/a").path, status: (500, 599), ..host("first.test") }, &[2]),
        (TraceFilter { every: 2, ..prefix(b"/a") }, &[1, 3]),
    ];
    for (filter, expected) in cases {
        let mut traced = Traced::new(wants());
        let trace = traced.start(filter.clone());
        for (host, asked, status) in load {
            traced.answer(host, asked, status);
        }
        let expected: Vec<&str> = expected.iter().map(|at| load[*at].1.1).collect();
        assert_eq!(traced.targets(&trace), expected, "{filter:?}");
        assert_eq!(traced.counts(&trace).sampled, expected.len() as u64, "{filter:?}");
    }
}

#[test]
fn of_what_could_not_be_read_only_the_status_matches() {
    let mut traced = Traced::new(wants());
    let every = traced.start(TraceFilter { status: (400, 499), ..TraceFilter::default() });
    let host = TraceFilter { host: Some(b"first.test"[..].into()), ..TraceFilter::default() };
    let path = TraceFilter { path: Some(TracePath::Prefix(b"/"[..].into())), ..TraceFilter::default() };
    let (host, path) = (traced.start(host), traced.start(path));
    traced.answer_to(Requested::Text(b"GET /a b HTTP/1.1\r\n"), 400);
    traced.answer_to(Requested::Method(Method::Get), 431);
    let id = every.id();
    assert_eq!(
        traced.read(),
        [(u16::MAX, [id, 0, 0, 0], "/a b".to_owned()), (u16::MAX, [id, 0, 0, 0], String::new())]
    );
    assert_eq!((traced.counts(&host), traced.counts(&path)), (ALL, ALL));
}

/// Each shard takes each third, and says how many there were.
#[test]
fn each_nth_is_taken_and_all_are_counted() {
    let mut traced = Traced::new(wants());
    let trace = traced.start(TraceFilter { every: 3, ..TraceFilter::default() });
    let expected = ["/3", "/6", "/9"];
    for number in 1..=11 {
        traced.answer(0, ("first.test", &format!("/{number}")), 200);
    }
    assert_eq!(traced.targets(&trace), expected);
    assert_eq!(traced.counts(&trace), TraceCounts { matched: 11, sampled: 3, ..ALL });
    // A shard that is started again begins to count from one, and nothing is forgotten.
    traced.recorder = Recorder::new(Arc::clone(&traced.queues), wants(), None);
    for number in 1..=4 {
        traced.answer(0, ("first.test", &format!("/{number}")), 200);
    }
    assert_eq!(traced.targets(&trace), ["/3"]);
    assert_eq!(traced.counts(&trace), TraceCounts { matched: 15, sampled: 4, ..ALL });
}

#[test]
fn a_shard_takes_no_more_than_it_is_granted() {
    let mut traced = Traced::new(wants());
    let trace = traced.start(TraceFilter { every: 2, ..TraceFilter::default() });
    for _ in 0..2 * 1005 {
        traced.answer(0, ("first.test", "/"), 200);
    }
    assert_eq!(traced.targets(&trace).len(), 1000);
    assert_eq!(traced.counts(&trace), TraceCounts { matched: 2010, sampled: 1005, left_out: 5, ..ALL });
    trace.grant();
    for _ in 0..2 * 1001 {
        traced.answer(0, ("first.test", "/"), 200);
    }
    assert_eq!(traced.targets(&trace).len(), 1000);
    assert_eq!(traced.counts(&trace), TraceCounts { matched: 4012, sampled: 2006, left_out: 6, ..ALL });
}

#[test]
fn a_log_and_traces_share_the_record_of_an_answer() {
    let mut traced = Traced::new(wants());
    let first = traced.start(TraceFilter::default());
    let second = traced.start(TraceFilter { every: 2, ..TraceFilter::default() });
    let (a, b) = (first.id(), second.id());
    traced.answer(0, ("first.test", "/1"), 200);
    traced.answer(1, ("second.test", "/2"), 200);
    let target = str::to_owned;
    assert_eq!(traced.read(), [(u16::MAX, [a, 0, 0, 0], target("/1")), (7, [a, b, 0, 0], target("/2"))]);
    first.stop();
    traced.recorder.take_up_traces();
    traced.answer(0, ("first.test", "/3"), 200);
    traced.answer(1, ("second.test", "/4"), 200);
    traced.answer(1, ("second.test", "/5"), 200);
    let rest = [(7, [0, b, 0, 0], target("/4")), (7, [0; 4], target("/5"))];
    assert_eq!(traced.read(), rest);
    assert_eq!((traced.counts(&first).matched, traced.counts(&second).matched), (2, 5));
}

/// What another trace has at the same place later is not for this one.
#[test]
fn an_answer_that_ends_after_its_trace_is_not_another_traces() {
    let mut traced = Traced::new(wants());
    let first = traced.start(TraceFilter::default());
    traced.recorder.note_whole(&answer(&request(b"/long"), traced.epoch, 1000));
    let long = traced.recorder.begin(true);
    traced.recorder.end_turn(traced.epoch, || traced.epoch);
    assert_eq!(traced.read(), []);
    let id = first.id();
    drop(first);
    let second = traced.start(TraceFilter::default());
    assert_eq!(second.id(), id + 1);
    traced.answer(0, ("first.test", "/short"), 200);
    traced.recorder.end(long, 0, None);
    traced.recorder.end_turn(traced.epoch, || traced.epoch);
    let target = str::to_owned;
    assert_eq!(
        traced.read(),
        [(u16::MAX, [id + 1, 0, 0, 0], target("/short")), (u16::MAX, [id, 0, 0, 0], target("/long"))]
    );
}

#[test]
fn nothing_is_left_of_a_trace() {
    let mut traced = Traced::new(Wants { hosts: [None, None].into(), ..Wants::default() });
    assert!(!traced.recorder.is_on() && traced.records.is_over());
    let trace = traced.start(TraceFilter::default());
    assert!(traced.recorder.is_on());
    // An answer that goes on is recorded although the trace is over.
    traced.recorder.note_whole(&answer(&request(b"/long"), traced.epoch, 1000));
    let long = traced.recorder.begin(true);
    traced.recorder.end_turn(traced.epoch, || traced.epoch);
    trace.stop();
    assert!(!trace.is_over(), "the shard does not know it yet");
    traced.recorder.take_up_traces();
    assert!(trace.is_over() && !traced.recorder.is_on());
    traced.answer(0, ("first.test", "/later"), 200);
    assert_eq!(traced.read(), []);
    traced.recorder.end(long, 0, None);
    traced.recorder.end_turn(traced.epoch, || traced.epoch);
    assert_eq!(traced.read(), [(u16::MAX, [trace.id(), 0, 0, 0], "/long".to_owned())]);
    assert!(traced.records.is_over(), "the queue is still there");
    assert_eq!(traced.counts(&trace), TraceCounts { matched: 1, sampled: 1, ..ALL });
    // And a log that comes later finds everything as it was.
    traced.recorder.take_up(wants());
    traced.answer(1, ("second.test", "/logged"), 200);
    assert_eq!(traced.read(), [(7, [0; 4], "/logged".to_owned())]);
}

#[test]
fn four_traces_run_at_a_time() {
    let traced = Traced::new(wants());
    let start = || traced.traces.start(TraceFilter::default());
    let running: Vec<Trace> = (0..TRACES_MAX).map(|_| start().unwrap()).collect();
    assert!(start().is_none());
    running[2].stop();
    assert!(start().is_some());
    drop(running);
    assert!(start().is_some());
}

#[test]
fn where_there_is_no_room_traces_count_it_and_logs_do_not() {
    let mut traced = Traced::new(wants());
    let trace = traced.start(TraceFilter::default());
    let path = ["/", &"x".repeat(8000)].concat();
    let mut answered = 0;
    while traced.counts(&trace).no_room == 0 {
        traced.answer(0, ("first.test", &path), 200);
        answered += 1;
        assert!(answered < 10_000, "the queue grows");
    }
    assert_eq!(traced.records.dropped(), 0);
    traced.answer(1, ("second.test", &path), 200);
    assert_eq!((traced.records.dropped(), traced.counts(&trace).no_room), (1, 2));
    assert_eq!(traced.targets(&trace).len() as u64, answered - 1);
}
