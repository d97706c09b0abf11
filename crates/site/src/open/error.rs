//! Faults of a site: errors that stop it from opening, warnings that do not.
//!
//! All of them are the operator's to mend, so each says where, what, and what to do about it.

use super::printable::printable;
use crate::rules::RuleError;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// The reason why a site could not be opened: the path as it was given, and the fault found there.
#[derive(Debug)]
pub struct OpenError {
    path: PathBuf,
    fault: OpenFault,
}

impl OpenError {
    /// A fault of what lies at `path`.
    #[must_use]
    pub fn new(path: &Path, fault: OpenFault) -> OpenError {
        OpenError { path: path.to_owned(), fault }
    }

    /// The path that was to be opened; empty for a site that is compiled in.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The fault.
    pub fn fault(&self) -> &OpenFault {
        &self.fault
    }
}

/// A fault of an archive or a directory.
#[derive(Debug)]
#[non_exhaustive]
pub enum OpenFault {
    /// The kernel refused, while doing what is named.
    Io {
        /// The operation, for example `open`.
        doing: &'static str,
        /// The kernel's answer.
        error: io::Error,
    },
    /// A socket, a device, a named pipe.
    NotAFileOrDirectory,
    /// A file of no bytes.
    Empty,
    /// A file that does not begin with a tar header.
    NotTar,
    /// A compressed archive: its members cannot be served in place.
    Compressed {
        /// The compression's name.
        format: &'static str,
        /// The command that undoes it.
        remedy: &'static str,
    },
    /// The archive ends before it should.
    Truncated {
        /// The offset at which the missing bytes should begin, from the start of the archive.
        offset: u64,
        /// The member concerned; empty when none had begun.
        member: String,
    },
    /// The archive breaks the format.
    Damaged {
        /// The offset in bytes from the start of the archive.
        offset: u64,
        /// The member concerned, or the last one before.
        member: String,
        /// The fault there.
        what: &'static str,
    },
    /// The archive is a pack whose index is not what was written.
    DamagedPack {
        /// The offset in bytes from the start of the archive.
        offset: u64,
        /// The fault there.
        what: &'static str,
    },
    /// A sparse member whose map is written in a way that is not known.
    Sparse {
        /// The member's name.
        member: String,
    },
    /// The archive continues in another file.
    MultiVolume {
        /// The member's name.
        member: String,
    },
    /// More of something than this program takes on.
    TooMany {
        /// The things that are too many.
        what: &'static str,
        /// The most that is allowed.
        limit: u64,
    },
    /// The folder to serve does not exist in the archive or directory.
    NoSuchPrefix {
        /// The folder asked for.
        prefix: String,
        /// Some folders that exist at the top.
        folders: Vec<String>,
    },
    /// The site's own rules have mistakes; not empty.
    Rules(Vec<RuleError>),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.as_os_str().is_empty() {
            write!(f, "{}: ", self.path.display())?;
        }
        match &self.fault {
            OpenFault::Compressed { format, remedy } => {
                let path = self.path.display();
                write!(f, "this archive is compressed with {format}; unpack it first: {remedy} {path}")
            }
            fault => fault.fmt(f),
        }
    }
}

impl fmt::Display for OpenFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpenFault::Io { doing, error } => write!(f, "cannot {doing}: {error}"),
            OpenFault::NotAFileOrDirectory => f.write_str("is neither a regular file nor a directory"),
            OpenFault::Empty => f.write_str("the file is empty; a site is a tar archive or a directory"),
            OpenFault::NotTar => {
                f.write_str("this is not a tar archive; make one with: tar -C FOLDER -cf site.tar .")
            }
            OpenFault::Compressed { format, remedy } => {
                write!(f, "this archive is compressed with {format}; unpack it first: {remedy}")
            }
            OpenFault::Truncated { offset, member } if member.is_empty() => {
                write!(f, "the archive is cut short at byte {offset}; copy it again")
            }
            OpenFault::Truncated { offset, member } => {
                write!(
                    f,
                    "the archive is cut short at byte {offset}, in or after member '{member}'; copy it again"
                )
            }
            OpenFault::Damaged { offset, member, what } if member.is_empty() => {
                write!(f, "the archive is damaged at byte {offset}: {what}")
            }
            OpenFault::Damaged { offset, member, what } => {
                write!(f, "the archive is damaged at byte {offset}, member '{member}': {what}")
            }
            OpenFault::DamagedPack { offset, what } => {
                write!(
                    f,
                    "the pack is damaged at byte {offset}: {what}; copy it again, or make it again with: sitar pack"
                )
            }
            OpenFault::Sparse { member } => {
                write!(
                    f,
                    "member '{member}' is stored as a sparse file in a way that sitar does not read; make the archive without --sparse"
                )
            }
            OpenFault::MultiVolume { member } => {
                write!(f, "member '{member}' continues in another volume; make the archive in one piece")
            }
            OpenFault::TooMany { what, limit } => write!(f, "more than {limit} {what}"),
            OpenFault::NoSuchPrefix { prefix, folders } if folders.is_empty() => {
                write!(f, "there is no folder '{prefix}' in it")
            }
            OpenFault::NoSuchPrefix { prefix, folders } => {
                write!(f, "there is no folder '{prefix}' in it; there is: {}", folders.join(", "))
            }
            OpenFault::Rules(errors) => {
                let (first, rest) = errors.split_first().ok_or(fmt::Error)?;
                first.fmt(f)?;
                rest.iter().take(RULES_SHOWN - 1).try_for_each(|error| write!(f, "; {error}"))?;
                match rest.len().saturating_sub(RULES_SHOWN - 1) {
                    0 => Ok(()),
                    more => write!(f, "; and {more} more"),
                }
            }
        }
    }
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.fault {
            OpenFault::Io { error, .. } => Some(error),
            _ => None,
        }
    }
}

