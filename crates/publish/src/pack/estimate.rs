//! An estimate of what packing would save: a few files are encoded, the quick way.

use super::encode::{Worth, choose, gzip, worth};
use sitar_site::{Budget, FileId, Site};
use std::time::SystemTime;

/// Files that are sent as they are and need not be.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Unencoded {
    /// Files of a type that shrinks, with no encoding beside them.
    pub files: usize,
    /// Files of them that were looked at for the following.
    pub sampled: usize,
    /// Percent of their bytes that packing would save, about.
    pub saved: u8,
}

/// Estimates what packing would save. `None` for a pack, and for what is part of the program. Reads
/// and encodes at most 1 MiB.
#[must_use]
pub fn estimate(site: &Site) -> Option<Unencoded> {
    let unencoded = site.unencoded_names()?;
    let mut candidates: Vec<_> = unencoded.filter(|(name, _)| worth(name) == Worth::Yes).collect();
    candidates.sort_unstable();
    let step = candidates.len().div_ceil(SAMPLES).max(1);
    let mut found = Unencoded { files: candidates.len(), ..Unencoded::default() };
    let (mut before, mut after) = (0, 0);
    for (_, file) in candidates.into_iter().step_by(step) {
        let Some((length, encoded)) = sample(site, file) else { continue };
        found.sampled += 1;
        before += length;
        after += encoded;
    }
    let saved = (before - after).saturating_mul(100).checked_div(before).unwrap_or(0);
    // At most 100.
    found.saved = u8::try_from(saved).unwrap_or(0);
    Some(found)
}

/// The bytes of a file and those of its encoding, if there would be one. The beginning stands for
/// the rest.
fn sample(site: &Site, file: FileId) -> Option<(u64, u64)> {
    // Without a budget nothing is read beyond what is asked for.
    let loaded = site.load(file, &Budget::new(0, 0), SystemTime::now()).ok()?;
    let (beginning, length) = loaded.beginning(SAMPLE).ok()?;
    let encoded = gzip(&beginning, 6)?.len() as u64;
    let encoded = u128::from(encoded) * u128::from(length) / (beginning.len() as u128).max(1);
    let encoded = u64::try_from(encoded).unwrap_or(u64::MAX);
    let size = |bytes| usize::try_from(bytes).unwrap_or(usize::MAX);
    let pays = choose(size(length), [None, Some(size(encoded)), None]).contains(&true);
    Some((length, if pays { encoded } else { length }))
}

/// Files that are encoded for an estimate.
const SAMPLES: usize = 16;
/// Bytes of each.
const SAMPLE: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use sitar_site::Options;
    use std::path::Path;

    fn of(path: &Path) -> Option<Unencoded> {
        estimate(&Site::open(path, &Options::default()).unwrap())
    }

    #[test]
    fn what_would_be_saved_is_estimated_from_a_few_files() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).unwrap();
        assert_eq!(of(folder.path()), Some(Unencoded::default()));
        // Compressed by themselves, or beside an encoding.
        write("a.png", &[0; 10_000]);
        write("b.js", &[b' '; 10_000]);
        write("b.js.gz", b"any");
        assert_eq!(of(folder.path()), Some(Unencoded::default()));
        // Too short to be encoded.
        write("c.css", &[b' '; 1_000]);
        assert_eq!(of(folder.path()), Some(Unencoded { files: 1, sampled: 1, saved: 0 }));
        // 10,000 bytes that gzip makes some 30 of, and only their beginning for the large one.
        write("d.js", &[b' '; 9_000]);
        assert_eq!(of(folder.path()), Some(Unencoded { files: 2, sampled: 2, saved: 89 }));
        write("e.js", &[b' '; 10_000_000]);
        assert_eq!(of(folder.path()), Some(Unencoded { files: 3, sampled: 3, saved: 99 }));
        // Of many, one in seven.
        for number in 0..97 {
            write(&format!("f{number}.js"), b"");
        }
        let Some(Unencoded { files, sampled, .. }) = of(folder.path()) else { panic!("a directory") };
        assert_eq!((files, sampled), (100, 15));
        // A plain tar compresses nothing either; the handbook is not the operator's.
        let archive = folder.path().join(".site.tar");
        let mut tar = std::process::Command::new("tar");
        let tar = tar.arg("-cf").arg(&archive).arg("-C").arg(folder.path()).args(["b.js", "d.js"]);
        assert!(tar.status().unwrap().success());
        assert_eq!(of(&archive), Some(Unencoded { files: 2, sampled: 2, saved: 99 }));
        assert_eq!(estimate(&Site::embedded(&[("a.js", b"js")]).unwrap()), None);
    }
}
