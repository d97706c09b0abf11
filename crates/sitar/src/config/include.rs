//! The files that an `include` names.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// The most files that are included.
pub(super) const FILES_MAX: usize = 4096;
/// The most names of folders that are looked at for one pattern.
const NAMES_MAX: usize = 1 << 20;

/// Returns the files that a pattern names, in the order of their names; an absolute path.
///
/// # Errors
/// A folder that cannot be read, or more files than are read.
pub(super) fn expand(pattern: &Path) -> Result<Vec<PathBuf>, String> {
    let mut paths = vec![PathBuf::new()];
    let mut names_left = NAMES_MAX;
    let mut is_found = false;
    let mut components = pattern.components().peekable();
    while let Some(component) = components.next() {
        let is_last = components.peek().is_none();
        match component {
            Component::Normal(name) if is_wild(name) => {
                paths = matches(&paths, name, is_last, &mut names_left)?;
                is_found = true;
            }
            other => {
                paths.iter_mut().for_each(|path| path.push(other));
                if is_found {
                    paths.retain(|path| is_there(path, is_last));
                }
            }
        }
        if paths.len() > FILES_MAX {
            return Err(format!("names more than {FILES_MAX} files"));
        }
    }
    paths.sort();
    Ok(paths)
}

/// Returns whether a path has a `*` or a `?`.
pub(super) fn is_wild(path: &OsStr) -> bool {
    path.as_bytes().iter().any(|byte| matches!(byte, b'*' | b'?'))
}

/// Returns what matches a name in each of these folders.
fn matches(
    folders: &[PathBuf],
    name: &OsStr,
    is_last: bool,
    names_left: &mut usize,
) -> Result<Vec<PathBuf>, String> {
    let mut found = Vec::new();
    for folder in folders {
        let cannot = |error: std::io::Error| format!("cannot read the folder {}: {error}", folder.display());
        let named = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        let entries = match fs::read_dir(named) {
            Ok(entries) => entries,
            // Nothing is there yet, as for a pattern that matches no name.
            Err(error)
                if matches!(
                    error.kind(),
                    std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory
                ) =>
            {
                continue;
            }
            Err(error) => return Err(cannot(error)),
        };
        for entry in entries {
            let entry: OsString = entry.map_err(cannot)?.file_name();
            *names_left = names_left.saturating_sub(1);
            if *names_left == 0 || found.len() > FILES_MAX {
                return Err(format!("names more than {FILES_MAX} files"));
            }
            if is_match(name.as_bytes(), entry.as_bytes()) {
                let path = folder.join(entry);
                // A folder in the place of a file would only be an error, and a file in that of a
                // folder holds nothing.
                if path.is_dir() != is_last {
                    found.push(path);
                }
            }
        }
    }
    Ok(found)
}

/// Returns whether a folder that matched a part of a pattern has what the next part names. What
/// cannot be looked at is taken to be there, and reading it says why.
fn is_there(path: &Path, is_last: bool) -> bool {
    match fs::symlink_metadata(path) {
        Ok(_) => !is_last || !path.is_dir(),
        Err(error) => {
            !matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory)
        }
    }
}

/// Returns whether a name matches a pattern. A name that begins with a dot needs one in the
/// pattern.
fn is_match(pattern: &[u8], name: &[u8]) -> bool {
    if name.first() == Some(&b'.') && pattern.first() != Some(&b'.') {
        return false;
    }
    let (mut at_pattern, mut at_name) = (0, 0);
    // Behind the last star, and the name's end that it has taken so far.
    let mut star: Option<(usize, usize)> = None;
    while let Some(byte) = name.get(at_name) {
        match (pattern.get(at_pattern), star) {
            (Some(b'*'), _) => {
                at_pattern += 1;
                star = Some((at_pattern, at_name));
            }
            (Some(b'?'), _) => {
                at_pattern += 1;
                // A character, of however many bytes.
                at_name += 1;
                while name.get(at_name).is_some_and(|byte| byte & 0xc0 == 0x80) {
                    at_name += 1;
                }
            }
            (Some(other), _) if other == byte => {
                at_pattern += 1;
                at_name += 1;
            }
            (_, Some((behind, taken))) => {
                star = Some((behind, taken + 1));
                (at_pattern, at_name) = (behind, taken + 1);
            }
            _ => return false,
        }
    }
    pattern.get(at_pattern..).unwrap_or_default().iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_patterns() {
        for (pattern, name, expected) in [
            ("*.toml", "a.toml", true),
            ("*.toml", ".a.toml", false),
            (".*", ".a.toml", true),
            ("*.toml", "a.toml~", false),
            ("*.toml", ".toml", false),
            ("*", "a", true),
            ("a?c", "abc", true),
            ("a?c", "aüc", true),
            ("a?c", "ac", false),
            ("*a*b", "xaybzb", true),
            ("*a*b", "xaybz", false),
            ("**", "x", true),
            ("a", "a", true),
        ] {
            assert_eq!(is_match(pattern.as_bytes(), name.as_bytes()), expected, "{pattern} {name}");
        }
        let long = "a".repeat(200);
        assert!(!is_match(format!("{}b", "*a".repeat(100)).as_bytes(), long.as_bytes()));
    }

    #[test]
    fn files_in_the_order_of_their_names() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b/sites", "a/sites", "c"] {
            fs::create_dir_all(folder.path().join(name)).unwrap();
        }
        for name in [
            "b/sites/1.toml",
            "a/sites/2.toml",
            "a/sites/1.toml",
            "a/sites/x.txt",
            "c/sites",
            "a/sites/.h.toml",
        ] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        fs::create_dir(folder.path().join("a/sites/folder.toml")).unwrap();
        let found = |pattern: &str| {
            let all = expand(&folder.path().join(pattern)).unwrap();
            let short =
                all.iter().map(|path| path.strip_prefix(folder.path()).unwrap().to_str().unwrap().to_owned());
            short.collect::<Vec<_>>()
        };
        assert_eq!(found("*/sites/*.toml"), ["a/sites/1.toml", "a/sites/2.toml", "b/sites/1.toml"]);
        assert_eq!(found("a/sites/?.toml"), ["a/sites/1.toml", "a/sites/2.toml"]);
        assert_eq!(found("missing/*.toml"), Vec::<String>::new());
        assert_eq!(found("plain.toml"), ["plain.toml"]);
        // A folder without the file that a pattern names behind it is passed over.
        assert_eq!(found("*/sites/1.toml"), ["a/sites/1.toml", "b/sites/1.toml"]);
        assert_eq!(found("?/sites/2.toml"), ["a/sites/2.toml"]);
        assert_eq!(found("*/sites/folder.toml"), Vec::<String>::new());
        assert_eq!(found("*/none/1.toml"), Vec::<String>::new());
        assert_eq!(found("*/../c/sites"), ["a/../c/sites", "b/../c/sites", "c/../c/sites"]);
    }
}
