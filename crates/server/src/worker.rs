//! A worker: all shards of a process, each on a thread of its own.

use std::any::Any;
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use sitar_io::{Engine, Ring};
use sitar_site::{Budget, Site};

use crate::Counts;
use crate::clock::Clock;
use crate::content::generation::Newest;
use crate::content::inbox::Mailbox;
use crate::content::loader::Loader;
use crate::limits::{Limits, TlsOffload};
use crate::report::{Incident, Report};
use crate::shard::{Setup, Shard};
use crate::stop::Stop;

/// What a worker is started from: plain values and descriptors, so that it can be started in another process.
pub struct Config {
    /// For each shard its own listening sockets (SO_REUSEPORT), of which the kernel chooses one for a connection.
    pub listeners: Vec<Vec<OwnedFd>>,
    /// What is served.
    pub site: Arc<Site>,
    /// Certificates and keys; `None`: plain HTTP.
    pub tls: Option<sitar_tls::Config>,
    /// Limits of each shard.
    pub limits: Limits,
    /// Whether the kernel seals.
    pub offload: TlsOffload,
    /// Memory for bodies, of all shards together.
    pub budget: Budget,
    /// The wall clock.
    pub clock: Clock,
    /// Callback for incidents.
    pub report: Report,
}

/// Running shards. Dropping it does not stop them.
pub struct Worker {
    shards: Mutex<Vec<JoinHandle<()>>>,
    /// Counts of all shards that have ended, in whatever way.
    counts: Arc<Mutex<Counts>>,
    mailboxes: Vec<Mailbox>,
    loader: Loader,
    /// Kept for shards that are started anew; closed when the worker stops, so that the port is free.
    listeners: Arc<Mutex<Vec<Vec<OwnedFd>>>>,
    stop: Stop,
}

/// A shard that fails again and again is not started more often than this.
const RESTART_PAUSE: Duration = Duration::from_millis(200);

impl Worker {
    /// Starts one thread for each list of listeners. `ring` makes a ring on the thread that will use it; the first rings
    /// are made before this returns.
    ///
    /// # Errors
    /// What `ring` says, or the system's refusal of a thread or descriptor. Nothing is left running then.
    pub fn start<E, F, M>(config: Config, ring: M) -> Result<Worker, F>
    where
        E: Engine,
        F: From<io::Error> + fmt::Display + Send + 'static,
        M: Fn(&sitar_io::Config) -> Result<Ring<E>, F> + Send + Sync + 'static,
    {
        let Config { listeners, site, tls, limits, offload, budget, clock, report } = config;
        let count = listeners.len();
        let mailboxes: Vec<Mailbox> = (0..count).map(|_| Mailbox::default()).collect();
        let newest = Newest::new(site);
        let loader = Loader::start(
            newest.clone(),
            budget,
            mailboxes.clone(),
            Arc::clone(&clock),
            Arc::clone(&report),
        )?;
        let listeners = Arc::new(Mutex::new(listeners));
        let (shards, counts, stop) = (Mutex::default(), Arc::default(), Stop::default());
        let worker = Worker { shards, counts, mailboxes, loader, listeners, stop };
        let ring = Arc::new(ring);
        let (tell, told) = channel();
        for index in 0..count {
            let keeper = Keeper {
                index,
                newest: newest.clone(),
                tls: tls.clone(),
                limits: limits.clone(),
                offload,
                clock: Arc::clone(&clock),
                report: Arc::clone(&report),
                loader: worker.loader.clone(),
                mailbox: worker.mailboxes[index].clone(),
                listeners: Arc::clone(&worker.listeners),
                counts: Arc::clone(&worker.counts),
                stop: worker.stop.clone(),
            };
            let (ring, tell) = (Arc::clone(&ring), tell.clone());
            let thread = thread::Builder::new()
                .name(format!("sitar-{index}"))
                .spawn(move || keeper.keep(&*ring, &tell));
            match thread {
                Ok(thread) => lock(&worker.shards).push(thread),
                Err(error) => {
                    worker.abandon();
                    return Err(error.into());
                }
            }
        }
        drop(tell);
        for _ in 0..count {
            // A closed channel: a thread has ended without a word, in a panic before its first ring was made.
            let word = told.recv().unwrap_or_else(|_| Err(io::Error::other("a shard did not start").into()));
            if let Err(error) = word {
                worker.abandon();
                return Err(error);
            }
        }
        Ok(worker)
    }

