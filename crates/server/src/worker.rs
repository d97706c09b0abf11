//! A worker: all shards of a process, each on a thread of its own.

use std::any::Any;
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use sitar_io::{Engine, Errno, Ring};
use sitar_site::{Budget, Site};

use crate::Counts;
use crate::access::Throttle;
use crate::access::verify::Verifier;
use crate::challenges::Challenges;
use crate::clock::Clock;
use crate::close::Close;
use crate::content::inbox::Inbox;
use crate::content::loader::Loader;
use crate::limits::{Limits, TlsOffload};
use crate::log::{Queues, Records, Traces};
use crate::numbers::{ShardNumbers, WorkerNumbers};
use crate::passed::{Passing, Shards};
use crate::refusals::Refusals;
use crate::report::{Incident, Report};
use crate::shard::Shard;
use crate::snapshot::{ChangeError, Hosts, LatestSnapshot, Listener, Snapshot};
use crate::spec::{Hooks, Spec, StartError, TlsSpec};
use crate::stop::Stop;
use crate::wake::Wake;

/// A shard that fails again and again is not started more often than this.
const RESTART_PAUSE: Duration = Duration::from_millis(200);
/// Between two looks at whether shards have turned.
const TURN_PAUSE: Duration = Duration::from_millis(5);
/// The time in which shards take up a change, at most. One that hangs holds up no other change.
const SETTLING: Duration = Duration::from_secs(3);
/// Between two looks at whether they have.
const SETTLE_PAUSE: Duration = Duration::from_millis(1);

/// Running shards. Dropping it does not stop them.
pub struct Worker {
    threads: Mutex<Vec<JoinHandle<()>>>,
    shards: Arc<ShardSpec>,
    /// Held while the snapshot is changed, so that no change undoes another.
    changing: Mutex<()>,
    /// Bytes that bodies may take in memory.
    memory_total: u64,
}

/// Everything that shards are started from, again if need be, and what they leave behind. All
/// shards of a worker share it: to give them one more thing is one more field here.
pub(crate) struct ShardSpec {
    /// Inboxes of each shard.
    pub(crate) inboxes: Vec<Inbox>,
    pub(crate) latest: LatestSnapshot,
    pub(crate) loader: Loader,
    /// For connections that another process has accepted.
    pub(crate) passed: Arc<Shards>,
    pub(crate) verifier: Verifier,
    /// What clients have done that they may do only now and then.
    pub(crate) throttle: Arc<Throttle>,
    /// The memory of bodies, of which the loader takes.
    pub(crate) memory: Budget,
    /// The sizes of rings, which stay what they were at the start.
    pub(crate) limits: Limits,
    pub(crate) offload: TlsOffload,
    pub(crate) clock: Clock,
    pub(crate) report: Report,
    /// For records of answers.
    pub(crate) queues: Arc<Queues>,
    /// Whether answers are timed.
    pub(crate) times: bool,
    pub(crate) stop: Stop,
    /// The numbers of each shard. One that is started again goes on with them.
    pub(crate) numbers: Vec<Arc<ShardNumbers>>,
    /// Called when a connection is refused.
    pub(crate) refusals: Arc<Wake>,
}

impl ShardSpec {
    fn new(spec: &Spec, hooks: &Hooks) -> Result<ShardSpec, StartError> {
        let hosts = spec.open_hosts(hooks)?;
        let listeners = spec.listeners.iter().map(|listener| {
            let sockets = listener.sockets.iter().map(OwnedFd::try_clone).collect::<io::Result<_>>()?;
            Ok(match listener.is_passed {
                true => Listener::passed(listener.role, sockets),
                false => Listener::behind(listener.proxies.clone(), listener.role, sockets),
            })
        });
        let listeners = listeners.collect::<io::Result<_>>().map_err(StartError::Listeners)?;
        let tls = match &hooks.tls {
            Some(config) => Some(config.clone()),
            None => spec.tls.as_ref().map(TlsSpec::config).transpose()?,
        };
        let mut first = Snapshot::new(hosts, listeners, tls, spec.limits.clone());
        (first.log, first.trusted_proxies) = (hooks.log, Arc::clone(&hooks.trusted_proxies));
        first.challenges = Arc::clone(&hooks.challenges);
        let shards = spec.shards();
        first.check().map_err(StartError::Change)?;
        if first.listeners.iter().any(|listener| listener.shards() != shards) {
            return Err(StartError::Change(ChangeError::Listeners));
        }
        let latest = LatestSnapshot::new(first.answering());
        let inboxes: Vec<Inbox> = (0..shards).map(|_| Inbox::default()).collect();
        let (clock, report) = (Arc::clone(&hooks.clock), Arc::clone(&hooks.report));
        let files = spec.limits.files_open.saturating_add(spec.limits.files_sent);
        let memory = spec.memory.budget().with_files(files.saturating_mul(shards));
        let loader = Loader::start(
            latest.clone(),
            memory.clone(),
            inboxes.clone(),
            Arc::clone(&clock),
            Arc::clone(&report),
        )?;
        let throttle = Arc::new(Throttle::default());
        let refusals = Arc::default();
        let verifier = match hooks.may_have_users {
            true => Verifier::start(inboxes.clone(), Arc::clone(&throttle))?,
            false => Verifier::new(inboxes.clone(), Arc::clone(&throttle)).0,
        };
        Ok(ShardSpec {
            passed: Shards::new(inboxes.clone()),
            inboxes,
            latest,
            loader,
            verifier,
            throttle,
            memory,
            limits: spec.limits.clone(),
            offload: spec.offload,
            clock,
            report,
            queues: Arc::new(Queues::new(Instant::now())),
            times: hooks.times,
            stop: Stop::default(),
            numbers: (0..shards).map(|_| Arc::new(ShardNumbers::calling(&refusals))).collect(),
            refusals,
        })
    }
}

