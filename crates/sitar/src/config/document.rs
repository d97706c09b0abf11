//! All files of a configuration as sections, whose keys are known and whose values have the right
//! forms.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Place;
use super::include::{self, FILES_MAX};
use super::keys::{self, ADDRESSES_MAX, SITES_MAX};
use super::problems::{Problems, quoted};
use super::section::{Reader, Section, Text};
use super::source::{Parsed, Source};

/// The most bytes of all files together.
const BYTES_MAX: usize = 32 << 20;

/// The sections of all files, in the order of the files.
#[derive(Debug)]
pub(super) struct Document {
    /// The files, the first one as it was named.
    pub(super) files: Vec<Arc<Path>>,
    /// The texts of those that could be read, in the same order.
    pub(super) texts: Vec<(Arc<Path>, String)>,
    pub(super) server: Section,
    pub(super) log: Section,
    pub(super) admin: Section,
    pub(super) acme: Section,
    pub(super) listeners: Vec<Section>,
    pub(super) sites: Vec<Section>,
    /// A file could not be read as a whole, so sections may lack what the operator wrote.
    pub(super) is_broken: bool,
}

/// Reads a file and what it includes.
pub(super) fn read(path: &Path, problems: &mut Problems) -> Document {
    let file: Arc<Path> = path.into();
    let mut document = Document::new(&file);
    match Source::read(path, &file) {
        Ok(source) => {
            document.read_main(&source, true, problems);
            document.texts.insert(0, (Arc::clone(&source.file), source.text));
        }
        Err((place, what)) => document.cannot_read(&place, &what, problems),
    }
    document
}

/// Reads files whose texts were read before: the first one, and those that it includes.
pub(super) fn of_texts(texts: &[(PathBuf, String)], problems: &mut Problems) -> Document {
    let mut texts =
        texts.iter().map(|(path, text)| (Arc::<Path>::from(path.as_path()), text.clone().into_bytes()));
    let (file, bytes) = texts.next().unwrap_or_else(|| (Path::new("").into(), Vec::new()));
    let mut document = of_bytes(&file, bytes, problems);
    for (file, bytes) in texts {
        document.files.push(Arc::clone(&file));
        match Source::of_bytes(&file, bytes) {
            Ok(source) => document.take_included(&source, problems),
            Err((place, what)) => document.cannot_read(&place, &what, problems),
        }
    }
    document
}

/// Reads the bytes of a file, which then includes nothing.
pub(super) fn of_bytes(file: &Arc<Path>, bytes: Vec<u8>, problems: &mut Problems) -> Document {
    let mut document = Document::new(file);
    match Source::of_bytes(file, bytes) {
        Ok(source) => document.read_main(&source, false, problems),
        Err((place, what)) => document.cannot_read(&place, &what, problems),
    }
    document
}

impl Document {
    fn new(file: &Arc<Path>) -> Document {
        let whole = Place::whole(file);
        Document {
            files: vec![Arc::clone(file)],
            texts: Vec::new(),
            server: Section::absent(whole.clone()),
            log: Section::absent(whole.clone()),
            admin: Section::absent(whole.clone()),
            acme: Section::absent(whole),
            listeners: Vec::new(),
            sites: Vec::new(),
            is_broken: false,
        }
    }

    fn cannot_read(&mut self, place: &Place, what: &str, problems: &mut Problems) {
        self.is_broken = true;
        let hint = (what == "no such file").then(|| "write one: sitar config init".to_owned());
        problems.push(place, what.to_owned(), hint);
    }

    fn read_main(&mut self, source: &Source, follows: bool, problems: &mut Problems) {
        let Parsed { table, is_broken, doubtful } = source.parse(problems);
        self.is_broken |= is_broken;
        let folder = folder_of(&source.file);
        let absolute = absolute(&folder);
        let mut reader = Reader { source, folder: &absolute, doubtful: &doubtful, problems };
        let section = reader.table(&keys::FILE, &table, Place::whole(&source.file));
        let tables = [
            ("server", &mut self.server),
            ("log", &mut self.log),
            ("admin", &mut self.admin),
            ("acme", &mut self.acme),
        ];
        for (name, place) in tables {
            if let Some(section) = section.table(name) {
                *place = section.clone();
            }
        }
        self.take(&section);
        let mut bytes = source.text.len();
        let patterns = if follows { section.texts("include") } else { &[] };
        for path in self.included(&folder, patterns, problems) {
            self.read_included(&path, &mut bytes, problems);
        }
        self.check_counts(problems);
    }

