//! The system's store, which curl, wget, Python and OpenSSL read.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use crate::identity;

use super::{Authority, Outcome, Package, Places, State, Tools, shell_word};

/// The places and commands of a family of distributions for authorities of its own.
struct Family {
    /// Their folder, below the root.
    directory: &'static str,
    /// The command that makes the bundles again.
    program: &'static str,
    /// Its arguments after an authority was put in.
    added: &'static [&'static str],
    /// Its arguments after one was taken out.
    removed: &'static [&'static str],
}

const FAMILIES: [Family; 2] = [
    // Debian, Ubuntu. The file's name must end in .crt. Without --fresh, dangling links would stay
    // in /etc/ssl/certs.
    Family {
        directory: "usr/local/share/ca-certificates",
        program: "update-ca-certificates",
        added: &[],
        removed: &["--fresh"],
    },
    // Fedora and its relatives.
    Family {
        directory: "etc/pki/ca-trust/source/anchors",
        program: "update-ca-trust",
        added: &["extract"],
        removed: &["extract"],
    },
];

const STORE: &str = "system";
/// Larger files are not ours: 64 KiB.
const FILE_BYTES_MAX: u64 = 64 * 1024;

pub(super) fn trust(places: &Places, tools: &dyn Tools, authority: Authority<'_>) -> Outcome {
    let Some(entry) = Entry::find(places) else { return no_store() };
    let (family, file) = (entry.family, &entry.path);
    let state = match entry.found() {
        Found::Ours { bytes, is_guarded: true } if bytes == authority.pem => State::AlreadyTrusted,
        Found::Foreign => entry.not_ours(),
        // Before the command to type, which could not end.
        _ if !tools.has(family.program) => family.no_program(),
        _ if places.user != 0 => {
            let (from, to) = (shell_word(authority.path), shell_word(file));
            State::TypeThis(format!(
                "sudo install -m 0644 {from} {to} && sudo {}",
                family.command(family.added)
            ))
        }
        _ => match entry.write(authority.pem) {
            Err(error) => State::Failed(format!("cannot write {}: {error}", file.display())),
            Ok(()) => match family.update(tools, family.added) {
                Ok(()) => State::Trusted,
                Err(why) => {
                    // Without its bundles the file would look trusted to the next run.
                    let _ = entry.remove(&entry.name);
                    State::Failed(why)
                }
            },
        },
    };
    Outcome { store: STORE.to_owned(), state }
}

pub(super) fn untrust(places: &Places, tools: &dyn Tools) -> Outcome {
    let Some(entry) = Entry::find(places) else {
        return Outcome { store: STORE.to_owned(), state: State::NotThere };
    };
    let (family, file) = (entry.family, &entry.path);
    let state = match entry.found() {
        Found::Nothing => State::NotThere,
        Found::Link | Found::Foreign => entry.not_ours(),
        Found::Ours { .. } if !tools.has(family.program) => family.no_program(),
        Found::Ours { .. } if places.user != 0 => State::TypeThis(entry.removal()),
        Found::Ours { .. } => match entry.remove(&entry.name) {
            Err(errno) => {
                State::Failed(format!("cannot remove {}: {}", file.display(), io::Error::from(errno)))
            }
            Ok(()) => match family.update(tools, family.removed) {
                Ok(()) => State::Removed,
                Err(why) => State::Failed(format!("{} is gone, but: {why}", file.display())),
            },
        },
    };
    Outcome { store: STORE.to_owned(), state }
}

impl Family {
    fn command(&self, arguments: &[&str]) -> String {
        [&[self.program], arguments].concat().join(" ")
    }

    fn update(&self, tools: &dyn Tools, arguments: &[&str]) -> Result<(), String> {
        let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
        match tools.run(self.program, &arguments, b"") {
            Ok(finished) if finished.success => Ok(()),
            Ok(finished) => Err(format!("{}: {}", self.program, finished.complaint())),
            Err(error) => Err(format!("{}: {error}", self.program)),
        }
    }

    fn no_program(&self) -> State {
        State::Missing(format!("{} is missing", self.program), Package::CaCertificates)
    }
}

/// The file that is ours in the system's store, one for each user.
struct Entry {
    family: &'static Family,
    directory: OwnedFd,
    name: String,
    path: PathBuf,
}

/// The state of the file.
enum Found {
    Nothing,
    /// An authority that sitar made. One that another user can write to would not stay what it is.
    Ours {
        bytes: Vec<u8>,
        is_guarded: bool,
    },
    /// A link, which may be replaced, but is not followed.
    Link,
    /// Anything else.
    Foreign,
}

impl Entry {
    /// Opens the store of this machine's family; `None` if it has none that is known.
    fn find(places: &Places) -> Option<Entry> {
        // Only root can make a link of it, and then it is meant to be followed.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let (family, directory) = FAMILIES.iter().find_map(|family| {
            let directory = places.root.join(family.directory);
            Some((family, rustix::fs::open(directory, flags, Mode::empty()).ok()?))
        })?;
        let name = format!("sitar-local-{}.crt", places.user);
        let path = places.root.join(family.directory).join(&name);
        Some(Entry { family, directory, name, path })
    }

    fn found(&self) -> Found {
        match identity::open_file(&self.directory, &self.name) {
            Ok((file, stat)) => match identity::read(&file, FILE_BYTES_MAX) {
                Ok(bytes) if identity::is_named_as_ours(&bytes) => {
                    Found::Ours { bytes, is_guarded: identity::is_guarded(&stat) }
                }
                _ => Found::Foreign,
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Found::Nothing,
            Err(error) if error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) => Found::Link,
            Err(_) => Found::Foreign,
        }
    }

    /// Writes beside the file and renames, so that a bundle is never made from half a certificate
    /// and a symbolic link of that name is replaced, not followed.
    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        let new = self.name.replace(".crt", ".new");
        self.remove(&new)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        // Independent of the umask: other users' programs read it.
        let mode = Mode::from_raw_mode(0o644);
        let written = rustix::fs::openat(&self.directory, &new, flags, mode)
            .map_err(io::Error::from)
            .map(File::from)
            .and_then(|mut out| {
                out.write_all(bytes)?;
                rustix::fs::fchmod(&out, mode)?;
                out.sync_all()
            })
            .and_then(|()| Ok(rustix::fs::renameat(&self.directory, &new, &self.directory, &self.name)?));
        if written.is_err() {
            let _ = self.remove(&new);
        }
        written
    }

    fn remove(&self, name: &str) -> Result<(), Errno> {
        match rustix::fs::unlinkat(&self.directory, name, AtFlags::empty()) {
            Err(Errno::NOENT) => Ok(()),
            done => done,
        }
    }

    /// The command that takes it out.
    fn removal(&self) -> String {
        let family = self.family;
        format!("sudo rm -f {} && sudo {}", shell_word(&self.path), family.command(family.removed))
    }

    fn not_ours(&self) -> State {
        super::not_ours(&self.path.display().to_string(), &self.removal())
    }
}

fn no_store() -> Outcome {
    let state = State::Missing("no store of a known kind".to_owned(), Package::CaCertificates);
    Outcome { store: STORE.to_owned(), state }
}
