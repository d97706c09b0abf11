//! From a directory to an archive.
//!
//! Threads read, hash and encode ([`super::pipeline`]); the calling thread writes what they bring,
//! in the order of the names. They run ahead of it by a bounded number of files and bytes, so
//! memory does not grow with the site. Nothing in the archive depends on who was faster, nor on the
//! order in which the file system lists names.

use super::encode::{CODINGS, Level, Worth, worth};
use super::index::{Written, index};
use super::members::TarWriter;
use super::pipeline::{Pipeline, Prepared, Stop};
use super::reuse::Earlier;
use super::sift::sift;
use aws_lc_rs::digest::{Context, SHA256};
use sitar_site::raw::format::{Flags, INDEX_NAME};
use sitar_site::raw::{
    ArchiveFile, FILES_MAX, Hash, RULE_FILES, Root, Warnings, directory_rules, is_fingerprinted, printable,
    screen, sha256, sidecar,
};
use sitar_site::{OpenError, OpenFault, Warning};
use std::collections::HashMap;
use std::fmt;
use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::path::Path;

/// Settings for packing.
#[derive(Debug)]
pub struct PackOptions {
    /// Threads that read and encode.
    pub threads: NonZeroUsize,
    /// Seconds since the Unix epoch that no file's time may be later than: `SOURCE_DATE_EPOCH`,
    /// which makes a fresh checkout pack like the last one. `None`: times as they are.
    pub newest: Option<u64>,
    /// The effort for small encodings.
    pub level: Level,
    /// Pack files at the root that configure other hosts, too.
    pub config_files: bool,
    /// An earlier pack whose encodings are taken over where the content is the same.
    pub earlier: Option<std::fs::File>,
    /// Pack what links lead to outside of the directory, too; see [`Options`](sitar_site::Options).
    pub follow_links: bool,
}

/// Callbacks for progress.
pub trait Progress {
    /// Packing begins: the number of files.
    fn begin(&self, files: usize);
    /// A file has been written: the number of those that have, and the bytes of the archive.
    fn advance(&self, files: usize, archive: u64);
}

/// A report about a pack.
#[derive(Debug, Default)]
pub struct Packed {
    /// Files of the site, sidecars included that were there.
    pub files: usize,
    /// Bytes of them.
    pub bytes: u64,
    /// Bytes of the archive.
    pub archive: u64,
    /// Bytes of the files that are no sidecars: what a client that takes no coding fetches.
    pub plain: u64,
    /// The same for a client that takes every coding and is sent the smallest.
    pub fetched: u64,
    /// The encodings that were made, for each coding by the name of its sidecars.
    pub encodings: Vec<Encodings>,
    /// Files whose encodings came out of the earlier pack.
    pub reused: usize,
    /// Sidecars that were there already.
    pub taken_over: usize,
    /// Sidecars that were there and were not what they lay beside: left out.
    pub replaced: usize,
    /// Files whose name carries a fingerprint of the content.
    pub fingerprinted: usize,
    /// Files that were too large to be encoded, though their type would be.
    pub too_large: usize,
    /// Warnings for the operator.
    pub warnings: Vec<Warning>,
}

/// The gain of one coding.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Encodings {
    /// The sidecars' suffix, without its dot.
    pub suffix: &'static str,
    /// Encodings that were kept.
    pub files: usize,
    /// Bytes of the files before.
    pub before: u64,
    /// Bytes of the sidecars.
    pub after: u64,
}

/// The reason why no pack was written.
#[derive(Debug)]
pub struct PackError {
    /// The fault.
    pub fault: PackFault,
    /// The file concerned, made printable; empty when none is.
    pub name: String,
}

/// The fault.
#[derive(Debug)]
#[non_exhaustive]
pub enum PackFault {
    /// The directory, or its rules.
    Open(OpenError),
    /// A file cannot be read.
    Read(io::Error),
    /// A file was written to meanwhile.
    Changed,
    /// The archive cannot be written.
    Write(io::Error),
    /// A mistake of this program's.
    Panicked,
}

impl fmt::Display for PackError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.fault {
            PackFault::Open(error) => error.fmt(f),
            PackFault::Read(error) => write!(f, "cannot read '{}': {error}", self.name),
            PackFault::Changed => {
                write!(
                    f,
                    "'{}' was changed while it was read; pack again when no program writes to it",
                    self.name
                )
            }
            PackFault::Write(error) => write!(f, "cannot write the archive: {error}"),
            PackFault::Panicked => {
                write!(f, "encoding '{}' failed inside of the encoder; please report it", self.name)
            }
        }
    }
}

