//! One run of a packer.

use std::io;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use sitar_publish::Encoded;

use super::plan::Plan;
use crate::cache::Cache;
use crate::channel::{Channel, Limits};
use crate::config::SiteContent;
use crate::handover::not_understood;
use crate::packer::{self, Job};
use crate::serve::orphans;
use crate::supervisor::{Live, Supervisor, child};

/// No file is begun after this time of a run at the fast level, and of one at the best.
const FAST_TIME: Duration = Duration::from_secs(10);
const BEST_TIME: Duration = Duration::from_secs(60);
/// A packer that takes nothing of its message for this time, or stops in the midst of its answer,
/// is given up.
const TAKING: Duration = Duration::from_secs(10);
/// A run that takes longer than this is ended.
const RUN_MAX: Duration = Duration::from_secs(7200);
/// How often a run looks whether it is still wanted.
const LOOK: Duration = Duration::from_millis(100);

impl Supervisor {
    /// Runs a packer. `None`: it was ended, because its work is of no use any more.
    pub(super) fn run_packer(
        &self,
        live: &Live,
        cache: &Cache,
        name: &str,
        plan: &Plan,
    ) -> Result<Option<Encoded>, String> {
        let failed = |error: io::Error| format!("no packer can be started: {error}");
        let site = plan.places.first().and_then(|place| live.config.sites.get(*place));
        let Some(SiteContent::Root { path, options, .. }) = site.map(|site| &site.content) else {
            return Ok(None);
        };
        if is_within(&cache.folder, path) {
            return Err("the cache lies in the site".to_owned());
        }
        let root =
            sitar_site::open_root(path).map_err(|error| format!("its root cannot be opened: {error}"))?;
        let used = live.config.sites.iter().filter_map(|site| cache.name(site)).collect();
        let job = Job {
            path: path.clone(),
            options: options.clone(),
            folder: cache.folder.clone(),
            name: name.to_owned(),
            prefix: cache.prefix().to_owned(),
            used,
            size: cache.size,
            is_best: plan.is_best,
            time: if plan.is_best { BEST_TIME } else { FAST_TIME },
            user: live.user,
            policy: live.config.settings.sandbox,
        };
        let (own, other) = Channel::pair().map_err(failed)?;
        let child = child::start(&self.program, other.into_socket(), packer::NAME, packer::PACKER_OF);
        let mut child = child.map_err(failed)?;
        let (value, blobs) = job.parts();
        let answer = own.give_up_after(TAKING).and_then(|()| {
            own.patience(TAKING)?;
            own.send(&value, &blobs, &[root.as_fd()])?;
            self.wait_for_packer(&own, name, plan.is_best)
        });
        end(&mut child, answer.is_ok());
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
                let message = channel.receive(Limits::OF_WORKER)?.ok_or(io::ErrorKind::UnexpectedEof)?;
                return Ok(Some(message.value));
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

/// Whether a folder, which need not be there yet, lies in a site's.
fn is_within(folder: &Path, site: &Path) -> bool {
    let whole = |path: &Path| path.canonicalize().ok();
    let folder = folder.ancestors().find_map(whole);
    folder.zip(whole(site)).is_some_and(|(folder, site)| folder.starts_with(site))
}

/// Ends a packer, unless it ends by itself because it has answered.
fn end(child: &mut Child, has_answered: bool) {
    if !has_answered || matches!(child.try_wait(), Ok(None)) {
        // It has put its file in place by then, or has none.
        let _ = child.kill();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cache_in_a_site_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let [site, link] = ["site", "link"].map(|name| folder.path().join(name));
        std::fs::create_dir(&site).unwrap();
        std::os::unix::fs::symlink(&site, &link).unwrap();
        for (cache, expected) in [("site", true), ("link/a/b", true), ("sites", false), ("", false)] {
            assert_eq!(is_within(&folder.path().join(cache), &link), expected, "{cache}");
        }
    }
}