impl Worker {
    /// Starts a thread for each shard of the spec. `ring` makes a ring on the thread that will use
    /// it; the first rings are made before this returns.
    ///
    /// # Errors
    /// What `ring` says, or a [`StartError`]. Nothing is left running then.
    pub fn start<E, F, M>(spec: &Spec, hooks: &Hooks, ring: M) -> Result<Worker, F>
    where
        E: Engine,
        F: From<StartError> + fmt::Display + Send + 'static,
        M: Fn(&sitar_io::Config) -> Result<Ring<E>, F> + Send + Sync + 'static,
    {
        let worker = Worker {
            threads: Mutex::default(),
            shards: Arc::new(ShardSpec::new(spec, hooks)?),
            changing: Mutex::default(),
            memory_total: spec.memory.total,
        };
        let ring = Arc::new(ring);
        let (tell, told) = channel();
        for index in 0..worker.shards.inboxes.len() {
            let shard = ShardThread { index, spec: Arc::clone(&worker.shards) };
            let (ring, tell) = (Arc::clone(&ring), tell.clone());
            let thread = thread::Builder::new().name(format!("sitar-{index}")).spawn(move || {
                shard.keep(&*ring, &tell);
                shard.spec.inboxes[index].settle(Inbox::NO_MORE);
            });
            match thread {
                Ok(thread) => lock(&worker.threads).push(thread),
                Err(error) => {
                    worker.abandon();
                    return Err(StartError::Io(error).into());
                }
            }
        }
        drop(tell);
        for _ in 0..worker.shards.inboxes.len() {
            // A closed channel: a thread has ended in a panic, before its first ring was made.
            let no_word = || Err(StartError::Io(io::Error::other("a shard did not start")).into());
            if let Err(error) = told.recv().unwrap_or_else(|_| no_word()) {
                worker.abandon();
                return Err(error);
            }
        }
        Ok(worker)
    }

    /// Serves from a changed snapshot from now on: each shard takes it up between two requests, and
    /// has when this returns, unless one hangs for seconds; a listener that is gone accepts nothing
    /// then. `change` gets a copy of the latest one. No connection is closed, and no answer is of
    /// two sites: one that has begun is finished from the old site, which is freed after the last
    /// of them. A certificate is for connections that are accepted from then on. Bodies in memory
    /// that are unchanged (see [`Site::inherit`]) are kept, so this may take a while and is for a
    /// thread that may block. One change waits for another.
    ///
    /// # Errors
    /// The change is not possible while serving, and nothing has changed; or the worker has ended.
    pub fn change(&self, change: impl FnOnce(&mut Snapshot)) -> Result<(), ChangeError> {
        self.put(change).map(drop)
    }

    /// Puts a changed snapshot into service. Returns whether every shard serves from it.
    fn put(&self, change: impl FnOnce(&mut Snapshot)) -> Result<bool, ChangeError> {
        let _one_at_a_time = lock(&self.changing);
        let snapshot = self.shards.loader.swap(change)?;
        Ok(self.settles(snapshot))
    }

    /// Serves one site from now on, whatever host a client names ([`change`](Worker::change)).
    pub fn swap(&self, site: Arc<Site>) {
        // A worker that has ended serves nothing, and there is no other error without a change of
        // TLS or of listeners.
        let _ = self.change(|next| next.hosts = Hosts::one(site));
    }

