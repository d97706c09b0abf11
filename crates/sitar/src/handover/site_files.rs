//! What a site names, open.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::FileType;
use sitar_site::open_root;

use crate::cache::{Cache, Folder};
use crate::config::{Config, SiteConfig, SiteContent};
use crate::log;

/// The files and directories that a site names, open; or the reasons that they are not.
#[derive(Debug, Default)]
pub(crate) struct SiteFiles {
    /// Its archive or directory; `None`: it has none.
    pub(crate) root: Option<io::Result<OwnedFd>>,
    /// Its page for 500.
    pub(crate) error: Option<io::Result<OwnedFd>>,
    /// Its page for 503.
    pub(crate) unavailable: Option<io::Result<OwnedFd>>,
    /// Its file of users.
    pub(crate) users: Option<io::Result<OwnedFd>>,
    /// Its encodings file.
    pub(crate) encodings: Option<io::Result<OwnedFd>>,
}

/// What a configuration names, open.
#[derive(Debug, Default)]
pub(crate) struct Files {
    /// What each site names, in the order of the configuration.
    pub(crate) sites: Vec<SiteFiles>,
    /// What the access logs are written to, in the order of their targets.
    pub(crate) logs: Vec<io::Result<OwnedFd>>,
}

impl Files {
    /// Opens what a configuration names.
    pub(crate) fn open(config: &Config) -> Files {
        Files { sites: SiteFiles::open_all(config), logs: log::open::all(config) }
    }
}

impl SiteFiles {
    /// Opens what a site names.
    fn open(site: &SiteConfig) -> SiteFiles {
        let root = match &site.content {
            SiteContent::Root { path, .. } => Some(open_root(path)),
            SiteContent::Redirect { .. } => None,
        };
        SiteFiles {
            root,
            error: site.pages.error.as_deref().map(open_file),
            unavailable: site.pages.unavailable.as_deref().map(open_file),
            users: site.access.users.as_deref().map(open_file),
            encodings: None,
        }
    }

    /// Opens what all sites of a configuration name, and the encodings that the cache has of them.
    /// Without these a site is served as it is.
    pub(crate) fn open_all(config: &Config) -> Vec<SiteFiles> {
        let cache = Cache::of(config).and_then(|cache| Some((cache.open().ok()?, cache)));
        let open = |site: &SiteConfig| {
            let file = |(folder, cache): &(Folder, Cache)| folder.file(&cache.name(site)?).ok();
            let encodings = cache.as_ref().and_then(file).map(Ok);
            SiteFiles { encodings, ..SiteFiles::open(site) }
        };
        config.sites.iter().map(open).collect()
    }

    pub(super) fn all(&self) -> [&Option<io::Result<OwnedFd>>; 5] {
        [&self.root, &self.error, &self.unavailable, &self.users, &self.encodings]
    }
}

fn open_file(path: &Path) -> io::Result<OwnedFd> {
    let file = File::from(open_root(path)?);
    if file.metadata()?.is_file() { Ok(file.into()) } else { Err(io::Error::other("it is no file")) }
}

/// Whether a descriptor is that of a directory.
pub(crate) fn is_directory(fd: &OwnedFd) -> bool {
    rustix::fs::fstat(fd).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}
