//! One seed: a world, a shard, peers, and what must hold at the end.

use std::cell::RefCell;
use std::fs;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sitar_io::Ring;
use sitar_io::sim::{Faults, Next, Rng, World};
use sitar_site::{Budget, Options, Site};

use super::logged::Logged;
use super::peer::{Peer, Tally};
use super::served::listener;
use crate::access::verify::Verifier;
use crate::content::inbox::Inbox;
use crate::content::loader::{Loader, inherited};
use crate::limits::{Limits, TlsOffload};
use crate::log::{LogId, Queues};
use crate::numbers::WorkerNumbers;
use crate::passed::Shards;
use crate::shard::Shard;
use crate::snapshot::{Hosts, LatestSnapshot, Snapshot};
use crate::stop::Stop;
use crate::worker::ShardSpec;

/// The files that are served: names and lengths.
pub(super) const FILES: [(&str, usize); 5] =
    [("tiny.txt", 11), ("page.html", 3_000), ("k9.bin", 9_000), ("k70.bin", 70_000), ("k300.bin", 300_000)];

/// Sites that take turns. Each has all files, and each file has another content and another length
/// in each of them, but for [`SAME`], which is one file on the disk.
pub(super) const VERSIONS: usize = 3;
/// The file that never changes, so that its representation is passed on from site to site.
pub(super) const SAME: &str = "page.html";

/// The length of a file in the site of that turn.
pub(super) fn length(name: &str, len: usize, turn: u64) -> usize {
    if name == SAME { len } else { len + turn as usize % VERSIONS * 7 }
}

/// The content of a file in the site of that turn.
pub(super) fn body(name: &str, len: usize, turn: u64) -> Vec<u8> {
    let version = if name == SAME { 0 } else { turn % VERSIONS as u64 };
    let len = length(name, len, turn);
    let mut state = name.len() as u64 * 977 + version * 31;
    (0..len)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as u8
        })
        .collect()
}

/// The result of one seed; equal for equal seeds.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Report {
    pub(super) answers: u64,
    pub(super) refused: u64,
    pub(super) lost: u64,
    pub(super) ended: u64,
    pub(super) cut: u64,
    pub(super) kernel_sealed: u64,
    /// Answers from a site that was not the first.
    pub(super) swapped: u64,
    /// Answers over HTTP/2.
    pub(super) streams: u64,
    /// Conversations that a drain ended before all was asked.
    pub(super) told: u64,
    /// Answers since a drain began.
    pub(super) late: u64,
    /// Over what every peer received.
    received: [u8; 32],
    /// The world's own hash: over all that the ring was asked and answered.
    world: u64,
}

/// The conditions in a world.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Weather {
    /// Faults by the seed, and peers that break off.
    Rough,
    /// No faults, peers that stay, room for all of them: each has to get its answers.
    Calm,
    /// The same with sockets that hold 2 KiB at most, so that records wait for room; TLS, with a
    /// kernel that seals.
    Narrow,
    /// As calm; and the server drains in the midst of it, for as long as there are connections.
    Drained,
}

/// Shared by all seeds: they read it only.
pub(super) struct Fixture {
    folders: Vec<PathBuf>,
    pub(super) server: sitar_tls::Config,
    pub(super) client: Arc<rustls::ClientConfig>,
}

impl Fixture {
    /// Opens the sites. Each seed has its own: a site remembers what has been read of it, and that
    /// decides how a file is loaded.
    pub(super) fn sites(&self) -> Vec<Arc<Site>> {
        let sites = self.folders.iter().map(|folder| Site::open(folder, &Options::default()));
        sites.map(|site| Arc::new(site.unwrap())).collect()
    }
}

