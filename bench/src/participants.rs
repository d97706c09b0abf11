//! The participants: sitar, the floor, and the peers that this machine has.

use crate::Result;
use crate::run::found;
use std::path::{Path, PathBuf};
use std::process::Command;

pub(crate) const SITAR: &str = "sitar";
pub(crate) const SITAR_EPOLL: &str = "sitar, epoll";
/// sitar's default memory for content, MiB.
pub(crate) const MEMORY: u32 = 512;
/// With enough memory for content to keep a file of 100 MiB: one file may take an eighth.
pub(crate) const SITAR_MEMORY: &str = "sitar, --memory 1024";
pub(crate) const FLOOR: &str = "floor";

/// The way to configure and start a server.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    Floor,
    /// MiB of memory for content.
    Sitar {
        engine: &'static str,
        memory: u32,
    },
    Nginx,
    H2o,
    Lighttpd,
    StaticWebServer,
}

/// One server.
#[derive(Clone, Debug)]
pub(crate) struct Participant {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) program: PathBuf,
    /// The version, as the program prints it.
    pub(crate) version: String,
}

impl Participant {
    pub(crate) fn is_peer(&self) -> bool {
        !matches!(self.kind, Kind::Floor | Kind::Sitar { .. })
    }
}

/// Peers by the name of their program. A peer that is given by its path is recognized by that name.
/// An older sitar can be given too, to compare it with this tree in one run; none is looked for.
const PEERS: &[(&str, Kind, &str)] = &[
    ("nginx", Kind::Nginx, "-v"),
    ("h2o", Kind::H2o, "--version"),
    ("lighttpd", Kind::Lighttpd, "-V"),
    ("static-web-server", Kind::StaticWebServer, "--version"),
    (SITAR, Kind::Sitar { engine: "auto", memory: MEMORY }, "--version"),
];

/// Returns the floor, sitar, and all peers that are given or installed; and the names of peers that
/// are neither.
///
/// `given` are `NAME=PATH`: `nginx=…` takes the place of the installed one, `nginx-1.31=…` stands
/// beside it, and `sitar-before=…` beside this tree's.
pub(crate) fn all(target: &Path, given: &[String]) -> Result<(Vec<Participant>, Vec<&'static str>)> {
    let program = target.join("release/sitar");
    if !program.is_file() {
        return Err(format!("there is no {}; `cargo xtask bench` builds it", program.display()).into());
    }
    let sitar = |name: &str, engine, memory| Participant {
        name: name.to_owned(),
        kind: Kind::Sitar { engine, memory },
        program: program.clone(),
        version: "this tree".to_owned(),
    };
    let floor = Participant {
        name: FLOOR.to_owned(),
        kind: Kind::Floor,
        program: std::env::current_exe()?,
        version: "bench/src/floor.rs".to_owned(),
    };
    let mut all = vec![
        floor,
        sitar(SITAR, "auto", MEMORY),
        sitar(SITAR_EPOLL, "epoll", MEMORY),
        sitar(SITAR_MEMORY, "auto", 1024),
    ];
    let given = given.iter().map(|text| read_peer(text)).collect::<Result<Vec<_>>>()?;
    let mut absent = Vec::new();
    for (name, kind, version) in PEERS {
        if *name == SITAR || given.iter().any(|(given, _, _)| given == name) {
            continue;
        }
        match found(name) {
            Some(program) => {
                let version = version_of(&program, version);
                all.push(Participant { name: (*name).to_owned(), kind: *kind, program, version });
            }
            None => absent.push(*name),
        }
    }
    for (name, peer, program) in given {
        let (_, kind, version) = PEERS[peer];
        let version = version_of(&program, version);
        all.push(Participant { name, kind, program, version });
    }
    Ok((all, absent))
}

/// Reads `NAME=PATH`. Returns the name, the peer's place in the list, and the program.
fn read_peer(text: &str) -> Result<(String, usize, PathBuf)> {
    let (name, path) = text.split_once('=').ok_or_else(|| format!("--peer {text}: not NAME=PATH"))?;
    let is = |known: &str| {
        name.strip_prefix(known).is_some_and(|rest| {
            // This tree's has the name without more.
            rest.starts_with('-') || (rest.is_empty() && known != SITAR)
        })
    };
    let peer = PEERS.iter().position(|(known, _, _)| is(known)).ok_or_else(|| {
        let known: Vec<&str> = PEERS.iter().map(|(known, _, _)| *known).collect();
        format!("--peer {name}: the name has to begin with one of {}", known.join(", "))
    })?;
    let program = std::path::absolute(path)?;
    if !program.is_file() {
        return Err(format!("--peer {name}: there is no {}", program.display()).into());
    }
    Ok((name.to_owned(), peer, program))
}

/// Returns the first line that a program prints.
fn version_of(program: &Path, flag: &str) -> String {
    let Ok(done) = Command::new(program).arg(flag).output() else { return "unknown".into() };
    let text = [done.stdout, done.stderr].concat();
    first_line(&String::from_utf8_lossy(&text))
}

fn first_line(text: &str) -> String {
    let line = text.lines().find(|line| !line.trim().is_empty()).unwrap_or("unknown");
    line.trim().trim_start_matches("nginx version: ").split(" - ").next().unwrap_or(line).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_given_peer_is_recognized_by_its_name() {
        let here = "/bin/sh";
        let peer = |name: &str| read_peer(&format!("{name}={here}")).map(|(_, peer, _)| PEERS[peer].1);
        assert_eq!(peer("nginx").unwrap(), Kind::Nginx);
        assert_eq!(peer("nginx-1.31").unwrap(), Kind::Nginx);
        assert_eq!(peer("static-web-server").unwrap(), Kind::StaticWebServer);
        assert!(peer("nginxes").is_err());
        assert!(peer("apache").is_err());
        assert_eq!(peer("sitar-before").unwrap(), Kind::Sitar { engine: "auto", memory: MEMORY });
        assert!(peer("sitar").is_err(), "that is this tree's");
        assert!(read_peer("nginx").is_err());
        assert!(read_peer("nginx=/no/such/program").is_err());
    }

    #[test]
    fn versions_in_their_own_words() {
        assert_eq!(first_line("nginx version: nginx/1.22.1\n"), "nginx/1.22.1");
        assert_eq!(
            first_line("\nlighttpd/1.4.69 (ssl) - a light and fast webserver\n"),
            "lighttpd/1.4.69 (ssl)"
        );
        assert_eq!(first_line(""), "unknown");
    }
}
