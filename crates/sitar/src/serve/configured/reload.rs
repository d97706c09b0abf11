//! Reading the configuration again while it is served.
//!
//! One thread does that for SIGHUP and for `sitar reload`. Opening what the configuration names may
//! take long, and for ever on a file system that does not answer. Nothing else waits for it: what
//! is served goes on changing, can be asked about, and stops when it is asked to.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, SystemTime};

use sitar_server::{HostContent, Snapshot};

use super::super::attempt::limits;
use super::super::{cannot_start_a_thread, say};
use super::bound;
use super::certificates::Certificates;
use super::opened::{OpenSite, Opened, Purpose, open};
use super::{Server, host, status};
use crate::admin;
use crate::config::{self, Problem};
use crate::error::Error;
use crate::watch::Control;

/// Reloads that wait while one is under way. Each reads what is there when its turn comes, so more
/// would add nothing.
const WAITING_MAX: usize = 8;
/// How often the one who waits for a reload looks whether the server has stopped.
const LOOK: Duration = Duration::from_millis(100);

/// Asks for reloads.
#[derive(Clone)]
pub(super) struct Reloads(SyncSender<Option<SyncSender<admin::Reload>>>);

impl Reloads {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system refuses it.
    pub(super) fn start(server: &Arc<Server>) -> Result<Reloads, Error> {
        let (ask, asked) = sync_channel::<Option<SyncSender<admin::Reload>>>(WAITING_MAX);
        let server = Arc::clone(server);
        let obey = move || {
            while let Ok(answer) = asked.recv() {
                let reload = server.reload();
                if let Some(answer) = answer {
                    // The one who asked has gone.
                    let _ = answer.try_send(reload);
                }
            }
        };
        let thread = thread::Builder::new().name("sitar-reload".into()).spawn(obey);
        thread.map(|_| Reloads(ask)).map_err(cannot_start_a_thread)
    }

    /// Asks for a reload, without waiting for it.
    pub(super) fn ask(&self) {
        // With others waiting, what is there now is read anyway.
        let _ = self.0.try_send(None);
    }

    /// Asks for a reload, and waits for it unless the server stops.
    pub(super) fn wait(&self, server: &Server) -> admin::Reload {
        let (answer, answered) = sync_channel(1);
        let refused = |why: &str| admin::Reload {
            at: status::seconds(SystemTime::now()),
            ok: false,
            changes: Vec::new(),
            problems: vec![Error::new(why)],
        };
        if self.0.try_send(Some(answer)).is_err() {
            return refused("too many reloads are waiting for one that has not ended");
        }
        wait(&answered, server).unwrap_or_else(|| refused("the server stops"))
    }
}

fn wait(answered: &Receiver<admin::Reload>, server: &Server) -> Option<admin::Reload> {
    loop {
        match answered.recv_timeout(LOOK) {
            Ok(reload) => return Some(reload),
            Err(RecvTimeoutError::Timeout) if !server.is_stopping() => {}
            Err(_) => return None,
        }
    }
}

impl Server {
    /// Reads the configuration and everything that it names, and serves that from now on. If
    /// something cannot be read or opened, nothing changes. Says what has happened.
    fn reload(self: &Arc<Self>) -> admin::Reload {
        let outcome = self.try_reload();
        let at = status::seconds(SystemTime::now());
        let reload = match outcome {
            Ok(changes) => {
                let what =
                    if changes.is_empty() { "nothing is different".into() } else { changes.join("; ") };
                say(&format_args!("sitar: the configuration was read again: {what}"));
                admin::Reload { at, ok: true, changes, problems: Vec::new() }
            }
            Err(problems) => {
                for problem in &problems {
                    say(&format_args!(
                        "sitar: not reloaded, what was served still is: {}",
                        problem.sentence()
                    ));
                }
                admin::Reload { at, ok: false, changes: Vec::new(), problems }
            }
        };
        self.live().last_reload = Some(reload.clone());
        reload
    }

    fn try_reload(self: &Arc<Self>) -> Result<Vec<String>, Vec<Error>> {
        let each = |problems: Vec<Problem>| problems.iter().map(config::error).collect::<Vec<_>>();
        let file = &self.file;
        // A copy: nothing waits for what is opened here.
        let before = self.live().clone();
        let config = config::read_with_port(&file.path, &file.given, file.port).map_err(each)?;
        if config.admin_socket != before.config.admin_socket {
            return Err(vec![
                Error::new("the path of the admin socket cannot be changed while it is served")
                    .hint("leave it as it is, or start sitar again"),
            ]);
        }
        let opened = open(&config, &Purpose::Reload(&before)).map_err(each)?;
        let Opened { sources, mut sites, hosts, certificates, warnings, .. } = opened;
        let tls = certificates.as_ref().map(Certificates::config).transpose().map_err(|error| vec![error])?;
        let bound = bound::bind(&config, self.started.shards, &before.bound).map_err(each)?;
        let control = Arc::new(Control::new().map_err(|error| vec![cannot_start_a_thread(error)])?);
        let listeners: Vec<_> = bound.iter().map(|bound| bound.listener.clone()).collect();
        let limits = limits(&config.settings, self.started.shards);

        let mut live = self.live();
        let changes = status::changes(&live, &config, &sites, &bound, certificates.as_ref());
        // What has come into service since it was opened here is newer.
        let mut hosts = hosts;
        for (place, site) in config.sites.iter().enumerate() {
            let Some(last) = live.config.sites.iter().position(|last| last.content == site.content) else {
                continue;
            };
            let (Some(now), Some(then), Some(open)) =
                (live.sites.get(last), before.sites.get(last), sites.get_mut(place))
            else {
                continue;
            };
            open.follow(now);
            if let Some(newer) = now.site.as_ref().filter(|_| now.serial != then.serial)
                && let Some(id) = host(&hosts, place)
                && let Ok(with) = hosts.with_content(id, HostContent::Site(Arc::clone(newer)))
            {
                hosts = with;
                *open = OpenSite { source: open.source, ..now.clone() };
            }
        }
        let change = |next: &mut Snapshot| {
            next.hosts = hosts;
            next.listeners = listeners.into();
            next.tls = match (tls, &next.tls) {
                (Some(tls), Some(last)) => Some(tls.with_tickets_of(last)),
                (tls, _) => tls,
            };
            next.limits = limits;
        };
        self.worker.change(change).map_err(|error| vec![Error::new(error.to_string())])?;
        live.watcher.stop();
        (live.config, live.sites) = (config, sites);
        (live.certificates, live.bound, live.warnings) = (certificates, bound, warnings);
        live.failing = BTreeMap::new();
        live.watcher = Arc::clone(&control);
        drop(live);
        if let Err(error) = self.watch(sources, control) {
            say(&format_args!("sitar: changes are not noticed: {}", error.sentence()));
        }
        Ok(changes)
    }
}