impl std::error::Error for PackError {}

impl PackError {
    pub(super) fn of(name: &[u8]) -> impl Fn(PackFault) -> PackError {
        move |fault| PackError { fault, name: printable(name) }
    }

    fn write(error: io::Error) -> PackError {
        PackError { fault: PackFault::Write(error), name: String::new() }
    }
}

/// Packs a directory: every file that `sitar serve` would serve from it, and its rules.
///
/// The same names, contents and times give the same bytes, on any machine.
///
/// # Errors
/// The directory's, a file's or the output's. What was written until then is no archive.
pub fn pack(
    directory: &Path,
    output: impl Write,
    options: PackOptions,
    progress: &dyn Progress,
) -> Result<Packed, PackError> {
    let open =
        |fault| PackError { fault: PackFault::Open(OpenError::new(directory, fault)), name: String::new() };
    let root = Root::open(directory, None, options.follow_links).map_err(open)?;
    // A line that would not work must be known before it is deployed.
    let rules = directory_rules(&root).map_err(open)?;
    let mut warnings = Warnings::default();
    let names = names(&root, &mut warnings).map_err(open)?;
    let mut names = screen(&root, names, options.config_files, &mut warnings);
    let replaced = sift(&root, &mut names, options.threads, &mut warnings)?;
    let earlier = options.earlier.and_then(|file| Earlier::open(ArchiveFile::new(file).ok()?, options.level));
    progress.begin(names.len());

    let pipeline = Pipeline::new(&root, &names, &rules, earlier, options.level);
    let mut packer = Packer {
        archive: TarWriter::new(output),
        written: Vec::with_capacity(names.len()),
        newest: options.newest.unwrap_or(u64::MAX),
        level: options.level,
        packed: Packed {
            encodings: CODINGS
                .map(|(_, suffix)| Encodings {
                    suffix: std::str::from_utf8(&suffix[1..]).unwrap_or_default(),
                    ..Encodings::default()
                })
                .to_vec(),
            replaced,
            ..Packed::default()
        },
    };
    std::thread::scope(|scope| {
        for _ in 0..options.threads.get().min(names.len()) {
            scope.spawn(|| pipeline.work());
        }
        // Whatever happens to the writer: without it the others would wait for ever.
        let _stop = Stop(&pipeline);
        for (at, name) in names.iter().enumerate() {
            packer.file(&root, name, pipeline.next(at)?)?;
            progress.advance(at + 1, packer.archive.at());
        }
        Ok(())
    })?;
    let mut packed = packer.finish(open)?;
    if packed.files == 0 {
        warnings.push(Warning::NoFiles);
    }
    packed.warnings = warnings.finish();
    Ok(packed)
}

