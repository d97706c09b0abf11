//! The folder in which encodings of sites are kept from one start to the next.
//!
//! It is the supervisor's: no other process opens anything in it. Each site that is a folder or a
//! plain archive has one file there. Its name follows from what the site is made of, so another
//! root, or another size of the cache, has another file.

mod folder;

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use sitar_site::raw::sha256;

pub(crate) use self::folder::{Folder, identity};
use crate::config::{Config, Problem, SiteConfig, SiteContent};
use crate::error::printable;
use crate::handover::{Found, Part};

/// The end of the names of all files in the cache.
const ENDING: &str = ".encodings";

/// The cache of a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cache {
    pub(crate) folder: PathBuf,
    /// MiB that all files of the folder may take.
    pub(crate) size: u32,
    /// The beginning of the names of this configuration's files.
    prefix: String,
}

impl Cache {
    /// Returns the cache of a configuration; `None`: sites are not encoded.
    pub(crate) fn of(config: &Config) -> Option<Cache> {
        let folder = config.compression.cache.clone().or_else(usual);
        folder.filter(|_| config.compression.is_on).map(|folder| Cache::at(folder, config))
    }

    /// Returns the caches that may have files of a configuration, whether it has use for them or
    /// not: the one that it names, and the usual one.
    pub(crate) fn all(config: &Config) -> Vec<Cache> {
        let folders = config.compression.cache.clone().into_iter().chain(usual());
        folders.map(|folder| Cache::at(folder, config)).collect()
    }

    fn at(folder: PathBuf, config: &Config) -> Cache {
        let file = std::path::absolute(&config.file).unwrap_or_else(|_| config.file.clone());
        let prefix = short(file.as_os_str().as_bytes());
        Cache { folder, size: config.compression.size, prefix }
    }

    /// Returns the name of the file of a site. `None`: it has none.
    pub(crate) fn name(&self, site: &SiteConfig) -> Option<String> {
        let SiteContent::Root { path, options, .. } = &site.content else { return None };
        let (prefix, size) = (options.prefix.as_deref().unwrap_or_default(), self.size);
        let text = format!("{prefix}\0{}\0{}\0{size}\0", options.follow_links, options.config_files);
        let text = [text.as_bytes(), path.as_os_str().as_bytes()].concat();
        Some(format!("{}-{}{ENDING}", self.prefix, short(&text)))
    }

    /// Returns the names of the files of sites.
    pub(crate) fn names(&self, sites: &[&SiteConfig]) -> BTreeSet<String> {
        sites.iter().filter_map(|site| self.name(site)).collect()
    }

    /// Opens the folder.
    ///
    /// # Errors
    /// It is not there, or others can write to it, or the kernel's.
    pub(crate) fn open(&self) -> io::Result<Folder> {
        Folder::open(&self.folder, &self.prefix)
    }

    /// Opens the folder, and makes it where it is missing.
    ///
    /// # Errors
    /// Others can write to it, or the kernel's.
    pub(crate) fn make(&self) -> io::Result<Folder> {
        Folder::make(&self.folder, &self.prefix)
    }
}

/// Returns the sites in which the cache that a configuration names lies: each run would change
/// them, and anyone could fetch what is made. The usual one may lie in a site, of a home directory
/// say, which then goes out as it is: that place was not chosen.
pub(crate) fn problems(config: &Config) -> Vec<Found> {
    let Some(cache) = Cache::of(config).filter(|_| config.compression.cache.is_some()) else {
        return Vec::new();
    };
    let around = |(at, site): (usize, &SiteConfig)| {
        let SiteContent::Root { path, .. } = &site.content else { return None };
        let what = format!("the cache {} lies in this site", printable(&cache.folder));
        let hint = "name a folder elsewhere in [server], for example: cache = \"/var/cache/sitar\"";
        let problem = Problem { place: site.place.clone(), what, hint: Some(hint.to_owned()) };
        is_within(&cache.folder, path).then_some(Found { at: (at, Part::Rest), problem })
    };
    config.sites.iter().enumerate().filter_map(around).collect()
}

/// Whether a folder, which need not be there yet, lies in a site's.
pub(crate) fn is_within(folder: &Path, site: &Path) -> bool {
    let whole = |path: &Path| path.canonicalize().ok();
    let folder = folder.ancestors().find_map(whole);
    folder.zip(whole(site)).is_some_and(|(folder, site)| folder.starts_with(site))
}

/// Returns the folder where the configuration names none.
fn usual() -> Option<PathBuf> {
    folder(|name| std::env::var_os(name), rustix::process::geteuid().is_root())
}

fn folder(variable: impl Fn(&str) -> Option<OsString>, is_root: bool) -> Option<PathBuf> {
    let absolute = |name: &str| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    // systemd separates several by colons. An empty one says that there is none.
    if let Some(all) = variable("CACHE_DIRECTORY") {
        let first = all.as_bytes().split(|&byte| byte == b':').next()?;
        return Some(PathBuf::from(OsStr::from_bytes(first))).filter(|path| path.is_absolute());
    }
    if is_root {
        return Some(Path::new("/var/cache/sitar").to_owned());
    }
    let user = absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")));
    user.map(|folder| folder.join("sitar"))
}

/// Returns 16 digits that stand for a text.
fn short(text: &[u8]) -> String {
    sha256(text).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_is_that_of_the_user_who_starts_it() {
        let with = |variables: &'static [(&'static str, &'static str)], is_root| {
            let find = move |name: &str| {
                let found = variables.iter().find(|(known, _)| *known == name);
                found.map(|(_, value)| OsString::from(value))
            };
            folder(find, is_root).map(|path| path.display().to_string())
        };
        let home = &[("HOME", "/home/a"), ("XDG_CACHE_HOME", "/home/b")];
        assert_eq!(with(home, false).as_deref(), Some("/home/b/sitar"));
        assert_eq!(with(&home[..1], false).as_deref(), Some("/home/a/.cache/sitar"));
        assert_eq!(with(home, true).as_deref(), Some("/var/cache/sitar"));
        let passed = &[("CACHE_DIRECTORY", "/var/cache/x:/var/cache/y"), ("HOME", "/root")];
        assert_eq!(with(passed, true).as_deref(), Some("/var/cache/x"));
        assert_eq!(with(&[("CACHE_DIRECTORY", ""), ("HOME", "/root")], true), None);
        assert_eq!(with(&[("HOME", "relative")], false), None);
        assert_eq!(with(&[], false), None);
    }

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
