//! The system's store, which curl, wget, Python and OpenSSL read.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::{Authority, Outcome, Places, State, Tools, shell_word};

/// How a family of distributions keeps authorities of its own.
struct Family {
    /// Where they lie, below the root.
    directory: &'static str,
    /// What makes the bundles anew.
    program: &'static str,
    /// Its arguments after an authority was put in.
    added: &'static [&'static str],
    /// Its arguments after one was taken out.
    removed: &'static [&'static str],
    package: &'static str,
}

const FAMILIES: [Family; 2] = [
    // Debian, Ubuntu. The file's name must end in .crt. Without --fresh, dangling links would stay in /etc/ssl/certs.
    Family {
        directory: "usr/local/share/ca-certificates",
        program: "update-ca-certificates",
        added: &[],
        removed: &["--fresh"],
        package: "ca-certificates",
    },
    // Fedora and its relatives.
    Family {
        directory: "etc/pki/ca-trust/source/anchors",
        program: "update-ca-trust",
        added: &["extract"],
        removed: &["extract"],
        package: "ca-certificates",
    },
];

const STORE: &str = "system";

pub(super) fn trust(places: &Places, tools: &dyn Tools, authority: Authority<'_>) -> Outcome {
    let Some((family, file)) = entry(places) else { return no_store() };
    let state = if fs::read(&file).is_ok_and(|bytes| bytes == authority.pem) {
        State::AlreadyTrusted
    } else if places.user != 0 {
        let (from, to) = (shell_word(authority.path), shell_word(&file));
        State::TypeThis(format!("sudo install -m 0644 {from} {to} && sudo {}", family.command(family.added)))
    } else if !tools.has(family.program) {
        family.no_program()
    } else {
        match write_new(&file, authority.pem) {
            Err(error) => State::Failed(format!("cannot write {}: {error}", file.display())),
            Ok(()) => match family.update(tools, family.added) {
                Ok(()) => State::Trusted,
                Err(why) => {
                    // Without its bundles the file would look trusted to the next run.
                    let _ = fs::remove_file(&file);
                    State::Failed(why)
                }
            },
        }
    };
    Outcome { store: STORE.to_owned(), state }
}

pub(super) fn untrust(places: &Places, tools: &dyn Tools) -> Outcome {
    let Some((family, file)) = entry(places) else { return no_store() };
    let state = if fs::symlink_metadata(&file).is_err() {
        State::NotThere
    } else if places.user != 0 {
        State::TypeThis(format!(
            "sudo rm -f {} && sudo {}",
            shell_word(&file),
            family.command(family.removed)
        ))
    } else if !tools.has(family.program) {
        family.no_program()
    } else {
        match fs::remove_file(&file) {
            Err(error) => State::Failed(format!("cannot remove {}: {error}", file.display())),
            Ok(()) => match family.update(tools, family.removed) {
                Ok(()) => State::Removed,
                Err(why) => State::Failed(format!("{} is gone, but: {why}", file.display())),
            },
        }
    };
    Outcome { store: STORE.to_owned(), state }
}

impl Family {
    fn command(&self, arguments: &[&str]) -> String {
        [&[self.program], arguments].concat().join(" ")
    }

    fn update(&self, tools: &dyn Tools, arguments: &[&str]) -> Result<(), String> {
        let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
        match tools.run(self.program, &arguments) {
            Ok(finished) if finished.success => Ok(()),
            Ok(finished) => Err(format!("{}: {}", self.program, finished.complaint())),
            Err(error) => Err(format!("{}: {error}", self.program)),
        }
    }

    fn no_program(&self) -> State {
        State::Unavailable(format!("{} is missing; install the package {}", self.program, self.package))
    }
}

/// The family of this machine and the file that is ours there, one for each user.
fn entry(places: &Places) -> Option<(&'static Family, PathBuf)> {
    let family = FAMILIES.iter().find(|family| places.root.join(family.directory).is_dir())?;
    let file = places.root.join(family.directory).join(format!("sitar-local-{}.crt", places.user));
    Some((family, file))
}

fn no_store() -> Outcome {
    let why = "no store of a known kind; install the package ca-certificates";
    Outcome { store: STORE.to_owned(), state: State::Unavailable(why.to_owned()) }
}

/// Writes beside the file and renames, so that a bundle is never made from half a certificate and a symbolic link
/// of that name is replaced, not followed.
fn write_new(file: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = file.with_extension("new");
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o644)
        .open(&new)
        .and_then(|mut out| {
            out.write_all(bytes)?;
            // Whatever the umask says: other users' programs read it.
            rustix::fs::fchmod(&out, rustix::fs::Mode::from_raw_mode(0o644))?;
            out.sync_all()
        })
        .and_then(|()| fs::rename(&new, file));
    if written.is_err() {
        let _ = fs::remove_file(&new);
    }
    written
}
