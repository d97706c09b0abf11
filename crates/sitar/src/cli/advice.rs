//! Advice on what to type instead: words and flags that other servers have, and variables in the
//! place of flags.

use std::any::TypeId;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Command};

use crate::settings::{Listen, values};
use crate::trust::shell_word;

/// The end of a tip that knows no better.
const LISTS: &str = " --help lists what there is";
/// Words that other programs have for `serve`.
const SERVE: &[&str] = &[
    "server",
    "start",
    "run",
    "http",
    "https",
    "dev",
    "up",
    "listen",
    "host",
    "preview",
    "open",
    "static",
    "file-server",
    "http-server",
    "webserver",
];
/// Words that other programs have for `check`, and for `pack`.
const CHECK: &[&str] = &["validate", "test", "lint", "verify"];
const PACK: &[&str] = &["build", "bundle", "compress", "archive"];
/// Words that other programs have for the actions of `config`.
const CONFIG: &[(&[&str], &str)] = &[
    (&["validate", "test", "lint", "verify", "-t"], "to check a configuration: sitar config check FILE"),
    (
        &["new", "create", "write", "generate", "default"],
        "to write a commented configuration: sitar config init FILE",
    ),
    (
        &["print", "dump", "get", "list", "view", "explain"],
        "to print what is in force: sitar config show FILE",
    ),
];
/// Words for actions on a running server, as in `nginx -s reload`.
const STEERED: &str = "signals steer a running sitar: kill -HUP PID reads the site and the certificates again, and kill PID stops it";
const SIGNALS: &[&str] = &["stop", "quit", "restart", "reopen", "kill"];
const RELOAD: &str = "to have it read again: sitar reload, or without a configuration kill -HUP PID";
const FOREGROUND: &str =
    "it stays in the foreground; a service manager such as systemd runs it in the background";

/// Flags of other servers, and what they mean here.
const FLAGS: &[(&[&str], Meaning)] = &[
    (&["-p", "-P", "--port", "--http-port", "--https-port", "--listen-port"], Meaning::Port),
    (
        &[
            "-l",
            "-a",
            "-b",
            "-H",
            "-i",
            "--host",
            "--hostname",
            "--bind",
            "--bind-address",
            "--addr",
            "--address",
            "--ip",
        ],
        Meaning::Address,
    ),
    (
        &[
            "-d",
            "-r",
            "-f",
            "--dir",
            "--directory",
            "--root",
            "--path",
            "--public",
            "--site",
            "--folder",
            "--file",
            "--archive",
            "--tar",
            "--document-root",
            "--doc-root",
            "--docroot",
            "--webroot",
            "--web-root",
            "--www",
        ],
        Meaning::Site,
    ),
    (
        &[
            "-C",
            "--cert",
            "--crt",
            "--certificate",
            "--cert-file",
            "--certfile",
            "--certificate-file",
            "--ssl-cert",
            "--ssl-certificate",
            "--https-cert",
            "--tls-certificate",
            "--chain",
            "--fullchain",
        ],
        Meaning::Other("the certificate is given with --tls-cert FILE, and its key with --tls-key FILE"),
    ),
    (
        &[
            "-k",
            "-K",
            "--key",
            "--key-file",
            "--keyfile",
            "--private-key",
            "--privkey",
            "--ssl-key",
            "--https-key",
            "--ssl-certificate-key",
        ],
        Meaning::Other("the private key is given with --tls-key FILE, beside --tls-cert FILE"),
    ),
    (
        &["--http", "--no-tls", "--no-ssl", "--no-https", "--insecure", "--plain", "--disable-tls"],
        Meaning::Other("plain HTTP is served with --tls off"),
    ),
    (
        &["-w", "-j", "--threads", "--workers", "--worker-threads", "--jobs"],
        Meaning::Other("the number of threads is given with --shards N"),
    ),
    (
        &["--watch", "--reload", "--live", "--livereload"],
        Meaning::Other("changes are watched for unless --no-watch is given"),
    ),
    (
        &["-s", "--spa", "--single", "--fallback", "--index"],
        Meaning::Other("a line in the site's file _redirects does that: /* /index.html 200"),
    ),
    (
        &["--cors"],
        Meaning::Other(
            "lines in the site's file _headers do that: see sitar serve, which serves the handbook",
        ),
    ),
    (
        &["-g", "--gzip", "--brotli", "--compress"],
        Meaning::Other("what is compressed is packed first: sitar pack DIR -o site.tar"),
    ),
    (&["-t", "--test", "--validate"], Meaning::Other("a site is checked with sitar check PATH")),
    (
        &["-S", "--ssl", "--https"],
        Meaning::Other(
            "HTTPS is what is served; with a certificate of your own: --tls-cert FILE --tls-key FILE",
        ),
    ),
    (
        &["--server-name", "--servername"],
        Meaning::Other(
            "with --domain NAME its certificate is ordered; the names are else those in the certificate: \
             --tls-cert FILE --tls-key FILE",
        ),
    ),
    (
        &["--acme", "--email", "--letsencrypt", "--auto-tls", "--autocert"],
        Meaning::Other("with --domain NAME the certificate is ordered from Let's Encrypt"),
    ),
    (&["-o", "--open", "--browser"], Meaning::Other("no browser is opened; sitar serve prints the address")),
    (
        &["--auth", "--basic-auth", "--user", "--username", "--password"],
        Meaning::Other("a site cannot have users yet"),
    ),
    (
        &["--cache", "--no-cache", "--max-age", "--cache-control", "--headers", "--header"],
        Meaning::Other(
            "lines in the site's file _headers do that, such as Cache-Control: sitar serve shows the handbook",
        ),
    ),
    (
        &["--list", "--dirlist", "--dir-listing", "--directory-listing", "--autoindex", "--browse"],
        Meaning::Other("folders are not listed: each needs its index.html"),
    ),
    (
        &["--proxy", "--upstream", "--reverse-proxy", "--proxy-pass"],
        Meaning::Other("requests are not passed on to another server"),
    ),
    (
        &["-q", "--quiet", "--silent", "--log", "--log-file", "--logfile"],
        Meaning::Other(
            "requests are logged only with --access-log FILE; standard error reports changes and faults",
        ),
    ),
    (&["-D", "--daemon", "--daemonize", "--background"], Meaning::Other(FOREGROUND)),
    (&["-m", "--module"], Meaning::Other("to serve this folder: sitar serve .")),
    (
        &["-c", "--conf", "--config-file", "--configuration"],
        Meaning::Other("the configuration file is given with --config FILE"),
    ),
    (
        &["-v", "-V", "--version", "--verbose", "--debug"],
        Meaning::Other("the version is printed by sitar --version, and what runs by sitar serve"),
    ),
];

