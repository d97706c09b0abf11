//! Certificates that are renewed.

use std::sync::{Arc, MutexGuard};

use super::child::lock;
use super::{Live, Supervisor};
use crate::certificate::Loaded;
use crate::events::{Event, Level};
use crate::watch::{Control, Serve, SourceId};

/// Serves what one watcher of certificates finds, as long as it is the watcher of what is served.
pub(super) struct Renewed {
    pub(super) supervisor: Arc<Supervisor>,
    pub(super) control: Arc<Control>,
}

impl Renewed {
    fn live(&self) -> Option<MutexGuard<'_, Live>> {
        Some(self.supervisor.live()).filter(|live| Arc::ptr_eq(&live.watcher, &self.control))
    }
}

impl Serve for Renewed {
    fn site(&self, _: SourceId, _: sitar_site::Site) {
        // Sites are a worker's.
    }

    fn certificate(&self, id: SourceId, loaded: Loaded) -> Result<(), String> {
        // A worker that opens another configuration at the moment has the one before.
        let _one_at_a_time = lock(&self.supervisor.changing);
        let Some(live) = self.live() else { return Err("the configuration is another now".into()) };
        let (generation, worker, place) = (live.generation, live.worker.clone(), live.certificates.place(id));
        drop(live);
        let Some(place) = place else { return Err("nothing speaks TLS".into()) };
        // Without one, the next starts with it.
        if let Some(worker) = worker {
            worker.renew(generation, place, &loaded.pem)?;
        }
        let Some(mut live) = self.live() else { return Err("the configuration is another now".into()) };
        if let Some(one) = live.certificates.list.get_mut(place) {
            (one.identity, one.report, one.pem) = (loaded.identity, loaded.report, loaded.pem);
        }
        live.warnings.retain(|warning| warning.source != Some(id));
        drop(live);
        self.supervisor.rest_soon();
        Ok(())
    }

    fn failing(&self, id: SourceId, why: Option<&str>) {
        let Some(mut live) = self.live() else { return };
        match why {
            Some(why) => live.failing.insert(id, why.to_owned()),
            None => live.failing.remove(&id),
        };
    }

    fn say(&self, level: Level, line: &str) {
        if self.live().is_some() {
            Event::new(level, line).say();
        }
    }
}
