//! Opening a site: from what lies at a path to its index, its rules and what the operator should
//! know.

use super::archive_file::ArchiveFile;
use super::children::Children;
use super::directory::{Root, Seen, Show};
use super::error::{OpenError, OpenFault, Warning, Warnings};
use super::index::Index;
use super::names::Names;
use super::pack::read::{PackIndex, PackProbe, find};
use super::path::is_key;
use super::printable::printable;
use super::reach::open_root;
use super::site::{Site, Store};
use super::survey;
use super::tar::{self, ReadAt};
use super::tree::{Listing, Maps, RuleFiles, Tree};
use crate::answer::hsts::Hsts;
use crate::rules::{HEADERS, REDIRECTS, Rules, rule_bytes};
use rustix::fs::{FileType, Stat};
use sitar_io::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;
use std::time::SystemTime;

/// Settings for opening a site.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Serve only what lies below this folder of the archive or directory, as the root. Links that
    /// leave it are left out.
    pub prefix: Option<String>,
    /// Serve what links lead to outside of the directory, too. Then anyone who can put a link into
    /// it can publish every file that this program may read. Links of an archive never lead out of
    /// it.
    pub follow_links: bool,
    /// Serve files at the root that configure other hosts, such as `netlify.toml` and `CNAME`.
    pub config_files: bool,
    /// Answer with a listing where a folder has no `index.html`.
    pub listing: bool,
    /// The policy that every answer carries as Strict-Transport-Security, unless the site's own
    /// `_headers` sets or removes that field at the path.
    pub hsts: Option<Hsts>,
    /// Only some may ask for the site: no shared cache may keep its files (RFC 9111 §3.5).
    pub is_private: bool,
}

impl Options {
    fn prefix(&self) -> Option<&str> {
        self.prefix.as_deref().filter(|prefix| !prefix.is_empty())
    }
}

impl Site {
    /// Opens a tar archive or a directory, and indexes it without reading bodies.
    ///
    /// # Errors
    /// What is wrong with it, with the remedy where there is one.
    pub fn open(path: &Path, options: &Options) -> Result<Site, OpenError> {
        Site::open_with(&open_root, path, options, &mut |_| ())
    }