#[derive(Clone, Copy)]
enum Meaning {
    /// A port to listen on.
    Port,
    /// An address to listen on.
    Address,
    /// The site.
    Site,
    /// This, whatever the value is.
    Other(&'static str),
}

/// Says in an error of clap's what to type instead, and names the variable that a wrong value came
/// from.
pub(super) fn improve(mut error: clap::Error, arguments: &[OsString], command: &Command) -> clap::Error {
    let verb = arguments.iter().skip(1).find_map(|word| command.find_subcommand(word));
    if let Some(verb) = verb {
        name_variables(&mut error, arguments, verb);
    }
    let word = |kind| match error.get(kind) {
        Some(ContextValue::String(word)) => Some(word.clone()),
        _ => None,
    };
    let tip = match error.kind() {
        ErrorKind::InvalidSubcommand => {
            word(ContextKind::InvalidSubcommand).and_then(|word| instead_of_verb(&word, arguments, command))
        }
        ErrorKind::UnknownArgument => {
            // Nearly a flag: clap says which, unless the word is known to mean another.
            let is_near = error.get(ContextKind::SuggestedArg).is_some();
            word(ContextKind::InvalidArg)
                .and_then(|word| instead_of_argument(&word, arguments, command, verb))
                .filter(|tip| !(is_near && tip.ends_with(LISTS)))
        }
        ErrorKind::InvalidUtf8 => verb.and_then(not_utf8),
        _ => None,
    };
    if let Some(tip) = tip {
        // In the place of what clap would guess from letters.
        error.remove(ContextKind::SuggestedArg);
        error.remove(ContextKind::SuggestedSubcommand);
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![StyledStr::from(tip)]));
    }
    error
}

