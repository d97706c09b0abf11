//! A shard in a simulated world, and the helper thread's side of its loading.

use std::fs;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use sitar_io::Ring;
use sitar_io::sim::{Sim, World};
use sitar_site::{Budget, Site};

use super::lab::{fixture, later};
use crate::access::Throttle;
use crate::access::verify::{Verifier, VerifyWorker};
use crate::content::inbox::Inbox;
use crate::content::loader::{Loader, LoaderWorker};
use crate::log::Queues;
use crate::passed::Shards;
use crate::shard::Shard;
use crate::snapshot::{Hosts, LatestSnapshot, Listener, Role, Snapshot};
use crate::stop::Stop;
use crate::worker::ShardSpec;
use crate::{Limits, Report, TlsOffload};

pub(super) struct Served {
    pub(super) shard: Shard<Sim>,
    pub(super) loader: Loader,
    pub(super) loader_worker: LoaderWorker,
    pub(super) verify_worker: VerifyWorker,
    pub(super) passed: Arc<Shards>,
    pub(super) inbox: Inbox,
    pub(super) stop: Stop,
}

/// The one listener of a simulated world.
pub(super) fn listener(tls: bool) -> Listener {
    let socket: OwnedFd = fs::File::open("/dev/null").unwrap().into();
    Listener::new(if tls { Role::Https } else { Role::Http }, vec![socket])
}

/// Serves one site.
pub(super) fn serve(world: &World, site: &Arc<Site>, tls: bool, limits: Limits) -> Served {
    let own = tls.then(|| fixture().server.clone());
    serve_first(world, Snapshot::new(Hosts::one(Arc::clone(site)), vec![listener(tls)], own, limits))
}

/// Serves a snapshot, the first one.
pub(super) fn serve_first(world: &World, first: Snapshot) -> Served {
    serve_sealing(world, first, TlsOffload::None)
}

/// Serves a snapshot, the first one, with this sealer.
pub(super) fn serve_sealing(world: &World, first: Snapshot, offload: TlsOffload) -> Served {
    let limits = first.limits.clone();
    let ring = Ring::sim(&limits.ring(), world).unwrap();
    let (inbox, stop) = (Inbox::default(), Stop::default());
    let latest = LatestSnapshot::new(first);
    let memory = Budget::new(1 << 20, 1 << 19);
    let report: Report = Arc::new(|incident| panic!("{incident}"));
    let (loader, loader_worker) = Loader::new(
        latest.clone(),
        memory.clone(),
        vec![inbox.clone()],
        Arc::new(later),
        Arc::clone(&report),
    );
    let throttle = Arc::<Throttle>::default();
    let (verifier, verify_worker) = Verifier::new(vec![inbox.clone()], Arc::clone(&throttle));
    let passed = Shards::new(vec![inbox.clone()]);
    let spec = ShardSpec {
        passed: Arc::clone(&passed),
        inboxes: vec![inbox.clone()],
        latest,
        loader: loader.clone(),
        verifier,
        throttle,
        memory,
        limits,
        offload,
        clock: Arc::new(|| UNIX_EPOCH + Duration::from_secs(784_111_777)),
        report,
        queues: Arc::new(Queues::new(world.now())),
        times: false,
        stop: stop.clone(),
        refusals: Arc::default(),
        numbers: vec![Arc::default()],
    };
    let shard = Shard::new(ring, 0, &spec).unwrap();
    Served { shard, loader, loader_worker, verify_worker, passed, inbox, stop }
}
