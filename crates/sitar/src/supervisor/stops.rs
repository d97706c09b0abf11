//! A drain and a stop: listeners are closed, and every worker leaves.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;

use super::Supervisor;
use super::child::{Leave, lock};
use crate::serve::tell_polling;

impl Supervisor {
    pub(super) fn is_stopping(&self) -> bool {
        self.stops.load(Ordering::SeqCst) > 0
    }

    /// Accepts no more, and ends when the connections have ended by themselves.
    pub(super) fn drain(&self) {
        self.stops.fetch_add(1, Ordering::SeqCst);
        // Not "stopping", for which systemd has a limit of its own.
        self.manager.status("draining");
        self.live().close();
        self.packing.end();
        self.acme.end();
        self.have_all(Leave::Drain);
    }

    /// Stops all workers; a second time at once.
    pub(super) fn stop(&self) {
        self.stops.fetch_add(1, Ordering::SeqCst);
        self.manager.stopping();
        self.packing.end();
        self.acme.end();
        let mut live = self.live();
        // Or clients would wait there for an answer that nothing gives.
        live.close();
        if let (Some(worker), true, true) =
            (&live.worker, live.running.is_polled, self.stops.load(Ordering::SeqCst) == 1)
        {
            // Now, while the polling threads are there to be asked.
            tell_polling(Path::new(&format!("/proc/{}/task", worker.pid)), self.at);
        }
        drop(live);
        self.have_all(Leave::Stop);
    }

    /// Has every worker leave. One that does not answer holds up no other.
    pub(super) fn have_all(&self, way: Leave) {
        let workers = lock(&self.workers).clone();
        for worker in workers {
            worker.is_to_leave(way);
            let own = Arc::clone(&worker);
            let told = thread::Builder::new().name("sitar-tell".into()).spawn(move || own.leave(way));
            if told.is_err() {
                worker.leave(way);
            }
        }
        self.notify();
    }

    /// Has the one who [waits](Supervisor::wait) look again.
    pub(super) fn notify(&self) {
        // Not between its look and its sleep.
        let _workers = lock(&self.workers);
        self.has_ended.notify_all();
    }
}
