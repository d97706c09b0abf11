//! `sitar cert`: what a running server knows of the certificates that it orders, and what it is to
//! do about them.

mod check;
#[doc(hidden)]
pub mod properties;
mod text;

use std::process::ExitCode;

use crate::admin::{self, Ordered, Request, other_version, read_done, read_ordered};
use crate::cli::{CertAction, Server};
use crate::error::Error;
use crate::output;

/// Does what `sitar cert` was asked for.
///
/// # Errors
/// No server answers, it knows no such certificate, or it refuses.
pub fn run(action: &CertAction) -> Result<ExitCode, Error> {
    match action {
        CertAction::Check { name, authority, resolver } => {
            return check::run(name, authority, resolver.as_deref());
        }
        CertAction::List { json, server } => {
            let (document, all) = ask(server)?;
            let text = if *json { format!("{document:#}\n") } else { text::list(&all) };
            output::print(&text)?;
        }
        CertAction::Show { name, server } => {
            let (_, all) = ask(server)?;
            let chosen = match name {
                Some(name) => chosen(&all, name)?,
                None => all.iter().collect(),
            };
            output::print(&text::show(&chosen))?;
        }
        CertAction::Renew { name, server } => {
            each(server, name, |name| Request::Renew { name }, "is ordered as soon as limits allow")?;
        }
        CertAction::Revoke { name, reason, server } => {
            let reason = reason.code();
            let request = |name| Request::Revoke { name, reason };
            each(server, name, request, "is to be revoked, and another one to be ordered in its place")?;
        }
        CertAction::RollOver { server } => {
            tell(server, &Request::RollOver)?;
            output::print(
                "the keys of the accounts are to be replaced; the server's log says whether they are\n",
            )?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Returns the document of a server's certificates, and what it says.
fn ask(server: &Server) -> Result<(serde_json::Value, Vec<Ordered>), Error> {
    let path = admin::socket(server.socket.as_deref(), server.config.as_deref())?;
    let document = admin::ask(&path, &Request::Certificates)?;
    let all = read_ordered(&document).ok_or_else(|| other_version(&path, &document))?;
    Ok((document, all))
}

/// Has the server do something that it only begins before it answers.
fn tell(server: &Server, request: &Request) -> Result<(), Error> {
    let path = admin::socket(server.socket.as_deref(), server.config.as_deref())?;
    let answer = admin::ask(&path, request)?;
    read_done(&answer).unwrap_or_else(|| Err(other_version(&path, &answer)))
}

/// Has the server do something with each certificate of a name.
fn each(server: &Server, name: &str, request: impl Fn(String) -> Request, done: &str) -> Result<(), Error> {
    let (_, all) = ask(server)?;
    for one in chosen(&all, name)? {
        let name = &one.progress.name;
        tell(server, &request(name.clone()))?;
        let name = sitar_site::Printable(name);
        output::print(&format!("{name} {done}; see what comes of it: sitar cert show {name}\n"))?;
    }
    Ok(())
}

/// Returns the certificates of that name; else those with that name in them.
fn chosen<'o>(all: &'o [Ordered], name: &str) -> Result<Vec<&'o Ordered>, Error> {
    let lower = name.to_ascii_lowercase();
    let by_name: Vec<&Ordered> = all.iter().filter(|one| one.progress.name == lower).collect();
    let chosen = match by_name.is_empty() {
        false => by_name,
        true => all.iter().filter(|one| one.names.contains(&lower)).collect(),
    };
    if !chosen.is_empty() {
        return Ok(chosen);
    }
    let error = Error::new(format!("the server orders no certificate for {name}"));
    Err(match all.is_empty() {
        true => error.hint("a site has one with: certificate = \"acme\", or sitar serve PATH --domain NAME"),
        false => error.hint("see which ones it orders: sitar cert list"),
    })
}

#[cfg(test)]
mod tests {
    use sitar_acme::{Progress, Stage};

    use super::*;

    pub(super) fn ordered(name: &str, names: &[&str]) -> Ordered {
        Ordered {
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            is_served: true,
            progress: Progress {
                name: name.to_owned(),
                stage: Stage::Resting,
                serial: None,
                validity: None,
                authority: None,
                next: None,
                failed: None,
                hint: None,
                failures: 0,
            },
        }
    }

    #[test]
    fn a_certificate_is_found_by_its_name_and_by_those_in_it() {
        let all = [
            ordered("a.example", &["a.example", "www.a.example"]),
            ordered("a.example_rsa", &["a.example", "www.a.example"]),
            ordered("_.b.example", &["*.b.example"]),
        ];
        let names = |name: &str| {
            let chosen =
                chosen(&all, name).map(|all| all.iter().map(|one| &*one.progress.name).collect::<Vec<_>>());
            chosen.map_err(|error| error.to_string())
        };
        assert_eq!(names("A.example"), Ok(vec!["a.example"]));
        assert_eq!(names("a.example_rsa"), Ok(vec!["a.example_rsa"]));
        assert_eq!(names("www.a.example"), Ok(vec!["a.example", "a.example_rsa"]));
        assert_eq!(names("*.b.example"), Ok(vec!["_.b.example"]));
        assert_eq!(
            names("c.example"),
            Err("error: the server orders no certificate for c.example\n  hint: see which ones it orders: sitar \
                 cert list"
                .to_owned())
        );
        assert!(chosen(&[], "a").unwrap_err().to_string().contains("--domain NAME"));
    }
}
