//! `sitar serve PATH --domain NAME`: what a start adds to what the flags say.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use crate::config::{self, keys};
use crate::settings::{ConfigFile, Settings};
use crate::supervisor::UPGRADE_OF;
use crate::{admin, events};

/// Says what the operator agrees to, and returns the file with an admin socket, over which
/// `sitar status` and `sitar cert` ask; without one where that cannot be.
pub(super) fn begin(file: &ConfigFile, settings: &Settings) -> ConfigFile {
    let mut file = file.clone();
    if let Some(text) = &mut file.text {
        if settings.acme_directory.is_none() {
            events::info(format_args!("--domain agrees to the terms of Let's Encrypt: {}", keys::TERMS));
        }
        if let Some(socket) = admin::socket_of_domain().as_deref().and_then(socket) {
            text.push_str("[admin] # --domain\nsocket = ");
            text.push_str(&config::quoted(&socket));
            text.push_str(" # --domain\n");
        }
    }
    file
}

/// Returns the path if the socket can be made there.
fn socket(path: &Path) -> Option<String> {
    let none = |why: &str| {
        events::warning(format_args!("sitar cert and status cannot ask this server: {why}"));
        None
    };
    if let Some(folder) = path.parent() {
        let mode = if rustix::process::geteuid().is_root() { 0o755 } else { 0o700 };
        // One that is there is as good; that it is missing is said below.
        let _ = DirBuilder::new().mode(mode).create(folder);
    }
    if let Err(error) = admin::check(path) {
        return none(&error.sentence());
    }
    // The one that is to be taken over from listens there, too.
    if std::env::var_os(UPGRADE_OF).is_none() && UnixStream::connect(path).is_ok() {
        return none("another one has the admin socket");
    }
    path.to_str().map(str::to_owned)
}