    /// Has `site` served from now on: soon after this returns, each shard takes it up between two requests. No connection is
    /// closed, and no answer is of both sites: one that has been begun is finished from the old site, which is freed after
    /// the last of them. Bodies in memory that are unchanged (see [`Site::inherit`]) are kept, so this may take a while and
    /// is for a thread that may block.
    pub fn swap(&self, site: Arc<Site>) {
        self.loader.swap(site);
    }

    /// Stops accepting and lets connections finish, for the time that the limits allow. A second call ends them.
    pub fn stop(&self) {
        lock(&self.listeners).clear();
        self.stop.more();
        for mailbox in &self.mailboxes {
            mailbox.wake();
        }
    }

    /// Returns the number of connections that a stop waits for because an answer is under way on
    /// them: soon after [`stop`](Worker::stop), and zero before it. Connections that wait for a
    /// request are closed and not counted.
    pub fn answering(&self) -> usize {
        self.stop.answering()
    }

    /// Waits until all shards have ended, and returns the sum of what they counted, before and after
    /// restarts.
    pub fn wait(&self) -> Counts {
        for shard in std::mem::take(&mut *lock(&self.shards)) {
            // A panic outside the loop has been printed by the panic hook. The counts are not in it.
            let _ = shard.join();
        }
        *lock(&self.counts)
    }

    fn abandon(self) {
        self.stop();
        self.stop();
        self.wait();
    }
}

/// Keeps one shard running.
struct Keeper {
    index: usize,
    newest: Newest,
    tls: Option<sitar_tls::Config>,
    limits: Limits,
    offload: TlsOffload,
    clock: Clock,
    report: Report,
    loader: Loader,
    mailbox: Mailbox,
    listeners: Arc<Mutex<Vec<Vec<OwnedFd>>>>,
    counts: Arc<Mutex<Counts>>,
    stop: Stop,
}

impl Keeper {
    fn keep<E, F, M>(&self, ring: &M, tell: &Sender<Result<(), F>>)
    where
        E: Engine,
        F: From<io::Error> + fmt::Display,
        M: Fn(&sitar_io::Config) -> Result<Ring<E>, F>,
    {
        let mut first = true;
        loop {
            let made = ring(&self.limits.ring()).and_then(|ring| Ok(Shard::new(ring, self.setup()?)));
            let why = match made {
                Ok(mut shard) => {
                    if std::mem::take(&mut first) {
                        let _ = tell.send(Ok(()));
                    }
                    // A panic unwinds out of the loop and leaves the shard behind. Its counts are
                    // plain numbers, right whatever else was half done; nothing else of it is used.
                    let ended = catch_unwind(AssertUnwindSafe(|| shard.run()));
                    *lock(&self.counts) += shard.counts();
                    // The ring takes back all that the kernel holds before its memory goes.
                    let dropped = catch_unwind(AssertUnwindSafe(move || drop(shard)));
                    match (ended, dropped) {
                        (Err(panic), _) | (_, Err(panic)) => panic_text(&*panic),
                        (Ok(Err(error)), Ok(())) => error.to_string(),
                        (Ok(Ok(())), Ok(())) => return,
                    }
                }
                Err(error) if first => {
                    let _ = tell.send(Err(error));
                    return;
                }
                Err(error) => error.to_string(),
            };
            if self.stop.is_asked() {
                return;
            }
            (self.report)(Incident::Restarted { shard: self.index, why });
            thread::sleep(RESTART_PAUSE);
        }
    }

    fn setup(&self) -> io::Result<Setup> {
        let listeners = lock(&self.listeners);
        // None left: the worker is stopping.
        let own = listeners.get(self.index).map_or(&[][..], Vec::as_slice);
        Ok(Setup {
            index: self.index,
            listeners: own.iter().map(OwnedFd::try_clone).collect::<io::Result<_>>()?,
            newest: self.newest.clone(),
            tls: self.tls.clone(),
            limits: self.limits.clone(),
            offload: self.offload,
            clock: Arc::clone(&self.clock),
            loader: self.loader.clone(),
            mailbox: self.mailbox.clone(),
            stop: self.stop.clone(),
        })
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("a panic").to_owned()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
