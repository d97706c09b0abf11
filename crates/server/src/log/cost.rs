//! What a shard does for the record of an answer, by itself, so that it can be counted.

use std::sync::Arc;
use std::time::Instant;

use sitar_http::{Request, Status};

use super::{Answer, LogId, LogTls, Queues, Recorder, Requested, Trace, TraceFilter, Traces, Wants};
use crate::numbers::HttpVersion;
use crate::peer::Peer;
use crate::snapshot::HostId;

/// A shard with a log or a trace, as far as its records are concerned. Nothing reads them.
pub struct Shard {
    recorder: Recorder,
    _trace: Option<Trace>,
    now: Instant,
    queues: Arc<Queues>,
}

impl Shard {
    /// A shard of which all answers are recorded, unless `logs` is false.
    #[must_use]
    pub fn new(logs: bool) -> Shard {
        Shard::with(logs, None)
    }

    /// A shard without a log, and with a trace of each answer that is a multiple of this.
    #[must_use]
    pub fn traced(every: u32) -> Shard {
        Shard::with(false, Some(TraceFilter { every, ..TraceFilter::default() }))
    }

    fn with(logs: bool, filter: Option<TraceFilter>) -> Shard {
        let now = Instant::now();
        let queues = Arc::new(Queues::new(now));
        let hosts = [logs.then_some(LogId(0))].into();
        let wants = Wants { hosts, ..Wants::default() };
        let traces = Traces::new(Arc::clone(&queues), Vec::new());
        let _trace = filter.and_then(|filter| traces.start(filter));
        Shard { recorder: Recorder::new(Arc::clone(&queues), wants, None), _trace, now, queues }
    }

    /// Records an answer in a turn of its own.
    #[inline]
    pub fn answer(&mut self, request: &Request<'_>, status: Status, length: u64) {
        let recorder = &mut self.recorder;
        let requested = Requested::Request(request, Some(HostId::ONLY));
        recorder.note(requested, status, || Answer {
            requested,
            version: HttpVersion::Http11,
            start: None,
            peer: Some(Peer::Ip([192, 0, 2, 1].into())),
            tls: Some(LogTls { version: 0x0304, cipher_suite: 0x1301, resumed: false }),
            status,
            length,
        });
        recorder.begin(false);
        recorder.end_turn(self.now, Instant::now);
    }

    /// Returns how many records found no room.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.queues.dropped()
    }
}