    fn take(&mut self, section: &Section) {
        self.listeners.extend_from_slice(section.tables("listen"));
        self.sites.extend_from_slice(section.tables("site"));
    }

    /// Returns the files that are named, each once.
    fn included(&self, folder: &Path, patterns: &[Text], problems: &mut Problems) -> Vec<PathBuf> {
        let same = |a: &Path, b: &Path| a == b || is_same(a, b);
        let mut all: Vec<PathBuf> = Vec::new();
        let mut known = HashSet::new();
        for Text { place, text } in patterns {
            let invalid = |why: &str| format!("invalid value {} for 'include': {why}", quoted(text));
            if text.is_empty() || text.contains('\0') {
                problems.add(place, invalid("a path is not empty, and has no NUL"));
                continue;
            }
            let pattern = folder.join(text);
            let is_wild = include::is_wild(text.as_ref());
            if !is_wild && pattern.is_dir() {
                let hint = format!("all files in it: include = \"{}/*.toml\"", text.trim_end_matches('/'));
                problems.add_with(place, invalid("it is a folder"), hint);
                continue;
            }
            if !is_wild && !pattern.exists() {
                problems.add(place, invalid("there is no such file"));
                continue;
            }
            match include::expand(&pattern) {
                Ok(found) => {
                    let main = self.files.first();
                    let is_new = |path: &PathBuf| !main.is_some_and(|main| same(main, path));
                    for path in found.into_iter().filter(is_new) {
                        if known.insert(path.clone()) {
                            all.push(path);
                        }
                    }
                }
                Err(why) => problems.add(place, invalid(&format!("it {why}"))),
            }
            if all.len() > FILES_MAX {
                problems.add(place, invalid(&format!("with it, more than {FILES_MAX} files are included")));
                return Vec::new();
            }
        }
        all
    }

    fn read_included(&mut self, path: &Path, bytes: &mut usize, problems: &mut Problems) {
        let file: Arc<Path> = path.into();
        self.files.push(Arc::clone(&file));
        let source = match Source::read(path, &file) {
            Ok(source) => source,
            Err((place, what)) => {
                self.is_broken = true;
                problems.add(&place, what);
                return;
            }
        };
        *bytes = bytes.saturating_add(source.text.len());
        if *bytes > BYTES_MAX {
            self.is_broken = true;
            problems.add(&Place::whole(&file), "with it, all files together are larger than 32 MiB");
            return;
        }
        self.take_included(&source, problems);
        self.texts.push((file, source.text));
    }

    fn take_included(&mut self, source: &Source, problems: &mut Problems) {
        let Parsed { table, is_broken, doubtful } = source.parse(problems);
        self.is_broken |= is_broken;
        let absolute = absolute(&folder_of(&source.file));
        let mut reader = Reader { source, folder: &absolute, doubtful: &doubtful, problems };
        let section = reader.table(&keys::INCLUDED, &table, Place::whole(&source.file));
        self.take(&section);
    }

    fn check_counts(&mut self, problems: &mut Problems) {
        if let Some(section) = self.sites.get(SITES_MAX) {
            problems.add(&section.place, format!("more than {SITES_MAX} sites"));
            self.sites.truncate(SITES_MAX);
        }
        if let Some(section) = self.listeners.get(ADDRESSES_MAX) {
            problems.add(&section.place, format!("more than {ADDRESSES_MAX} [[listen]] tables"));
            self.listeners.truncate(ADDRESSES_MAX);
        }
    }
}

/// Returns the folder of a file; empty: the current one.
fn folder_of(file: &Path) -> PathBuf {
    file.parent().map_or_else(PathBuf::new, Path::to_owned)
}

/// Returns the folder that relative paths of a file begin at.
pub(super) fn folder_of_paths(file: &Path) -> PathBuf {
    absolute(&folder_of(file))
}

/// Returns a folder whose relative paths do not depend on the current one.
fn absolute(folder: &Path) -> PathBuf {
    let named = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    std::path::absolute(named).unwrap_or_else(|_| named.to_owned())
}

fn is_same(a: &Path, b: &Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}
