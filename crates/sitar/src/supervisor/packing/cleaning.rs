//! Removing encodings that a configuration has no use for any more.

use std::time::Instant;

use super::plan::RETRY;
use crate::cache::Cache;
use crate::config::{Config, SiteConfig};

/// Folders that may wait to be cleaned at a time.
const FOLDERS_MAX: usize = 16;

/// The folders in which files of this configuration may lie: the one in use, the usual one, and
/// those that were in use before a reload.
#[derive(Debug, Default)]
pub(super) struct Cleaning {
    generation: u64,
    known: Vec<Cache>,
    /// Those of them that are still to be cleaned.
    left: Vec<Cache>,
    again: Option<Instant>,
}

impl Cleaning {
    /// Removes, once for each configuration, the files of all but these sites. Returns when that is
    /// to be tried again, where another server writes.
    pub(super) fn follow(
        &mut self,
        generation: u64,
        config: &Config,
        sites: &[&SiteConfig],
        now: Instant,
    ) -> Option<Instant> {
        if self.generation != generation {
            self.generation = generation;
            for cache in Cache::all(config) {
                self.known.retain(|known| known.folder != cache.folder);
                self.known.push(cache);
            }
            let more = self.known.len().saturating_sub(FOLDERS_MAX);
            self.known.drain(..more);
            (self.left, self.again) = (self.known.clone(), None);
        }
        if self.left.is_empty() || self.again.is_some_and(|again| now < again) {
            return self.again;
        }
        let current = Cache::of(config);
        self.left.retain(|cache| !clean(cache, sites, current.as_ref()));
        self.again = (!self.left.is_empty()).then(|| now + RETRY);
        if self.left.is_empty() {
            // The others are clean, and nothing is written there.
            self.known = current.into_iter().collect();
        }
        self.again
    }
}

/// Cleans a folder. Returns whether that is done.
fn clean(cache: &Cache, sites: &[&SiteConfig], current: Option<&Cache>) -> bool {
    // One that is not there, or is another user's, has no files of this server.
    let Ok(folder) = cache.open() else { return true };
    let in_use = current.and_then(|current| Some((current, current.open().ok()?)));
    let in_use = in_use.filter(|(_, current)| current.is_same(&folder)).map(|(current, _)| current);
    match (folder.lock(), in_use) {
        (Ok(None), _) => return false,
        (Ok(Some(locked)), Some(current)) => drop(locked.tidy(&current.names(sites), "")),
        (Ok(Some(locked)), None) => locked.clear(),
        // A file system that is read-only now: what is there stays.
        (Err(_), _) => {}
    }
    true
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;
    use std::time::Duration;

    use super::*;

    /// Returns a configuration with a cache there, and the name of the file of its site.
    fn config(place: &Path, cache: &str, is_on: bool) -> (Config, String) {
        let file = place.join("sitar.toml");
        let text = format!("[server]\ncompress = {is_on}\ncache = \"{cache}\"\n[[site]]\nroot = \"site\"\n");
        fs::write(&file, text).unwrap();
        let (config, _) =
            crate::config::read_with_texts(&crate::settings::ConfigFile { path: file, ..Default::default() })
                .unwrap();
        let name = Cache::all(&config)[0].name(&config.sites[0]).unwrap();
        (config, name)
    }

    fn write(place: &Path, cache: &str, name: &str) {
        fs::create_dir_all(place.join(cache)).unwrap();
        fs::write(place.join(cache).join(name), "x").unwrap();
    }

    fn left(place: &Path, cache: &str) -> Vec<String> {
        let entries = fs::read_dir(place.join(cache)).unwrap();
        let all = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut all: Vec<_> = all.filter(|name| !name.ends_with(".lock")).collect();
        all.sort();
        all
    }

    #[test]
    fn files_of_no_use_are_removed_once_for_each_configuration() {
        let place = tempfile::tempdir().unwrap();
        let place = place.path();
        let now = Instant::now();
        let mut cleaning = Cleaning::default();
        let (on, name) = config(place, "a", true);
        let gone = format!("{}-0000.encodings", name.split_once('-').unwrap().0);
        let other = "0000-0000.encodings";
        let fill = |cache: &str| [&name, &gone, other].map(|name| write(place, cache, name));
        fill("a");
        assert_eq!(cleaning.follow(1, &on, &[&on.sites[0]], now), None);
        let mut expected = [name.clone(), other.to_owned()];
        expected.sort();
        assert_eq!(left(place, "a"), expected, "those of the sites, and of others, stay");
        fill("a");
        assert_eq!(cleaning.follow(1, &on, &[&on.sites[0]], now), None);
        assert_eq!(left(place, "a").len(), 3, "once");
        // By another name it is the same folder.
        std::os::unix::fs::symlink("a", place.join("b")).unwrap();
        let (same, _) = config(place, "b", true);
        assert_eq!(cleaning.follow(2, &same, &[&same.sites[0]], now), None);
        assert_eq!(left(place, "a"), expected);
        // Elsewhere: the folder before is cleaned.
        let (moved, _) = config(place, "c", true);
        assert_eq!(cleaning.follow(3, &moved, &[&moved.sites[0]], now), None);
        assert_eq!(left(place, "a"), [other]);
        fill("c");
        // As when its site has become a pack.
        assert_eq!(cleaning.follow(4, &moved, &[], now), None);
        assert_eq!(left(place, "c"), [other]);
        fill("c");
        let (off, _) = config(place, "c", false);
        assert_eq!(cleaning.follow(5, &off, &[&off.sites[0]], now), None);
        assert_eq!(left(place, "c"), [other]);
    }

    #[test]
    fn a_folder_to_which_another_server_writes_is_cleaned_later() {
        let place = tempfile::tempdir().unwrap();
        let place = place.path();
        let now = Instant::now();
        let later = now + Duration::from_secs(10);
        let (off, name) = config(place, "a", false);
        write(place, "a", &name);
        let lock = Cache::all(&off)[0].open().unwrap().lock().unwrap();
        let mut cleaning = Cleaning::default();
        assert_eq!(cleaning.follow(1, &off, &[&off.sites[0]], now), Some(later));
        drop(lock);
        assert_eq!(cleaning.follow(1, &off, &[&off.sites[0]], now), Some(later));
        assert_eq!(left(place, "a"), [name]);
        assert_eq!(cleaning.follow(1, &off, &[&off.sites[0]], later), None);
        assert_eq!(left(place, "a").len(), 0);
    }
}
