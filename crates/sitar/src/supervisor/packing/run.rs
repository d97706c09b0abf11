//! One run of a packer.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use sitar_publish::Encoded;

use super::encoded;
use super::plan::Plan;
use crate::cache::{Cache, Folder, identity, is_within};
use crate::channel::{Channel, Limits};
use crate::config::SiteContent;
use crate::handover::not_understood;
use crate::packer::{self, Job};
use crate::serve::orphans;
use crate::supervisor::{Live, Supervisor, child};

/// No file is begun after this time of a run at the fast level, and of one at the best.
const FAST_TIME: Duration = Duration::from_secs(10);
const BEST_TIME: Duration = Duration::from_secs(60);
/// A packer that takes nothing of its message for this time, or takes longer to say its answer once
/// it has begun, is given up.
const TAKING: Duration = Duration::from_secs(10);
/// A run that takes longer than this is ended.
const RUN_MAX: Duration = Duration::from_secs(7200);
/// How often a run looks whether it is still wanted.
const LOOK: Duration = Duration::from_millis(100);

/// What has become of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    Done(Encoded),
    /// It was ended, because its work is of no use any more.
    Ended,
    /// Another server of this configuration writes to the cache.
    Busy,
}

impl Supervisor {
    /// Makes encodings of a site, and puts them into the cache.
    pub(super) fn run_packer(
        &self,
        live: &Live,
        cache: &Cache,
        name: &str,
        plan: &Plan,
    ) -> Result<Outcome, String> {
        let site = plan.places.first().and_then(|place| live.config.sites.get(*place));
        let Some(SiteContent::Root { path, options, .. }) = site.map(|site| &site.content) else {
            return Ok(Outcome::Ended);
        };
        if is_within(&cache.folder, path) {
            return Err("the cache lies in the site".to_owned());
        }
        let root =
            sitar_site::open_root(path).map_err(|error| format!("its root cannot be opened: {error}"))?;
        let unusable = |error: io::Error| {
            format!("the cache {} cannot be used: {error}", crate::error::printable(&cache.folder))
        };
        let Some(folder) = cache.make().and_then(Folder::lock).map_err(unusable)? else {
            return Ok(Outcome::Busy);
        };
        let taken = folder.tidy(&cache.names(&encoded(live)), name);
        let earlier = folder.file(name).ok();
        let new = folder.begin(name).map_err(unusable)?;
        let job = Job {
            path: path.clone(),
            options: options.clone(),
            room: (u64::from(cache.size) << 20).saturating_sub(taken),
            is_best: plan.is_best,
            time: if plan.is_best { BEST_TIME } else { FAST_TIME },
            user: live.user,
            policy: live.config.settings.sandbox,
            events: live.config.log.events,
        };
        let files: Vec<BorrowedFd<'_>> =
            [&root, &new.file].into_iter().chain(&earlier).map(AsFd::as_fd).collect();
        let encoded = self.run_job(&job, &files, name);
        self.packing.spend(new.size());
        let Some(mut encoded) = encoded? else { return Ok(Outcome::Ended) };
        // The packer has ended, so nothing is written from here on. What it says decides nothing
        // but whether there is a new file. What cannot be read is left each time, and the rest is
        // taken over as it was.
        let before = earlier.as_ref().and_then(identity);
        encoded.is_unchanged |= before.is_some() && identity(&new.file) == before;
        if !encoded.is_unchanged {
            new.place().map_err(unusable)?;
        }
        Ok(Outcome::Done(encoded))
    }

    /// Has a packer do a job, and waits for its end. `None`: it was ended before.
    fn run_job(&self, job: &Job, files: &[BorrowedFd<'_>], name: &str) -> Result<Option<Encoded>, String> {
        let failed = |error: io::Error| format!("no packer can be started: {error}");
        let (own, other) = Channel::pair().map_err(failed)?;
        let child = child::start(&self.program, other.into_socket(), packer::NAME, packer::PACKER_OF);
        let mut child = child.map_err(failed)?;
        let (value, blobs) = job.parts();
        let answer = own.give_up_after(TAKING).and_then(|()| {
            own.send(&value, &blobs, files)?;
            self.wait_for_packer(&own, name, job.is_best)
        });
        // It has written everything by then, or has answered nothing.
        let _ = child.kill();
        let ended = orphans::wait(child);
        match answer {
            Ok(None) => Ok(None),
            Ok(Some(value)) => {
                packer::read_done(&value).ok_or_else(|| not_understood().to_string())?.map(Some)
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                let how = ended.map_or_else(|error| error.to_string(), |status| status.to_string());
                Err(format!("the packer has ended ({how})"))
            }
            Err(error) => Err(error.to_string()),
        }
    }

    /// Waits for the answer of a packer. `None`: it is not wanted any more.
    fn wait_for_packer(
        &self,
        channel: &Channel,
        name: &str,
        is_best: bool,
    ) -> io::Result<Option<serde_json::Value>> {
        let begin = Instant::now();
        let pause = Timespec::try_from(LOOK).ok();
        loop {
            let mut fds = [PollFd::new(channel, PollFlags::IN)];
            let _ = poll(&mut fds, pause.as_ref());
            if !fds[0].revents().is_empty() {
                let message = channel.receive_within(Limits::OF_PACKER, TAKING)?;
                return Ok(Some(message.ok_or(io::ErrorKind::UnexpectedEof)?.value));
            }
            if self.is_stopping() || self.packing.is_over(name, is_best, &|| self.live().generation) {
                return Ok(None);
            }
            if begin.elapsed() >= RUN_MAX {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "the packer takes too long"));
            }
        }
    }
}
