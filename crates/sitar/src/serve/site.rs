//! Opens the site that is named, or the handbook.

use std::sync::Arc;

use sitar_server::SiteSpec;
use sitar_site::{Options, Site};

use crate::error::Error;
use crate::settings::Settings;
use crate::start::Content;
use crate::watch::{SourceId, Sources};
use crate::{cli, handbook};

/// A site that is open.
pub(super) struct Opened {
    pub(super) site: Arc<Site>,
    /// Its kind, for the report.
    pub(super) content: Content,
    /// Its place; `None` for the handbook, which lies in the program.
    pub(super) place: Option<(SiteSpec, SourceId)>,
}

/// Opens the site, and prepares to notice its changes.
///
/// # Errors
/// It cannot be opened; with what may have been meant.
pub(super) fn open(settings: &Settings, sources: &mut Sources) -> Result<Opened, Error> {
    let Some(path) = &settings.path else {
        let site = Site::embedded(handbook::FILES).map_err(|error| Error::new(error.to_string()))?;
        return Ok(Opened { site: Arc::new(site), content: Content::Handbook, place: None });
    };
    let options = Options {
        prefix: settings.prefix.clone(),
        follow_links: settings.follow_links,
        config_files: settings.serve_config_files,
        listing: settings.listing,
        hsts: None,
        is_private: false,
    };
    let (source, site) = sources.add_site(path, &options, settings.watch());
    let site = site.map_err(|error| {
        let error = Error::new(error.to_string());
        let other = cli::instead_of_site(path).filter(|_| !path.exists());
        other.into_iter().fold(error, Error::hint).hint(
            "PATH is a directory or a tar archive, made for example by `sitar pack public/ -o site.tar`",
        )
    })?;
    let content = if path.is_dir() {
        Content::Directory(path.clone())
    } else if site.is_pack() {
        Content::Pack(path.clone())
    } else {
        Content::Archive(path.clone())
    };
    let spec = SiteSpec { path: path.clone(), options };
    Ok(Opened { site, content, place: Some((spec, source)) })
}
