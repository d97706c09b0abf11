//! The environment: variables that are empty, and those that nothing reads.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use clap::Command;

use super::advice;
use crate::packer::PACKER_OF;
use crate::supervisor::UPGRADE_OF;
use crate::worker::WORKER_OF;

/// Variables that another program has, by a name like ours, and what they are called here.
const OTHERS: &[(&[&str], &str)] = &[
    (&["SITAR_PORT"], "SITAR_LISTEN, which takes a port alone,"),
    (
        &["SITAR_HOST", "SITAR_BIND", "SITAR_ADDR", "SITAR_ADDRESS"],
        "SITAR_LISTEN, which takes an address with its port,",
    ),
    (&["SITAR_CERT", "SITAR_CERTIFICATE", "SITAR_SSL_CERT"], "SITAR_TLS_CERT"),
    (&["SITAR_KEY", "SITAR_PRIVATE_KEY", "SITAR_SSL_KEY"], "SITAR_TLS_KEY"),
    (&["SITAR_PATH", "SITAR_ROOT", "SITAR_SITE", "SITAR_DIR"], "the argument of sitar serve PATH"),
    (&["SITAR_HTTP2"], "SITAR_NO_HTTP2"),
    (&["SITAR_WATCH"], "SITAR_NO_WATCH"),
    (&["SITAR_WORKERS"], "SITAR_SHARDS"),
];

/// Returns the command with each variable that is empty or blank as if it were not set: that is how
/// unit files and Compose files take one back.
pub(super) fn without_empty(command: Command) -> Command {
    command.mut_subcommands(|verb| {
        without_empty(verb).mut_args(|argument| {
            let is_empty = argument.get_env().is_some_and(|name| {
                std::env::var_os(name).is_some_and(|value| value.as_bytes().trim_ascii().is_empty())
            });
            if is_empty { argument.env(None::<&'static str>) } else { argument }
        })
    })
}

/// Returns a sentence for each variable whose name begins with `SITAR_` and that nothing reads.
pub(super) fn unread(
    variables: impl Iterator<Item = (OsString, OsString)>,
    command: &Command,
) -> Vec<String> {
    let known: Vec<&OsStr> =
        command.get_subcommands().flat_map(Command::get_arguments).filter_map(clap::Arg::get_env).collect();
    let mut sentences: Vec<String> = variables
        .filter(|(name, value)| {
            name.as_bytes().starts_with(b"SITAR_")
                && !known.contains(&&**name)
                && !is_link(name, value)
                && name != UPGRADE_OF
                && name != WORKER_OF
                && name != PACKER_OF
        })
        .map(|(name, _)| {
            let name = name.to_string_lossy();
            let other = OTHERS
                .iter()
                .find(|(names, _)| names.contains(&&*name))
                .map(|(_, other)| (*other).to_owned());
            let like = || {
                let like = known.iter().find(|known| advice::is_like(OsStr::new(&*name), known));
                like.map(|known| known.to_string_lossy().into_owned())
            };
            match other.or_else(like) {
                Some(other) => {
                    format!("the variable {name} means nothing to sitar; perhaps {other} was meant")
                }
                None => {
                    format!(
                        "the variable {name} means nothing to sitar; sitar serve --help lists those that do"
                    )
                }
            }
        })
        .collect();
    sentences.sort();
    sentences
}

/// Returns whether Kubernetes or Docker set it, for a service that is called sitar: they do for
/// every service.
fn is_link(name: &OsStr, value: &OsStr) -> bool {
    let name = name.as_bytes();
    let is_url = value.as_bytes().windows(3).any(|three| three == b"://");
    name.starts_with(b"SITAR_SERVICE_")
        || (name == b"SITAR_PORT" && is_url)
        || name.strip_prefix(b"SITAR_PORT_").and_then(|rest| rest.first()).is_some_and(u8::is_ascii_digit)
}