    /// Opens as [`open`](Site::open) does, for a caller that has another way to open what lies at a
    /// path, or that watches what is opened.
    ///
    /// `opener` opens the path as [`open_root`] does. Whatever else the site opens from then on is
    /// opened beneath its descriptor. `show` is given each thing that the site is made of before it
    /// is read.
    ///
    /// # Errors
    /// As for [`open`](Site::open), and the errors of `opener`. A directory may be
    /// [out of reach](OpenError::is_out_of_reach) of the sandbox, although it was opened.
    pub fn open_with(
        opener: &dyn Fn(&Path) -> io::Result<OwnedFd>,
        path: &Path,
        options: &Options,
        show: &mut dyn FnMut(Seen<'_>),
    ) -> Result<Site, OpenError> {
        open(opener, path, options, compile, show).map_err(|fault| OpenError::new(path, fault))
    }

    /// Opens a site whose rules have mistakes, without its rules: for tools that report them.
    ///
    /// # Errors
    /// As for [`open`](Site::open).
    pub fn open_without_rules(path: &Path, options: &Options) -> Result<Site, OpenError> {
        open(&open_root, path, options, |_| Ok(Rules::default()), &mut |_| ())
            .map_err(|fault| OpenError::new(path, fault))
    }

    /// A site that is part of the program: names such as `css/x.css` and their bytes.
    ///
    /// # Errors
    /// A name that is no plain path, that appears twice, or that is a file and a folder.
    pub fn embedded(files: &'static [(&'static str, &'static [u8])]) -> Result<Site, OpenError> {
        let site = embedded_rules(files)
            .and_then(|rules| Site::part_of_the_program(files, &Options::default(), rules));
        site.map_err(|fault| OpenError::new(Path::new(""), fault))
    }

    /// A site that is part of the program, with rules that are compiled already.
    pub(crate) fn with_rules(
        files: &[(&'static str, &'static [u8])],
        options: &Options,
        rules: Rules,
    ) -> Site {
        Site::part_of_the_program(files, options, rules).unwrap_or_else(|_| unreachable!("a few plain names"))
    }

    fn part_of_the_program(
        files: &[(&str, &'static [u8])],
        options: &Options,
        rules: Rules,
    ) -> Result<Site, OpenFault> {
        let damaged = |name: &str, what| {
            Err(OpenFault::Damaged { offset: 0, member: printable(name.as_bytes()), what })
        };
        if let Some((name, _)) = files.iter().find(|(name, _)| !is_key(name.as_bytes())) {
            return damaged(name, "a compiled-in name is not a plain path");
        }
        let names = Names::of(files.iter().map(|(name, _)| name.as_bytes()))?;
        let bodies = files.iter().map(|(_, bytes)| *bytes).collect();
        let site = Site::assemble(Store::Embedded(bodies), names, None, options, rules, Warnings::default())?;
        if site.index.has_clash {
            return damaged("", "a compiled-in name appears twice, or as a file and a folder");
        }
        Ok(site)
    }

    fn assemble(
        store: Store,
        names: Names,
        prefix: Option<&str>,
        options: &Options,
        mut rules: Rules,
        mut warnings: Warnings,
    ) -> Result<Site, OpenFault> {
        let hsts = options.hsts.as_ref().map(Hsts::line).unwrap_or_default();
        if !hsts.is_empty() {
            rules.headers.replace_hsts();
        }
        let is_hidden = |name: &[u8]| !options.config_files && survey::is_host_config(name);
        let mut index = Index::with(names, is_hidden, |source, name| store.time(source, name))?;
        index.is_private = options.is_private;
        let mut site = Site {
            store,
            children: options.listing.then(|| Children::new(&index)),
            index,
            rules,
            hsts,
            warnings: Vec::new(),
            attachment: None,
            opened: SystemTime::now(),
            since: AtomicU64::new(0),
            makeshifts: AtomicU64::new(0),
            hashes: Mutex::default(),
        };
        let index = &site.index;
        if !index.outdated.is_empty() {
            let names = index.outdated.iter().filter_map(|&source| index.source_name(source));
            let names = names.take(OUTDATED_SHOWN).map(printable).collect();
            warnings.push(Warning::Outdated { count: index.outdated.len(), names });
        }
        survey::survey(&site, prefix, &mut warnings);
        site.warnings = warnings.finish();
        Ok(site)
    }
}

/// Makes rules of the contents of `_headers` and `_redirects`.
type Compile = fn(&[Option<Vec<u8>>; 2]) -> Result<Rules, OpenFault>;

fn open(
    opener: &dyn Fn(&Path) -> io::Result<OwnedFd>,
    path: &Path,
    options: &Options,
    compile: Compile,
    show: Show<'_>,
) -> Result<Site, OpenFault> {
    let prefix = options.prefix();
    let fault = |doing, error| OpenFault::Io { doing, error };
    let fd = opener(path).map_err(|error| fault("open it", error))?;
    let stat = rustix::fs::fstat(&fd).map_err(|errno| fault("look at it", errno.into()))?;
    let mut warnings = Warnings::default();
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => {
            let root = Root::of(fd, path, prefix, options.follow_links)?;
            let names = root.files(show, &mut warnings)?;
            let rules = directory_rules(&root, compile)?;
            Site::assemble(Store::Directory(root), names, prefix, options, rules, warnings)
        }
        FileType::RegularFile => {
            show(Seen::Content(fd.as_fd()));
            let archive = ArchiveFile::of(File::from(fd), &stat);
            match find(&archive)? {
                PackProbe::Pack(packed) => {
                    return open_pack(archive, packed, &stat, prefix, options, compile, warnings);
                }
                PackProbe::Newer => {
                    let why = "it was made by a newer sitar";
                    warnings.push(Warning::IndexUnused { why });
                }
                PackProbe::Plain => {}
            }
            let ((names, bodies), rule_files, maps) = list(&archive, prefix, &mut warnings)?;
            let rules = archive_rules(&archive, rule_files, &maps, compile)?;
            let store = Store::Archive { file: archive.unchanged(&stat)?, bodies, maps };
            Site::assemble(store, names, prefix, options, rules, warnings)
        }
        _ => Err(OpenFault::NotAFileOrDirectory),
    }
}

/// A pack: everything is known from its index.
fn open_pack(
    archive: ArchiveFile,
    packed: PackIndex,
    stat: &Stat,
    prefix: Option<&str>,
    options: &Options,
    compile: Compile,
    warnings: Warnings,
) -> Result<Site, OpenFault> {
    let packed = packed.below(prefix)?;
    let rules = compile(&packed.rules(&archive)?)?;
    let PackIndex { names, records, blocks, hash, .. } = packed;
    let store = Store::Pack { file: archive.unchanged(stat)?, records, blocks, hash };
    let site = Site::assemble(store, names, prefix, options, rules, warnings)?;
    if site.index.has_clash {
        let what = "the index has a name twice, or as a file and a folder";
        return Err(OpenFault::DamagedPack { offset: 0, what });
    }
    Ok(site)
}

/// Compiles the contents of `_headers` and `_redirects`.
pub(crate) fn compile(texts: &[Option<Vec<u8>>; 2]) -> Result<Rules, OpenFault> {
    let [headers, redirects] = texts;
    Rules::compile(headers.as_deref(), redirects.as_deref()).map_err(OpenFault::Rules)
}

fn embedded_rules(files: &[(&str, &[u8])]) -> Result<Rules, OpenFault> {
    let text = |wanted: &str| files.iter().find(|(name, _)| *name == wanted).map(|(_, bytes)| bytes.to_vec());
    compile(&[text(HEADERS), text(REDIRECTS)])
}

fn archive_rules(
    archive: &impl ReadAt,
    files: RuleFiles,
    maps: &Maps,
    compile: Compile,
) -> Result<Rules, OpenFault> {
    let mut texts = [None, None];
    for (text, stored) in texts.iter_mut().zip(files) {
        let Some(stored) = stored else { continue };
        let mut bytes = vec![0; rule_bytes(stored.size)];
        match maps.get(&stored.offset) {
            Some(map) => map.read(&mut bytes, 0, |part, offset| archive.read_exact_at(part, offset)),
            None => archive.read_exact_at(&mut bytes, stored.offset),
        }
        .map_err(|error| OpenFault::Io { doing: "read its rules", error })?;
        *text = Some(bytes);
    }
    compile(&texts)
}

pub(crate) fn directory_rules(root: &Root, compile: Compile) -> Result<Rules, OpenFault> {
    let fault = |error| OpenFault::Io { doing: "read its rules", error };
    let mut texts = [None, None];
    for (text, name) in texts.iter_mut().zip([HEADERS, REDIRECTS]) {
        match root.file(name.as_bytes()) {
            Ok((fd, stat)) => {
                let mut bytes = vec![0; rule_bytes(u64::try_from(stat.st_size).unwrap_or(0))];
                File::from(fd).read_exact_at(&mut bytes, 0).map_err(fault)?;
                *text = Some(bytes);
            }
            // Not there, or a link that leads out: there are no rules. A file that cannot be read
            // is another matter: to serve a site without its rules could show what they hide.
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound) => {}
            Err(error) => return Err(fault(error)),
        }
    }
    compile(&texts)
}

/// Every path to a file in an archive, its files with rules, and the maps of those that are sparse.
pub(crate) fn list(
    archive: &impl ReadAt,
    prefix: Option<&str>,
    warnings: &mut Warnings,
) -> Result<(Listing, RuleFiles, Maps), OpenFault> {
    let mut tree = Tree::new();
    tar::scan(archive, warnings, &mut tree)?;
    if tree.has_index() && !warnings.has_unused_index() {
        let why = "the archive was altered after it was packed (pack it again)";
        warnings.push(Warning::IndexUnused { why });
    }
    let (listing, rules) = tree.files(prefix, warnings)?;
    Ok((listing, rules, tree.into_maps()))
}

/// Sidecars that a warning names; the rest is counted.
const OUTDATED_SHOWN: usize = 3;

#[cfg(test)]
pub(crate) mod tests;