pub(super) fn fixture() -> &'static Fixture {
    static FIXTURE: OnceLock<Fixture> = OnceLock::new();
    FIXTURE.get_or_init(|| {
        let directory = std::env::temp_dir().join(format!("sitar-sim-{}", std::process::id()));
        let _ = fs::remove_dir_all(&directory);
        let folder = |turn: usize| directory.join(turn.to_string());
        for turn in 0..VERSIONS {
            fs::create_dir_all(folder(turn)).unwrap();
            for first in 0..turn {
                // So that a file has another id in each site.
                fs::write(folder(turn).join(format!("a{first}")), "").unwrap();
            }
            for (name, len) in FILES {
                if name == SAME && turn > 0 {
                    fs::hard_link(folder(0).join(name), folder(turn).join(name)).unwrap();
                } else {
                    fs::write(folder(turn).join(name), body(name, len, turn as u64)).unwrap();
                    // Last-Modified is among what peers receive, which must be the same in each
                    // run.
                    let file = fs::File::options().write(true).open(folder(turn).join(name)).unwrap();
                    file.set_modified(UNIX_EPOCH + Duration::from_secs(700_000_000)).unwrap();
                }
            }
        }
        // Older than the grain of their time stamps, or they would not be passed on.
        std::thread::sleep(Duration::from_millis(120));
        // Ed25519: signatures of one length, so that the length of each flight is the same in each
        // run.
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        let parameters = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let certificate = parameters.self_signed(&key).unwrap();
        let own = sitar_tls::Identity::from_pem(certificate.pem().as_bytes(), key.serialize_pem().as_bytes())
            .unwrap();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(certificate.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut client = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        client.resumption = rustls::client::Resumption::disabled();
        Fixture {
            folders: (0..VERSIONS).map(folder).collect(),
            server: sitar_tls::Config::new(vec![own], &[b"h2", b"http/1.1"]).unwrap(),
            client: Arc::new(client),
        }
    })
}

/// The helper threads' clock at the beginning: long after the files of the sites were written, so
/// that they count as settled.
pub(super) fn later() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(4_000_000_000)
}

/// Small enough to be reached, different from seed to seed.
fn limits(rng: &mut Rng) -> Limits {
    Limits {
        connections: 1 + rng.below(8) as u32,
        rx_buffers: [4, 8, 64][rng.below(3)],
        tx_buffers: 8 + rng.below(16) as u32,
        held_max: [60_000, 200_000, 4 << 20][rng.below(3)],
        ..Limits::default()
    }
}

/// Places of open files so few that connections wait for them. Returns how many files may be open.
/// Drawn apart, so that the seeds from before it mean what they did.
fn few_files(seed: u64, limits: &mut Limits) -> usize {
    let mut rng = Rng::new(seed ^ 0xf11e_50ff);
    limits.files_open = [1, 2, 64][rng.below(3)];
    limits.files_spare = [0, 1, 3, 64][rng.below(4)];
    limits.files_open + 1 + rng.below(4)
}

/// The kernel in two of five worlds. Drawn apart, so that the seeds from before it mean what they
/// did.
fn offload(seed: u64, calm: bool) -> TlsOffload {
    let mut rng = Rng::new(seed ^ 0x5ea1_e125);
    if !rng.chance(400) {
        return TlsOffload::None;
    }
    // A client that asks for another key where there is none is disconnected, and left without
    // answers.
    TlsOffload::Kernel { rekey: calm || rng.chance(500) }
}

/// Longer than any peer stays.
const LONG: Duration = Duration::from_secs(1000);

/// Prints the end of the trace of a run that panics.
struct LastWords(World);

impl Drop for LastWords {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let lines = self.0.take_trace();
            println!("{}", lines[lines.len().saturating_sub(200)..].join("\n"));
        }
    }
}