/// A word that is no verb.
fn instead_of_verb(word: &str, arguments: &[OsString], command: &Command) -> Option<String> {
    let is_path = word.contains(['/', '.']) || Path::new(word).exists();
    if arguments.get(1).is_some_and(|verb| verb == "config") {
        let known = CONFIG.iter().find(|(words, _)| words.contains(&word)).map(|(_, tip)| (*tip).to_owned());
        let check = || format!("to check it: sitar config check {}", shell_word(Path::new(word)));
        return known.or_else(|| is_path.then(check));
    }
    let lower = word.to_ascii_lowercase();
    Some(match word {
        "help" => match arguments.get(2).and_then(|verb| command.find_subcommand(verb)) {
            Some(verb) => format!("sitar {} --help", verb.get_name()),
            None => "sitar --help".to_owned(),
        },
        "version" => "sitar --version".to_owned(),
        _ if word != lower && command.find_subcommand(&lower).is_some() => {
            format!("verbs are in lower case: sitar {lower}")
        }
        // Python's.
        "http.server" => "to serve this folder: sitar serve .".to_owned(),
        _ if is_port(word) => format!("to listen on this port: sitar serve PATH --listen {word}"),
        _ if is_path => format!("to serve it: sitar serve {}", shell_word(Path::new(word))),
        _ if SERVE.contains(&word) => "to serve a folder or an archive: sitar serve PATH".to_owned(),
        _ if CHECK.contains(&word) => "to look for what is wrong with a site: sitar check PATH".to_owned(),
        _ if PACK.contains(&word) => "to make an archive of a folder: sitar pack DIR -o site.tar".to_owned(),
        _ if SIGNALS.contains(&word) => STEERED.to_owned(),
        // Nearly a verb: clap says which.
        _ => return None,
    })
}

/// A flag that is unknown where it stands, or one value too many.
fn instead_of_argument(
    word: &str,
    arguments: &[OsString],
    command: &Command,
    verb: Option<&Command>,
) -> Option<String> {
    let is_flag_of = |command: &Command| command.get_arguments().any(|argument| is_flag(argument, word));
    match verb.map(Command::get_name) {
        None if command.find_subcommand("serve").is_some_and(is_flag_of) => {
            let words: Vec<String> =
                arguments.iter().skip(1).map(|word| shell_word(Path::new(word))).collect();
            Some(format!("flags stand behind the verb: sitar serve {}", words.join(" ")))
        }
        None | Some("serve") if word.starts_with('-') => {
            let value = value(arguments, word);
            let meaning = match (word, value.as_deref()) {
                // As nginx has them.
                ("-s", Some(signal)) if SIGNALS.contains(&signal) => Some(Meaning::Other(STEERED)),
                ("-g", Some(line)) if line.starts_with("daemon") => Some(Meaning::Other(FOREGROUND)),
                _ => FLAGS.iter().find(|(flags, _)| flags.contains(&word)).map(|(_, meaning)| *meaning),
            };
            Some(
                meaning
                    .map_or_else(|| format!("sitar serve{LISTS}"), |meaning| meaning.tip(value.as_deref())),
            )
        }
        // As nginx has it.
        Some("reload") if word == "-s" => Some(RELOAD.to_owned()),
        Some("serve") if is_port(word) => Some(Meaning::Port.tip(Some(word))),
        Some("serve") => Some("one site is served: sitar serve PATH".to_owned()),
        Some("pack") => Some(if word.starts_with('-') {
            format!("sitar pack{LISTS}")
        } else {
            format!(
                "the archive to write is given with -o: sitar pack DIR -o {}",
                shell_word(Path::new(word))
            )
        }),
        Some(verb) if word.starts_with('-') => Some(format!("sitar {verb}{LISTS}")),
        _ => None,
    }
}

impl Meaning {
    fn tip(self, value: Option<&str>) -> String {
        let word =
            |default: &str| value.map_or_else(|| default.to_owned(), |value| shell_word(Path::new(value)));
        match self {
            Meaning::Port => {
                let port = value.filter(|value| is_port(value)).unwrap_or("PORT");
                format!("the port is given with --listen: sitar serve PATH --listen {port}")
            }
            // Some take a port there, too.
            Meaning::Address if value.is_some_and(is_port) => Meaning::Port.tip(value),
            Meaning::Address => {
                let address = value.and_then(address);
                let address = address
                    .map_or_else(|| "ADDRESS:PORT".to_owned(), |address| shell_word(Path::new(&address)));
                format!("the address is given with --listen: sitar serve PATH --listen {address}")
            }
            Meaning::Site => format!("the site stands without a flag: sitar serve {}", word("PATH")),
            Meaning::Other(tip) => tip.to_owned(),
        }
    }
}

/// Returns the value given with a flag: behind it, behind a `=`, or at its letter.
fn value(arguments: &[OsString], flag: &str) -> Option<String> {
    let mut words = arguments.iter().map(|word| word.to_string_lossy());
    while let Some(word) = words.next() {
        let Some(rest) = word.strip_prefix(flag) else { continue };
        let value = match rest.strip_prefix('=') {
            Some(value) => value.to_owned(),
            None if rest.is_empty() => words.next().filter(|next| !next.starts_with('-'))?.into_owned(),
            None if flag.len() == 2 => rest.to_owned(),
            None => continue,
        };
        return Some(value).filter(|value| !value.is_empty());
    }
    None
}