    /// Serves with other certificates from now on ([`change`](Worker::change)). Clients that have
    /// tickets from before still resume.
    ///
    /// # Errors
    /// They cannot be used, and those until now stay; or the worker speaks plain HTTP or has ended.
    pub fn swap_tls(&self, tls: &TlsSpec) -> Result<(), StartError> {
        let config = tls.config()?;
        self.change(|next| next.tls = Some(config)).map_err(StartError::Change)
    }

    /// Answers these challenges of ACME authorities from now on, and none of those before
    /// ([`change`](Worker::change)). They stay pending whatever else changes. Returns whether every
    /// shard answers them; one that hangs does later.
    ///
    /// # Errors
    /// The worker has ended.
    pub fn answer(&self, challenges: Arc<Challenges>) -> Result<bool, ChangeError> {
        self.put(|next| next.challenges = challenges)
    }

    /// Returns the listeners that are served.
    pub fn listeners(&self) -> Arc<[Listener]> {
        Arc::clone(&self.shards.latest.get().listeners)
    }

    /// Returns a handle to give the shards connections that another process has accepted, by one of
    /// the [listeners](Worker::listeners).
    #[must_use]
    pub fn passing(&self) -> Passing {
        Passing::new(&self.shards.passed)
    }

    /// Returns the records of the answers that are logged, from then on. For one thread that reads
    /// until the worker has ended: another one gets none of them.
    #[must_use]
    pub fn records(&self) -> Records {
        Records::new(Arc::clone(&self.shards.queues))
    }

    /// Returns the number of shards.
    #[must_use]
    pub fn shards(&self) -> usize {
        self.shards.inboxes.len()
    }

    /// Returns what starts traces, whose records are among the [others](Worker::records).
    #[must_use]
    pub fn traces(&self) -> Traces {
        Traces::new(Arc::clone(&self.shards.queues), self.shards.inboxes.clone())
    }

    /// Returns the numbers of connections that are refused, for one thread that waits for them.
    #[must_use]
    pub fn refusals(&self) -> Refusals {
        Refusals::new(self.shards.numbers.clone(), Arc::clone(&self.shards.refusals))
    }

    /// Returns whether every shard turns: each is woken, and has that long to come round. For a
    /// watchdog; the caller waits.
    pub fn turns(&self, limit: Duration) -> bool {
        let inboxes = &self.shards.inboxes;
        let before: Vec<u64> = inboxes.iter().map(Inbox::looks).collect();
        inboxes.iter().for_each(Inbox::wake);
        let turn = || inboxes.iter().zip(&before).all(|(inbox, before)| inbox.looks() != *before);
        wait_until(turn, limit, TURN_PAUSE)
    }

    /// Returns the account of memory for bodies. It can be asked when the worker is gone, too.
    pub fn memory(&self) -> Budget {
        self.shards.memory.clone()
    }

    /// Stops accepting, for another worker that serves from the same sockets, and has each
    /// connection end with its next answer, which says so (RFC 9112 §9.6). So no request is lost
    /// that a client sends meanwhile. HTTP/2 gets GOAWAY, and ends when what was asked is
    /// answered (RFC 9113 §6.8). What has been accepted is served one answer, a handshake included;
    /// what waits in the kernel's queue is left to the other worker. This one ends with its last
    /// connection, or after the time that the limits allow.
    pub fn drain(&self) {
        self.shards.stop.drain();
        self.close_listeners();
    }

    /// Waits until no shard accepts any more, after a [drain](Worker::drain) or a
    /// [stop](Worker::stop): a connection that is made later is another worker's. Returns `false`
    /// if one still does after some seconds.
    #[must_use]
    pub fn has_stopped_accepting(&self) -> bool {
        self.settles(Inbox::NO_MORE)
    }

    /// Waits until every shard serves from this snapshot or a later one.
    fn settles(&self, snapshot: u64) -> bool {
        let have_settled = || self.shards.inboxes.iter().all(|inbox| inbox.settled() >= snapshot);
        wait_until(have_settled, SETTLING, SETTLE_PAUSE)
    }

    /// Stops accepting and lets connections finish, for the time that the limits allow. Those that
    /// wait for a request are closed, also in the midst of a [drain](Worker::drain). A second call
    /// ends all of them.
    pub fn stop(&self) {
        self.shards.stop.more();
        self.close_listeners();
    }

    fn close_listeners(&self) {
        // After what was asked: what is put into service later is not accepted from.
        self.shards.latest.get().listeners.iter().for_each(Listener::close);
        for inbox in &self.shards.inboxes {
            inbox.wake();
        }
    }

