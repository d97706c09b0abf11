//! The access log of a server without a configuration.

use std::sync::Arc;

use sitar_server::{Hosts, LogId, Worker};

use super::cannot_start_a_thread;
use crate::config::{LogConfig, LogTarget, Place, Target};
use crate::error::Error;
use crate::log::{Logs, Style, open};
use crate::settings::Settings;

/// The access log, or none.
pub(super) struct OneLog {
    logs: Logs,
    id: Option<LogId>,
    takes_stdout: bool,
}

impl OneLog {
    /// Opens it, while the process may make files.
    ///
    /// # Errors
    /// It cannot be opened.
    pub(super) fn open(settings: &Settings) -> Result<OneLog, Error> {
        let mut logs = Logs::default();
        let target = settings.access_log.clone().unwrap_or_default();
        let takes_stdout = target == Target::Stdout;
        if target == Target::Off {
            return Ok(OneLog { logs, id: None, takes_stdout });
        }
        let opened = open::open(&target).map_err(|error| open::refusal(&target, &error))?;
        let nowhere = Place { file: Arc::from(std::path::Path::new("")), line: 0, column: 0 };
        let style = Style { format: settings.log_format, ..Style::default() };
        let target = LogTarget { target, place: nowhere };
        let config = LogConfig { target, style, events: settings.log_events };
        let plan = logs.plan(&config, &[], vec![Ok(opened)]);
        let id = plan.others;
        logs.put(plan);
        Ok(OneLog { logs, id, takes_stdout })
    }

    /// Returns hosts whose answers are logged.
    pub(super) fn hosts(&self, hosts: Hosts) -> Hosts {
        match self.id {
            Some(id) => hosts.logged(id),
            None => hosts,
        }
    }

    /// Returns the log of answers that no host gives.
    pub(super) fn id(&self) -> Option<LogId> {
        self.id
    }

    /// Starts to write what a worker records.
    ///
    /// # Errors
    /// The system refuses a thread.
    pub(super) fn start(&mut self, worker: &Worker) -> Result<(), Error> {
        self.logs.start(worker).map_err(cannot_start_a_thread)
    }

    /// Whether records go to standard output.
    pub(super) fn takes_stdout(&self) -> bool {
        self.takes_stdout
    }

    /// Waits until what is left has been written, for a moment at most.
    pub(super) fn end(&mut self) {
        if let Some(end) = self.logs.take_end() {
            end.wait();
        }
    }
}