/// Returns an address that `--listen` takes, made of one that another server takes.
fn address(value: &str) -> Option<String> {
    let value = value.split_once("://").map_or(value, |(_, rest)| rest.trim_end_matches('/'));
    let forms = [value.to_owned(), format!("{value}:8443"), format!("[{value}]:8443")];
    forms.into_iter().find(|form| form.parse::<Listen>().is_ok())
}

/// Returns what may have been meant by a PATH that does not exist.
pub(crate) fn instead_of_site(path: &Path) -> Option<String> {
    match path.to_str()? {
        "help" => Some("for help: sitar serve --help".to_owned()),
        "-" => Some("a site is not read from standard input; it is a file or a folder".to_owned()),
        word if is_port(word) => Some(format!("to listen on this port: sitar serve PATH --listen {word}")),
        word if word.contains("://") => Some("it is a path on this machine, and no URL".to_owned()),
        _ => None,
    }
}

fn is_port(word: &str) -> bool {
    values::port(word.strip_prefix(':').unwrap_or(word)).is_some()
}

fn is_flag(argument: &Arg, word: &str) -> bool {
    let long = word.strip_prefix("--").map(|word| word.split('=').next().unwrap_or(word));
    argument.get_long().is_some_and(|name| long == Some(name))
        || argument
            .get_short()
            .is_some_and(|name| word.strip_prefix('-').is_some_and(|rest| rest.starts_with(name)))
}

/// Returns which variable is not UTF-8. Those that hold paths need not be.
fn not_utf8(verb: &Command) -> Option<String> {
    let is_path = |argument: &&Arg| argument.get_value_parser().type_id() == TypeId::of::<PathBuf>();
    let variables = verb.get_arguments().filter(|argument| !is_path(argument)).filter_map(Arg::get_env);
    let is_wrong = |name: &&OsStr| std::env::var_os(name).is_some_and(|value| value.to_str().is_none());
    let name = variables.into_iter().find(is_wrong)?.to_string_lossy();
    Some(format!("the variable {name} is not UTF-8; see what it holds: printenv {name} | od -c"))
}

/// Puts the name of a variable in the place of its flag's where the value came from there.
fn name_variables(error: &mut clap::Error, arguments: &[OsString], verb: &Command) {
    let source = |shown: &str| {
        let flag = shown.split([' ', '=']).next()?;
        let argument = verb.get_arguments().find(|argument| is_flag(argument, flag))?;
        let variable = argument.get_env()?;
        let is_given = arguments.iter().any(|word| word.to_str().is_some_and(|word| is_flag(argument, word)));
        let is_set = !is_given && std::env::var_os(variable).is_some();
        is_set.then(|| variable.to_string_lossy().into_owned())
    };
    for kind in [ContextKind::InvalidArg, ContextKind::PriorArg] {
        if let Some(ContextValue::String(shown)) = error.get(kind)
            && let Some(variable) = source(shown)
        {
            error.insert(kind, ContextValue::String(variable.clone()));
            let tip = format!(
                "{variable} is a variable of the environment; see what it holds: printenv {variable}"
            );
            error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![StyledStr::from(tip)]));
        }
    }
}

/// Returns whether a string is one that the operator may have meant: one or two letters differ, or
/// a part is missing.
pub(super) fn is_like(a: &OsStr, b: &OsStr) -> bool {
    let (a, b) = (a.as_encoded_bytes(), b.as_encoded_bytes());
    distance(a, b) <= 2
        || (b.starts_with(a) && a.len() * 2 > b.len())
        || (a.starts_with(b) && b.len() * 2 > a.len())
}

/// Letters to change, put in or take out to make one of the other (Levenshtein).
pub(crate) fn distance(a: &[u8], b: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.iter().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (j, to) in b.iter().enumerate() {
            let Some(above) = row.get(j + 1).copied() else { break };
            let here = (diagonal + usize::from(from != to)).min(above + 1).min(left + 1);
            diagonal = above;
            if let Some(place) = row.get_mut(j) {
                *place = left;
            }
            left = here;
        }
        if let Some(place) = row.last_mut() {
            *place = left;
        }
    }
    row.last().copied().unwrap_or(a.len())
}

#[cfg(test)]
mod tests;