/// Runs one seed to its end. Returns its trace, if wanted, and what it came to.
pub(super) fn run(seed: u64, weather: Weather, trace: bool) -> (Vec<String>, Report) {
    let fixture = fixture();
    let sites = fixture.sites();
    let mut rng = Rng::new(seed.wrapping_mul(0x9e37_79b9).wrapping_add(1));
    let calm = weather != Weather::Rough;
    let narrow = weather == Weather::Narrow;
    let world = if calm {
        let mut faults = Faults::none();
        faults.small_window = if narrow { 1000 } else { 0 };
        World::with(seed, faults)
    } else {
        World::new(seed)
    };
    let _last_words = trace.then(|| {
        world.start_trace();
        LastWords(world.clone())
    });
    let mut limits = limits(&mut rng);
    if calm {
        limits.connections = 16;
        limits.held_max = 4 << 20;
    }
    if weather == Weather::Drained {
        limits.hand_over = LONG;
        // None is given up for another: many of them are idle, and all have one address.
        limits.connections = 64;
    }
    let files = (!calm).then(|| few_files(seed, &mut limits));
    let secure = rng.chance(600) || narrow;
    let offload = if narrow { TlsOffload::Kernel { rekey: true } } else { offload(seed, calm) };
    if let TlsOffload::Kernel { rekey } = offload {
        world.set_kernel_tls(rekey, super::kernel_tls::seal);
    }
    let ring = Ring::sim(&limits.ring(), &world).unwrap();
    let inbox = Inbox::default();
    let total = [0, 60_000, 400_000, 4 << 20][rng.below(4)];
    let budget = Budget::new(total, total / 2).with_files(files.unwrap_or(usize::MAX));
    let tls = secure.then(|| fixture.server.clone());
    let hosts = Hosts::one(Arc::clone(&sites[0]));
    // Drawn apart, so that the seeds from before it mean what they did.
    let is_logged = Rng::new(seed ^ 0x10_66ed).chance(600);
    let times = Rng::new(seed ^ 0x71_3e5).chance(600);
    let hosts = if is_logged { hosts.logged(LogId(0)) } else { hosts };
    let mut first = Snapshot::new(hosts, vec![listener(secure)], tls, limits.clone());
    first.log = is_logged.then_some(LogId(0));
    let latest = LatestSnapshot::new(first);
    let seconds = Arc::new(AtomicU64::new(0));
    let passed = Arc::clone(&seconds);
    let (loader, mut loader_worker) = Loader::new(
        latest.clone(),
        budget.clone(),
        vec![inbox.clone()],
        Arc::new(move || later() + Duration::from_secs(passed.load(Ordering::Relaxed))),
        Arc::new(|incident| panic!("{incident}")),
    );
    if !calm {
        // Several of the files take the way of large ones, which takes more looks of the helper
        // threads. Calm peers open windows while they wait, more often than a server allows for
        // long.
        loader_worker.set_large_above(32 << 10);
    }
    let queues = Arc::new(Queues::new(world.now()));
    let mut logged = Logged::new(&queues);
    let swapper = loader.clone();
    let stop = Stop::default();
    let spec = ShardSpec {
        passed: Shards::new(vec![inbox.clone()]),
        inboxes: vec![inbox.clone()],
        latest,
        loader,
        verifier: Verifier::new(vec![inbox.clone()], Arc::default()).0,
        throttle: Arc::default(),
        memory: budget.clone(),
        limits,
        offload,
        clock: Arc::new(|| UNIX_EPOCH + Duration::from_secs(784_111_777)),
        report: Arc::new(|incident| panic!("{incident}")),
        queues: Arc::clone(&queues),
        times,
        stop: stop.clone(),
        refusals: Arc::default(),
        numbers: vec![Arc::default()],
    };
    let mut shard = Shard::new(ring, 0, &spec).unwrap();

    let tally = Rc::new(RefCell::new(Tally::default()));
    // Each how many looks of the helper thread another site is put up, in most worlds.
    let restless = [0, 400, 60, 4][rng.below(4)];
    let peers = 1 + rng.below(10);
    for peer_number in 0..peers as u64 {
        let (tally, mut start) =
            (Rc::clone(&tally), Some(world.now() + Duration::from_millis(rng.below(2000) as u64)));
        let number = rng.next();
        let mut seed = Some(Rng::new(number));
        // Drawn apart, so that the seeds from before it mean what they did.
        let streams = Rng::new(number ^ 0x2_9113).chance(500);
        let mut peer = None;
        world.script(move |world| {
            if let Some(at) = start.take() {
                return Next::At(at);
            }
            // Another process would serve it.
            if peer.is_none() && tally.borrow().draining {
                return Next::Done;
            }
            let tls = secure.then_some(&fixture.client);
            let peer = peer.get_or_insert_with(|| {
                let rng = seed.take().expect("made once");
                let mut peer = Peer::new(world, peer_number, tls, rng, calm, streams, &tally);
                if weather == Weather::Drained {
                    peer.set_pace(Rng::new(number ^ 0x9ace));
                }
                peer
            });
            peer.act(world)
        });
    }
    let begun = world.now();
    if weather == Weather::Drained {
        let mut start = Some(begun + Duration::from_millis(Rng::new(seed ^ 0xd_4a1e).below(3000) as u64));
        let (stop, post, tally) = (stop.clone(), inbox.clone(), Rc::clone(&tally));
        world.script(move |_| {
            if let Some(at) = start.take() {
                return Next::At(at);
            }
            tally.borrow_mut().draining = true;
            stop.drain();
            post.wake();
            Next::Done
        });
    }
    // The helper threads' part: they look now and then, and take their time.
    let mut pause = Rng::new(rng.next());
    let loader_worker = Rc::new(RefCell::new(Some(loader_worker)));
    let its_worker = Rc::clone(&loader_worker);
    let (post, ended) = (inbox.clone(), Rc::new(RefCell::new(false)));
    let over = Rc::clone(&ended);
    let turns = Rc::clone(&tally);
    world.script(move |world| {
        let mut loader_worker = its_worker.borrow_mut();
        let Some(loader_worker) = loader_worker.as_mut() else { return Next::Done };
        seconds.store(world.now().duration_since(begun).as_secs(), Ordering::Relaxed);
        // As long as loads wait in front of it or behind it, a swap finds connections in the midst
        // of everything.
        if restless > 0 && pause.below(restless) == 0 {
            let (older, loaded) = loader_worker.inventory();
            let turn = turns.borrow().put_up + 1;
            let site = &sites[turn as usize % VERSIONS];
            let mut next = (*older).clone();
            next.hosts = Hosts::one(Arc::clone(site));
            if is_logged {
                next.hosts = next.hosts.logged(LogId(0));
            }
            let next = next.after(&older).unwrap();
            let kept = inherited(&next, &older, loaded, later());
            swapper.swap_to(next, kept).unwrap();
            turns.borrow_mut().put_up = turn;
        }
        // Not always to the end: jobs of a former site must come after the swap, too.
        while pause.below(8) > 0 && loader_worker.work_once() {}
        // (This one, which runs now, is not counted.)
        if world.census().scripts == 0 {
            while loader_worker.work_once() {}
            // All peers have gone: nothing else may make the ring's wait return.
            post.wake();
        }
        if *over.borrow() {
            Next::Done
        } else {
            Next::At(world.now() + Duration::from_millis(1 + pause.below(40) as u64))
        }
    });

    // Until every peer has gone; then the server is asked to stop, and must end by itself.
    let mut turns = 0;
    while world.census().scripts > 1 && !shard.is_over() {
        shard.turn().unwrap();
        shard.check();
        logged.read_now_and_then();
        tally.borrow_mut().taken_up = shard.snapshot();
        turns += 1;
        assert!(turns < 3_000_000, "peers still there after {turns} turns");
    }
    assert!(world.now() < begun + LONG, "something holds the drain");
    *ended.borrow_mut() = true;
    // Connections whose peers have gone end by themselves, at the latest by their deadlines.
    for _ in 0..100_000 {
        if shard.is_idle() && world.census().connections == 0 {
            break;
        }
        shard.turn().unwrap();
    }
    shard.check_idle();
    stop.more();
    shard.run().unwrap();
    let counts = shard.counts();
    let kernel_sealed = counts.kernel_sealed;
    assert_eq!(counts.ends.sum(), counts.accepted, "a connection without a reason: {counts:?}");
    let numbers = WorkerNumbers::sum(&spec.numbers, 0);
    let by_site = numbers.sites.iter().flat_map(|site| &site.answers);
    assert_eq!(by_site.map(|one| one.count).sum::<u64>(), counts.requests, "{:?}", numbers.sites);
    let timed = numbers.durations.buckets().last().map(|(_, count)| count);
    assert_eq!(timed, Some(if times { counts.requests } else { 0 }), "answers that were timed");
    let handshakes = numbers.handshakes.iter().map(|one| one.whole + one.resumed);
    assert_eq!(handshakes.sum::<u64>(), counts.handshakes);
    // A kernel that cannot change its key is a limit of this program.
    assert!(!calm || counts.ends.own_faults == 0, "{counts:?}");
    assert_eq!(world.blamed(), None, "the ring broke a promise");
    let world_hash = world.hash();
    drop((shard, loader_worker.take()));
    logged.check(if is_logged { counts.requests } else { 0 });
    // What came for a shard that had ended.
    drop(inbox.take());
    assert_eq!(world.census().connections, 0);
    assert_eq!(budget.left(), total, "memory of a former site is still counted");
    let tally = tally.borrow();
    if weather == Weather::Drained {
        // The others still wait in the kernel's queue.
        assert_eq!(tally.lost, tally.connected - counts.accepted, "a drain has lost requests");
    }
    let Tally { answers, refused, lost, ended, cut, swapped, streams, told, late, .. } = *tally;
    let mut received = [0; 32];
    received.copy_from_slice(tally.received.clone().finish().as_ref());
    let report = Report {
        answers,
        refused,
        lost,
        ended,
        cut,
        kernel_sealed,
        swapped,
        streams,
        told,
        late,
        received,
        world: world_hash,
    };
    (world.take_trace(), report)
}