/// All names, in one order whatever the file system's; the rules among them.
fn names(root: &Root, warnings: &mut Warnings) -> Result<Vec<Box<[u8]>>, OpenFault> {
    let mut names = root.names(warnings)?;
    for rules in RULE_FILES {
        match root.open_file(rules) {
            Ok(_) => names.push(rules.into()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(OpenFault::Io { doing: "read its rules", error }),
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// The archive, as far as it has got.
struct Packer<W> {
    archive: TarWriter<W>,
    written: Vec<Written>,
    newest: u64,
    level: Level,
    packed: Packed,
}

impl<W: Write> Packer<W> {
    fn file(&mut self, root: &Root, name: &[u8], prepared: Prepared) -> Result<(), PackError> {
        let (size, mtime, encodings) = match prepared {
            Prepared::Large { not_before } => {
                let (size, mtime) = self.large(root, name, not_before)?;
                self.packed.too_large += usize::from(worth(name) == Worth::Yes);
                (size, mtime, [None, None, None])
            }
            Prepared::Whole { content, mtime, hash, tried, encodings, reused } => {
                let mtime = mtime.min(self.newest);
                let size = content.len() as u64;
                self.member(name, &content, mtime, hash, Flags::tried(tried))?;
                self.packed.reused += usize::from(reused);
                (size, mtime, encodings)
            }
        };
        for (place, encoding) in encodings.into_iter().enumerate() {
            let Some(encoding) = encoding else { continue };
            let sidecar = [name, CODINGS[place].1].concat();
            self.member(&sidecar, &encoding, mtime, sha256(&encoding), Flags::GENERATED)?;
            let sum = &mut self.packed.encodings[place];
            sum.files += 1;
            sum.before += size;
            sum.after += encoding.len() as u64;
        }
        self.packed.files += 1;
        self.packed.bytes += size;
        self.packed.taken_over += usize::from(sidecar(name).is_some());
        self.packed.fingerprinted += usize::from(is_fingerprinted(name));
        Ok(())
    }

    fn member(
        &mut self,
        name: &[u8],
        body: &[u8],
        mtime: u64,
        hash: Hash,
        flags: Flags,
    ) -> Result<(), PackError> {
        let size = body.len() as u64;
        self.archive.header(name, size, mtime).map_err(PackError::write)?;
        let offset = self.archive.at();
        self.archive.write(body).and_then(|()| self.archive.pad()).map_err(PackError::write)?;
        self.written.push(Written { name: name.into(), offset, size, mtime, hash, flags });
        Ok(())
    }

    /// Copies a file in pieces.
    fn large(&mut self, root: &Root, name: &[u8], not_before: u64) -> Result<(u64, u64), PackError> {
        let fault = PackError::of(name);
        let read = |error| fault(PackFault::Read(error));
        let file = root.open_file(name).map_err(read)?;
        let size = file.size();
        let mtime = file.modified().unwrap_or(0).max(not_before).min(self.newest);
        self.archive.header(name, size, mtime).map_err(PackError::write)?;
        let offset = self.archive.at();
        let mut digest = Context::new(&SHA256);
        let mut buffer = vec![0; PIECE];
        let mut at = 0;
        while at < size {
            // At most PIECE.
            let piece = &mut buffer[..usize::try_from(size - at).unwrap_or(PIECE).min(PIECE)];
            file.read_exact_at(piece, at).map_err(read)?;
            digest.update(piece);
            self.archive.write(piece).map_err(PackError::write)?;
            at += piece.len() as u64;
        }
        if !file.is_unchanged().map_err(read)? {
            return Err(fault(PackFault::Changed));
        }
        self.archive.pad().map_err(PackError::write)?;
        let mut hash = [0; 32];
        hash.copy_from_slice(digest.finish().as_ref());
        let flags = Flags::default();
        self.written.push(Written { name: name.into(), offset, size, mtime, hash, flags });
        Ok((size, mtime))
    }

    fn finish(mut self, open: impl Fn(OpenFault) -> PackError) -> Result<Packed, PackError> {
        if self.written.len() > FILES_MAX {
            let limit = FILES_MAX as u64;
            return Err(open(OpenFault::TooMany { what: "files, encodings counted", limit }));
        }
        // A time of its own would be one that changes; zero is one that GNU tar complains about.
        let mtime = self.written.iter().map(|member| member.mtime).max().unwrap_or(1).max(1);
        let offset = self.archive.at() + 512;
        let index = index(&self.written, offset, self.level).map_err(&open)?;
        self.archive
            .header(INDEX_NAME, index.len() as u64, mtime)
            .and_then(|()| self.archive.write(&index))
            .and_then(|()| self.archive.pad())
            .map_err(PackError::write)?;
        (self.packed.plain, self.packed.fetched) = fetched(&self.written);
        self.packed.archive = self.archive.finish().map_err(PackError::write)?;
        Ok(self.packed)
    }
}

/// Bytes of all files that are no sidecars, as they are, and each in the smallest encoding that it
/// has.
fn fetched(written: &[Written]) -> (u64, u64) {
    let mut sizes: HashMap<&[u8], (u64, u64)> = HashMap::new();
    let is_rules = |name: &[u8]| RULE_FILES.contains(&name);
    for Written { name, size, .. } in written.iter().filter(|written| !is_rules(&written.name)) {
        sizes.insert(name, (*size, *size));
    }
    for Written { name, size, .. } in written {
        let Some((original, _)) = sidecar(name) else { continue };
        if let Some((_, smallest)) = sizes.get_mut(original) {
            *smallest = (*smallest).min(*size);
            sizes.remove(&**name);
        }
    }
    sizes.values().fold((0, 0), |(plain, fetched), (size, smallest)| (plain + size, fetched + smallest))
}

/// Bytes of such a piece.
const PIECE: usize = 1 << 20;
