//! What a worker gives up before it opens anything.

use std::os::fd::OwnedFd;

use rustix::process::{Gid, Uid};
use rustix::thread::{set_thread_gid, set_thread_groups, set_thread_uid};

use crate::config::{self, Config, SiteContent};
use crate::error::Error;
use crate::events;
use crate::handover::{Opening, User, is_directory};
use crate::sandbox::{self, Entered, Reach};
use crate::serve::cannot_start_a_thread;
use crate::settings::ConfigFile;

/// A worker's configuration, and the sandbox that it is in.
pub(super) struct Contained {
    pub(super) config: Config,
    pub(super) sandbox: Entered,
}

/// Becomes the user that serves, and enters the sandbox. The process has one thread.
///
/// # Errors
/// One of both cannot be.
pub(super) fn enter(opening: &Opening, file: &ConfigFile) -> Result<Contained, Error> {
    let config = config::read_texts(&opening.texts, &file.given, file.port)
        .map_err(|problems| config::refused(&problems))?;
    events::set_form(config.log.events);
    if let Some(user) = opening.user {
        sandbox::prepare(config.settings.sandbox);
        become_user(user)?;
    }
    let mut everywhere = false;
    let mut roots: Vec<OwnedFd> = Vec::new();
    for (site, files) in config.sites.iter().zip(&opening.files) {
        let Some(Ok(root)) = &files.root else { continue };
        if !is_directory(root) {
            continue;
        }
        roots.push(root.try_clone().map_err(cannot_start_a_thread)?);
        everywhere |= matches!(&site.content, SiteContent::Root { options, .. } if options.follow_links);
    }
    let sandbox = sandbox::enter(config.settings.sandbox, Reach::Worker { roots, everywhere })?;
    Ok(Contained { config, sandbox })
}

/// Becomes a user for good, with no group but its own.
pub(crate) fn become_user(user: User) -> Result<(), Error> {
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    let done =
        set_thread_groups(&[gid]).and_then(|()| set_thread_gid(gid)).and_then(|()| set_thread_uid(uid));
    done.map_err(|errno| {
        Error::new(format!("cannot become user {}", user.uid))
            .cause(std::io::Error::from(errno))
            .hint("start sitar as root, or take 'user' out of [server]")
    })
}
