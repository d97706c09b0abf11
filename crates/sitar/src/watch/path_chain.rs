//! The folders that a path leads through, links included, and the name that is looked up in each of
//! them.
//!
//! To notice when a path begins to lead elsewhere, all of them have to be watched: a site is
//! replaced by renaming a file over its own name, or by pointing a link (`current`) to another
//! folder.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Component, Path, PathBuf};

/// Lookups at most: a path of many links that each lead through many folders.
const STEPS_MAX: usize = 256;

/// The lookups that `path` takes from now: in which folder, for which name. They end where
/// something is missing.
pub(crate) fn path_chain(path: &Path) -> Vec<(PathBuf, OsString)> {
    let mut steps = Vec::new();
    let mut at = PathBuf::from("/");
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    // The next component last.
    let mut ahead = components(&absolute);
    while let Some(name) = ahead.pop() {
        if steps.len() >= STEPS_MAX {
            break;
        }
        match name.as_encoded_bytes() {
            b"/" => at = PathBuf::from("/"),
            b".." => {
                at.pop();
            }
            _ => {
                let next = at.join(&name);
                steps.push((std::mem::take(&mut at), name));
                match link(&next) {
                    Ok(Some(target)) => {
                        at.clone_from(&steps[steps.len() - 1].0);
                        ahead.extend(components(&target));
                    }
                    Ok(None) => at = next,
                    Err(_) => break,
                }
            }
        }
    }
    steps
}

fn link(path: &Path) -> io::Result<Option<PathBuf>> {
    if path.symlink_metadata()?.is_symlink() { path.read_link().map(Some) } else { Ok(None) }
}

/// Returns the components of a path in reverse order; the root as `/`.
fn components(path: &Path) -> Vec<OsString> {
    let names = path.components().filter(|component| !matches!(component, Component::CurDir));
    let mut names: Vec<OsString> = names.map(|component| AsRef::<OsStr>::as_ref(&component).into()).collect();
    names.reverse();
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn through_folders_and_links() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        fs::create_dir_all(root.join("releases/5/html")).unwrap();
        fs::create_dir_all(root.join("www")).unwrap();
        symlink("../releases/../current", root.join("www/site")).unwrap();
        symlink(root.join("releases/5"), root.join("current")).unwrap();
        let steps: Vec<_> = path_chain(&root.join("www/./site/html"))
            .into_iter()
            .filter_map(|(at, name)| {
                Some(format!("{}:{}", at.strip_prefix(&root).ok()?.display(), name.display()))
            })
            .collect();
        assert_eq!(
            steps,
            [":www", "www:site", ":releases", ":current", ":releases", "releases:5", "releases/5:html"]
        );
    }

    #[test]
    fn it_ends_where_something_is_missing_and_where_links_go_in_circles() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let last = |path: &str| path_chain(&root.join(path)).pop();
        assert_eq!(last("none/below"), Some((root.clone(), "none".into())));
        symlink("b", root.join("a")).unwrap();
        symlink("a", root.join("b")).unwrap();
        assert_eq!(path_chain(&root.join("a")).len(), STEPS_MAX);
        assert_eq!(path_chain(Path::new("/")), []);
    }
}
