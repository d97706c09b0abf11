//! Notices when the certificates that certify clients change.
//!
//! They are few, and change every few years. So their files are looked at every two seconds,
//! wherever they lie, and a change is a reason to read the whole configuration again: what cannot
//! be read or used changes nothing, and is said once.

use std::fs::Metadata;
use std::os::unix::fs::FileTypeExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::Supervisor;
use super::certificates::ClientCaFile;
use super::child::lock;
use super::reload::Reloads;
use crate::certificate::read_client_ca;
use crate::events;

/// The time between two looks.
const PAUSE: Duration = Duration::from_secs(2);

/// What a look has found at each path; `None`: nothing that can be used.
type Seen = Vec<(PathBuf, Option<Vec<u8>>)>;

impl Supervisor {
    /// Watches the files, if there are some and that is not done yet: on a thread of their own, for
    /// as long as the process lives, since another configuration may name others.
    pub(super) fn watch_client_cas(self: &Arc<Self>) {
        if self.live().certificates.client_cas.is_empty() {
            return;
        }
        let Some(reloads) = lock(&self.unwatched).take() else { return };
        let supervisor = Arc::clone(self);
        let watch = move || supervisor.look_at_client_cas(&reloads);
        if let Err(error) = thread::Builder::new().name("sitar-client-ca".into()).spawn(watch) {
            events::warning(format_args!("changes of client_ca are not noticed: {error}"));
        }
    }

    fn look_at_client_cas(&self, reloads: &Reloads) {
        let (mut last, mut asked) = (Seen::new(), Seen::new());
        while !self.is_stopping() {
            thread::sleep(PAUSE);
            let served = self.live().certificates.client_cas.clone();
            let seen = look(&served);
            // Twice the same: nothing is being written. Asked for once, whatever comes of it.
            if seen == last && seen != asked && differs(&seen, &served) {
                reloads.ask();
                asked.clone_from(&seen);
            }
            last = seen;
        }
    }
}

fn look(served: &[ClientCaFile]) -> Seen {
    // What came through a FIFO cannot be read again.
    let files = served.iter().filter(|one| !one.path.metadata().is_ok_and(|found| is_fifo(&found)));
    let read = |one: &ClientCaFile| (one.path.clone(), read_client_ca(&one.path).ok().map(|(pem, _)| pem));
    files.map(read).collect()
}

fn differs(seen: &Seen, served: &[ClientCaFile]) -> bool {
    let is_other = |path: &PathBuf, found: &Option<Vec<u8>>| {
        served.iter().any(|one| one.path == *path && found.as_ref() != Some(&one.pem))
    };
    seen.iter().any(|(path, found)| is_other(path, found))
}

fn is_fifo(found: &Metadata) -> bool {
    found.file_type().is_fifo()
}
