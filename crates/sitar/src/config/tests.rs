//! Configurations as files, and what is said about them.

use std::fs;
use std::path::{Path, PathBuf};

use super::*;

mod accepted;
mod acme;
mod any;
mod definitions;
mod files;
mod mistakes;
mod reference;
mod shown;
mod written;

/// A folder with the files of a case.
struct Folder {
    folder: tempfile::TempDir,
}

impl Folder {
    /// Writes files, each with its name; their folders are made.
    fn new<'a>(files: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Folder {
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        Folder { folder }
    }

    fn of(text: &str) -> Folder {
        Folder::new([("sitar.toml", text.as_bytes())])
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("sitar.toml")
    }

    fn read(&self, given: &[Given]) -> Result<Config, Vec<Problem>> {
        read(&self.file(), given)
    }

    /// The problems as they are printed, with the names of files from the folder on.
    fn problems(&self, given: &[Given]) -> String {
        match self.read(given) {
            Ok(config) => format!("accepted: {config:?}"),
            Err(problems) => {
                assert!(!problems.is_empty());
                problems
                    .iter()
                    .map(|problem| format!("{problem}\n"))
                    .collect::<String>()
                    .replace(&self.prefix(), "")
            }
        }
    }

    fn prefix(&self) -> String {
        format!("{}/", self.folder.path().display())
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }
}
