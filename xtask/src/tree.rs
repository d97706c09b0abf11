//! The files of the project, as git would record them.

use std::path::Path;
use std::process::Command;

/// One file: its path relative to the root, with `/`, and its text unless it is binary.
pub(crate) struct SourceFile {
    pub(crate) path: String,
    pub(crate) text: Option<String>,
}

/// Every file that git tracks or would track, sorted.
///
/// # Errors
/// One line that says what could not be listed or read.
pub(crate) fn read(root: &Path) -> Result<Vec<SourceFile>, String> {
    let mut paths = match git_files(root) {
        Some(paths) => paths,
        // A source archive has no repository: take what is there.
        None => walk(root)?,
    };
    paths.sort();
    paths.dedup();
    let mut files = Vec::with_capacity(paths.len());
    for path in paths {
        let bytes = match std::fs::read(root.join(&path)) {
            Ok(bytes) => bytes,
            // Deleted but not yet committed, or a submodule: nothing to check.
            Err(error)
                if matches!(
                    error.kind(),
                    std::io::ErrorKind::NotFound | std::io::ErrorKind::IsADirectory
                ) =>
            {
                continue;
            }
            Err(error) => return Err(format!("{path}: {error}")),
        };
        files.push(SourceFile { path, text: String::from_utf8(bytes).ok() });
    }
    Ok(files)
}

fn git_files(root: &Path) -> Option<Vec<String>> {
    let output = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root)
        .output()
        .ok()?;
    if !output.status.success() {
        return None;
    }
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.split('\0').filter(|path| !path.is_empty()).map(String::from).collect())
}

fn walk(root: &Path) -> Result<Vec<String>, String> {
    let mut found = Vec::new();
    let mut folders = vec![String::new()];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(root.join(&folder)).map_err(|error| format!("{folder}: {error}"))?;
        for entry in entries {
            let entry = entry.map_err(|error| format!("{folder}: {error}"))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = if folder.is_empty() { name.clone() } else { format!("{folder}/{name}") };
            let kind = entry.file_type().map_err(|error| format!("{path}: {error}"))?;
            if kind.is_dir() {
                if !matches!(name.as_str(), "target" | ".git") {
                    folders.push(path);
                }
            } else if kind.is_file() {
                found.push(path);
            }
        }
    }
    Ok(found)
}
