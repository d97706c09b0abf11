//! Traces, by the thread that writes them, with a client that reads or does not.

use std::io::{BufRead as _, BufReader};
use std::os::unix::net::UnixStream;
use std::sync::atomic::AtomicBool;

use serde_json::{Value, json};
use sitar_server::TraceCounts;

use super::super::trace::{NewTrace, Taking};
use super::*;
use crate::trace::Spec;

/// What shards take, in the place of a worker's.
#[derive(Clone, Default)]
struct Shards(Arc<Told>);

#[derive(Default)]
struct Told {
    grants: AtomicU64,
    is_stopped: AtomicBool,
}

impl Taking for Shards {
    fn id(&self) -> u32 {
        7
    }

    fn joined(&self) -> usize {
        2
    }

    fn grant(&self) {
        self.0.grants.fetch_add(1, Ordering::Relaxed);
    }

    fn counts(&self) -> TraceCounts {
        TraceCounts { matched: 900_000, sampled: 9000, left_out: 5, no_room: 3 }
    }

    fn stop(&self) {
        self.0.is_stopped.store(true, Ordering::Relaxed);
    }

    fn is_over(&self) -> bool {
        self.0.is_stopped.load(Ordering::Relaxed)
    }
}

struct Traced {
    log: Log,
    shards: Shards,
    place: Arc<()>,
    lines: BufReader<UnixStream>,
}

impl Traced {
    fn begin(spec: &Value) -> Traced {
        let (log, shards, place) = (Log::start(), Shards::default(), Arc::new(()));
        let (client, server) = UnixStream::pair().unwrap();
        client.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let spec = Spec::from_json(spec).unwrap();
        let begun = log.writer.trace(|| {
            let (taking, place) = (Box::new(shards.clone()), Arc::clone(&place));
            let sink = Sink::new(server.into()).unwrap();
            Some(NewTrace { taking, spec, shards: 2, sink, place })
        });
        assert!(begun);
        Traced { log, shards, place, lines: BufReader::new(client) }
    }

    fn line(&mut self) -> Option<Value> {
        let mut line = String::new();
        (self.lines.read_line(&mut line).unwrap() > 0).then(|| serde_json::from_str(&line).unwrap())
    }
}

#[test]
fn a_trace_has_a_first_line_its_records_and_a_last_one() {
    let mut traced = Traced::begin(&json!({ "path": "/x*", "sample": 100, "count": 2 }));
    let limits = json!({
        "milliseconds": 10_000, "count": 2, "records_per_second_and_shard": 1000, "shards": 2,
        "waiting_bytes": 262_144,
    });
    let trace = json!({ "path": "/x*", "sample": 100 });
    let first = json!({ "schema": 1, "version": "0.1.0", "trace": trace, "limits": limits });
    assert_eq!(traced.line(), Some(first));
    // Not for a trace, for another one, and for this one.
    traced.log.queue.push(u16::MAX, "/0");
    traced.log.queue.push_traced([8, 0, 0, 0], "/1");
    traced.log.queue.push_traced([8, 7, 0, 0], "/2");
    assert_eq!(traced.line().unwrap()["request"]["uri"], "/2");
    assert!(!traced.shards.is_over());
    traced.log.queue.push_traced([0, 0, 0, 7], "/3\n");
    assert_eq!(traced.line().unwrap()["request"]["uri"], "/3\n");
    let end = json!({
        "why": "count", "matched": 900_000, "sampled": 9000, "written": 2, "dropped": 3, "left_out": 5,
        "unfinished": 8990,
    });
    assert_eq!(traced.line(), Some(json!({ "schema": 1, "version": "0.1.0", "end": end })));
    assert_eq!(traced.line(), None);
    assert!(traced.shards.is_over() && Arc::strong_count(&traced.place) == 1);
    // Records that no log has are no loss of a log.
    assert_eq!((traced.log.writer.dropped(), traced.log.stop()), (0, Vec::<String>::new()));
}

#[test]
fn what_is_not_read_is_dropped_and_counted_and_bounded() {
    let mut traced = Traced::begin(&json!({ "milliseconds": 3_600_000 }));
    traced.line();
    let target = "x".repeat(8000);
    for _ in 0..1000 {
        traced.log.queue.push_traced([7, 0, 0, 0], &target);
    }
    eventually("all are taken", || traced.log.queue.0.0.lock().unwrap().records.is_empty());
    traced.log.writer.end_traces();
    let mut shown = 0;
    let last = loop {
        let line = traced.line().unwrap();
        match line.get("end") {
            Some(end) => break end.clone(),
            None => shown += 1,
        }
    };
    assert_eq!((&last["why"], &last["written"]), (&json!("stopped"), &json!(shown)));
    assert_eq!(last["dropped"], 1000 - shown + 3);
    // The socket's buffer and 256 KiB behind it, and not 8 MB.
    assert!((30..300).contains(&shown), "{shown}");
    assert_eq!(traced.log.stop(), Vec::<String>::new());
}

#[test]
fn the_end_of_a_client_ends_its_trace() {
    let Traced { log, shards, place, lines } = Traced::begin(&json!({ "milliseconds": 3_600_000 }));
    drop(lines);
    eventually("the end", || Arc::strong_count(&place) == 1);
    // That of a worker's shards is ended by its drop.
    assert!(Arc::strong_count(&shards.0) == 1);
    log.stop();
}

#[test]
fn the_end_of_the_thread_ends_traces() {
    let mut traced = Traced::begin(&json!({ "milliseconds": 3_600_000 }));
    traced.line();
    traced.log.queue.push_traced([7, 0, 0, 0], "/last");
    let Traced { log, mut lines, .. } = traced;
    log.stop();
    let mut rest = String::new();
    lines.read_to_string(&mut rest).unwrap();
    let rest: Vec<Value> = rest.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rest[0]["request"]["uri"], "/last");
    assert_eq!((&rest[1]["end"]["why"], rest.len()), (&json!("stopped"), 2));
}