/// Something that the operator should know, though the site opened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Warning {
    /// A member or file that is not served, and why.
    LeftOut {
        /// Its name, made printable.
        name: String,
        /// The reason.
        why: &'static str,
    },
    /// Everything lies below one folder, which was probably meant to be the root.
    OneTopFolder {
        /// The prefix to pass.
        prefix: String,
    },
    /// Nothing in the archive or directory can be served.
    NoFiles,
    /// There is no page at the root, and no rule that answers there.
    NoIndex,
    /// There is no page at all, nor such a rule.
    NoPages,
    /// Files at the root that configure other hosts, and are not served.
    HostConfig {
        /// Number of them.
        files: usize,
        /// Names of the first ones, made printable.
        names: Vec<String>,
    },
    /// A file that is served to everyone, and was hardly meant to be.
    Secret {
        /// Its name, made printable.
        name: String,
        /// The kind of secret.
        what: &'static str,
    },
    /// The archive was a pack once, or is one for another version: it is served like a plain tar.
    IndexUnused {
        /// The reason why the index is of no use.
        why: &'static str,
    },
    /// Encodings that are older than the files that they lie beside, and therefore not sent in
    /// their place.
    Outdated {
        /// Number of them.
        count: usize,
        /// The first names, made printable.
        names: Vec<String>,
    },
    /// Further warnings that were counted but not kept.
    More(usize),
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Warning::LeftOut { name, why } => write!(f, "'{name}' is left out: {why}"),
            Warning::OneTopFolder { prefix } => {
                write!(
                    f,
                    "there is no index.html at the top and everything lies below '{prefix}': use --prefix {prefix}"
                )
            }
            Warning::NoFiles => f.write_str("there is no file to serve in it"),
            Warning::NoIndex => {
                f.write_str("there is no index.html at the top, and no rule for /: a visitor of / gets 404")
            }
            Warning::NoPages => f.write_str(
                "there is no page in it (no .html file), and no rule for /: a visitor of / gets 404",
            ),
            Warning::HostConfig { files, names } => {
                match files {
                    1 => f.write_str("1 file configures another host and is")?,
                    files => write!(f, "{files} files configure other hosts and are")?,
                }
                let more = if *files > names.len() { ", …" } else { "" };
                write!(f, " not served: {}{more} (--serve-config-files)", names.join(", "))
            }
            Warning::Secret { name, what } => {
                write!(f, "'{name}' looks like {what}, and everyone can fetch it")
            }
            Warning::IndexUnused { why } => {
                write!(f, "its index is not used, because {why}: it is served like a plain tar")
            }
            Warning::Outdated { count, names } => {
                let (are, them) = if *count == 1 {
                    ("encoding is older than its file and is not sent for it", "it")
                } else {
                    ("encodings are older than their files and are not sent for them", "them")
                };
                write!(f, "{count} {are}: '{}'", names.join("', '"))?;
                if let more @ 1.. = count.saturating_sub(names.len()) {
                    write!(f, " and {more} more")?;
                }
                write!(f, "; make {them} again, or use sitar pack, which does")
            }
            Warning::More(count) => write!(f, "and {count} more warnings"),
        }
    }
}

/// A bounded collection of warnings: a hostile archive must not turn its faults into memory.
#[derive(Default)]
pub struct Warnings {
    /// Warnings that must not drown among the others.
    first: Vec<Warning>,
    kept: Vec<Warning>,
    dropped: usize,
}

impl Warnings {
    /// Adds a file or member that is left out, and why.
    pub fn left_out(&mut self, name: &[u8], why: &'static str) {
        // Counted before the name is copied, so that a million of them cost nothing.
        if self.kept.len() < WARNINGS_MAX {
            self.kept.push(Warning::LeftOut { name: printable(name), why });
        } else {
            self.dropped += 1;
        }
    }

    /// Adds any other one.
    pub fn push(&mut self, warning: Warning) {
        if self.kept.len() < WARNINGS_MAX {
            self.kept.push(warning);
        } else {
            self.dropped += 1;
        }
    }

    /// Adds one that is shown before all others.
    pub(crate) fn push_first(&mut self, warning: Warning) {
        if self.first.len() < WARNINGS_MAX {
            self.first.push(warning);
        } else {
            self.dropped += 1;
        }
    }

    pub(crate) fn has_unused_index(&self) -> bool {
        self.kept.iter().any(|warning| matches!(warning, Warning::IndexUnused { .. }))
    }

    /// Returns those that were kept, the most important ones first, and at the end how many were
    /// not kept.
    #[must_use]
    pub fn finish(mut self) -> Vec<Warning> {
        self.first.append(&mut self.kept);
        if self.dropped > 0 {
            self.first.push(Warning::More(self.dropped));
        }
        self.first
    }
}

/// Mistakes in rules that one message tells.
const RULES_SHOWN: usize = 5;
/// Warnings kept; the rest is counted.
const WARNINGS_MAX: usize = 100;