    /// Returns the number of connections that a stop waits for because an answer is under way on
    /// them: soon after [`stop`](Worker::stop), and zero before it. Connections that wait for a
    /// request are closed and not counted.
    pub fn answering(&self) -> usize {
        self.shards.stop.answering()
    }

    /// Returns the sum of what all shards have counted until now, before and after restarts. It can
    /// be asked at any time, also when the worker has ended.
    pub fn counts(&self) -> Counts {
        let mut sum = Counts::default();
        self.shards.numbers.iter().for_each(|numbers| sum += numbers.counts.get());
        sum
    }

    /// Returns the sum of all numbers of its shards until now. It can be asked at any time, also
    /// when the worker has ended.
    pub fn numbers(&self) -> WorkerNumbers {
        let bodies = self.memory_total.saturating_sub(self.shards.memory.left());
        WorkerNumbers::sum(&self.shards.numbers, bodies)
    }

    /// Waits until all shards have ended, and returns the sum of what they counted, before and
    /// after restarts.
    pub fn wait(&self) -> Counts {
        for thread in std::mem::take(&mut *lock(&self.threads)) {
            // A panic outside the loop has been printed by the panic hook. The counts are not in
            // it.
            let _ = thread.join();
        }
        self.counts()
    }

    fn abandon(self) {
        self.stop();
        self.stop();
        self.wait();
    }
}

/// The thread of one shard, which starts it again when it fails.
struct ShardThread {
    index: usize,
    spec: Arc<ShardSpec>,
}

impl ShardThread {
    /// Runs the shard until the worker stops. `tell` gets the outcome of the first start.
    fn keep<E, F, M>(&self, ring: &M, tell: &Sender<Result<(), F>>)
    where
        E: Engine,
        F: From<StartError> + fmt::Display,
        M: Fn(&sitar_io::Config) -> Result<Ring<E>, F>,
    {
        let mut first = true;
        loop {
            let made = ring(&self.spec.limits.ring()).and_then(|ring| {
                Shard::new(ring, self.index, &self.spec).map_err(|error| StartError::Io(error).into())
            });
            let why = match made {
                Ok(shard) => {
                    if std::mem::take(&mut first) {
                        let _ = tell.send(Ok(()));
                    }
                    match self.run(shard) {
                        Ok(()) => return,
                        Err(why) => why,
                    }
                }
                Err(error) if first => {
                    let _ = tell.send(Err(error));
                    return;
                }
                Err(error) => error.to_string(),
            };
            if self.spec.stop.is_asked() {
                return;
            }
            (self.spec.report)(Incident::Restarted { shard: self.index, why });
            thread::sleep(RESTART_PAUSE);
        }
    }

    /// Runs a shard to its end, and counts the ends of its connections.
    ///
    /// # Errors
    /// The text of the panic or of the ring's error.
    fn run<E: Engine>(&self, mut shard: Shard<E>) -> Result<(), String> {
        // A panic unwinds out of the loop and leaves the shard behind. Its counts are numbers,
        // right whatever else was half done; nothing else of it is used. So connections that were
        // open are those without an end, not those that are found in its table.
        let ended = catch_unwind(AssertUnwindSafe(|| shard.run()));
        // On the thread that writes them.
        let counts = shard.numbers().counts();
        match &ended {
            Ok(Ok(())) => {}
            Ok(Err(error)) => counts.end_all(Close::Kernel(Errno::from_io_error(error).unwrap_or(Errno::IO))),
            Err(_) => counts.end_all(Close::Ours("a panic")),
        }
        if let Some(numbers) = self.spec.numbers.get(self.index) {
            numbers.rest();
        }
        // The ring takes back all that the kernel holds before its memory goes.
        let dropped = catch_unwind(AssertUnwindSafe(move || drop(shard)));
        match (ended, dropped) {
            (Err(panic), _) | (_, Err(panic)) => Err(panic_text(&*panic)),
            (Ok(Err(error)), Ok(())) => Err(error.to_string()),
            (Ok(Ok(())), Ok(())) => Ok(()),
        }
    }
}

/// Waits until something is so, and looks after each pause. Returns `false` after `limit`.
fn wait_until(is_so: impl Fn() -> bool, limit: Duration, pause: Duration) -> bool {
    let until = Instant::now() + limit;
    loop {
        if is_so() {
            return true;
        }
        if Instant::now() >= until {
            return false;
        }
        thread::sleep(pause);
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("a panic").to_owned()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
