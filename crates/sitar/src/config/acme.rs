//! `[acme]` and `acme` of sites: authorities, and how certificates are ordered.

use std::path::PathBuf;
use std::time::Duration;

use sitar_acme::{ChallengeKind, KeyType};

use super::document::Document;
use super::keys::TERMS;
use super::nearest::nearest;
use super::problems::{Problems, quoted};
use super::section::{Section, Text};
use super::{Certificates, ListenerConfig, ListenerRole, Place, SiteConfig, texts};
use crate::settings::duration;

mod hosts;
mod plan;

/// The directories of Let's Encrypt, by the words for them.
pub(crate) const DIRECTORIES: [(&str, &str); 2] = [
    ("letsencrypt", "https://acme-v02.api.letsencrypt.org/directory"),
    ("letsencrypt-staging", "https://acme-staging-v02.api.letsencrypt.org/directory"),
];
/// The end of the host of Let's Encrypt's directories.
const LETS_ENCRYPT: &str = ".api.letsencrypt.org";
/// The most characters of a contact, of a profile and of a common name.
const TEXT_MAX: usize = 254;

/// `[acme]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcmeConfig {
    /// The authorities in the order in which they are asked; never empty.
    pub authorities: Vec<AuthorityConfig>,
    /// What holds for sites that say nothing else.
    pub options: AcmeOptions,
    /// The program that changes records in the DNS, and its first arguments; empty: there is none.
    pub dns_command: Vec<String>,
    /// The time from its end until the authority is asked to look.
    pub dns_wait: Duration,
    /// The folder of what is known; `None`: the usual one of the user that starts sitar.
    pub state: Option<PathBuf>,
}

/// An authority.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorityConfig {
    /// The place of its table.
    pub place: Place,
    /// The URL of its directory: `https://`.
    pub directory: String,
    /// Certificates that certify its own server; `None`: the system's.
    pub ca: Option<PathBuf>,
    /// The operator agrees to its terms.
    pub agrees: bool,
    /// URLs: `mailto:` and `https:`.
    pub contact: Vec<String>,
    /// The external account binding.
    pub eab: Option<EabConfig>,
}

/// An external account binding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EabConfig {
    /// The identifier of the key.
    pub kid: String,
    /// The file that has the key in base64url.
    pub key_file: PathBuf,
}

/// How certificates are ordered: for a site, what it says by itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AcmeOptions {
    /// The profile.
    pub profile: Option<String>,
    /// The common name of an issuer.
    pub preferred_chain: Option<String>,
    /// The types of keys; empty: nothing is said.
    pub keys: Vec<KeyType>,
    /// The challenges in order of preference; empty: nothing is said.
    pub challenges: Vec<ChallengeKind>,
}

impl AuthorityConfig {
    /// Returns whether it is Let's Encrypt, which certifies public names and addresses only.
    #[must_use]
    pub fn is_lets_encrypt(&self) -> bool {
        texts::target(&self.directory).is_ok_and(|target| target.host.ends_with(LETS_ENCRYPT))
    }
}

/// The words for types of keys.
pub(super) const KEY_WORDS: [(&str, KeyType); 2] = [("p256", KeyType::P256), ("rsa", KeyType::Rsa2048)];

/// Reads `[acme]`, and checks the sites that it is for. `None`: neither is there.
pub(super) fn read(
    document: &Document,
    sites: &[SiteConfig],
    listeners: &[ListenerConfig],
    problems: &mut Problems,
) -> Option<AcmeConfig> {
    let section = &document.acme;
    let is_used = sites.iter().any(|site| matches!(site.certificates, Certificates::Acme(_)));
    if section.entries.is_empty() && !is_used {
        return None;
    }
    let config = AcmeConfig {
        authorities: authorities(section, problems),
        options: options(section, problems),
        dns_command: dns_command(section, problems),
        dns_wait: dns_wait(section, problems),
        state: section.path("state").map(|(path, _)| path.to_owned()),
    };
    if is_used {
        agreement(document, &config, sites, problems);
        if !has_challenge(ChallengeKind::Dns01, &config, listeners) {
            // It may have been refused.
            let is_missing = !section.has("dns_command");
            impossible(ChallengeKind::Dns01, section, &document.sites, is_missing, problems);
        }
        if !has_challenge(ChallengeKind::Http01, &config, listeners) {
            impossible(ChallengeKind::Http01, section, &document.sites, true, problems);
        }
        hosts::check(&config, sites, &document.sites, problems);
    }
    Some(config)
}

/// Reads `acme` of a site.
pub(super) fn of_site(
    section: &Section,
    certificates: &Certificates,
    problems: &mut Problems,
) -> AcmeOptions {
    let Some(table) = section.table("acme") else { return AcmeOptions::default() };
    if !matches!(certificates, Certificates::Acme(_))
        && let Some(entry) = section.entry("acme")
    {
        problems.add_with(
            &entry.place,
            "'acme' is of no use to a site whose certificate is no \"acme\"",
            "take it out, or write: certificate = \"acme\"",
        );
    }
    options(table, problems)
}

/// Reads the keys that `[acme]` and a site have in common.
fn options(section: &Section, problems: &mut Problems) -> AcmeOptions {
    let mut text = |name: &str| {
        let (text, place) = section.text(name)?;
        let is_good = (1..=TEXT_MAX).contains(&text.len()) && !text.chars().any(char::is_control);
        if !is_good {
            let what = format!("invalid value {} for '{name}': expected a name", quoted(text));
            problems.add(place, what);
        }
        Some(text.to_owned())
    };
    let (profile, preferred_chain) = (text("profile"), text("preferred_chain"));
    AcmeOptions {
        profile,
        preferred_chain,
        keys: words("keys", section, &KEY_WORDS, problems),
        challenges: words("challenges", section, &challenge_words(), problems),
    }
}

fn challenge_words() -> [(&'static str, ChallengeKind); 3] {
    [ChallengeKind::TlsAlpn01, ChallengeKind::Http01, ChallengeKind::Dns01].map(|kind| (kind.name(), kind))
}

/// Reads a list of words, each once.
fn words<T: Copy + PartialEq>(
    name: &str,
    section: &Section,
    words: &[(&'static str, T)],
    problems: &mut Problems,
) -> Vec<T> {
    let mut found = Vec::new();
    for Text { place, text } in section.texts(name) {
        match words.iter().find(|(word, _)| word == text) {
            Some((_, value)) if found.contains(value) => {
                problems.add(place, format!("{} is there twice in '{name}'", quoted(text)));
            }
            Some((_, value)) => found.push(*value),
            None => {
                let all: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
                let what =
                    format!("invalid value {} in '{name}': expected one of {}", quoted(text), all.join(", "));
                let near = nearest(&text.replace('-', "_"), all.iter().copied());
                let near = near.or_else(|| all.iter().copied().find(|word| is_like(text, word)));
                problems.push(place, what, near.map(|word| format!("did you mean \"{word}\"?")));
            }
        }
    }
    found
}

/// Returns whether a word was most likely meant: `http` for `http-01`, `ecdsa` for `p256`.
fn is_like(text: &str, word: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    let base = word.trim_end_matches("-01");
    let is_part = lower.trim_end_matches("-01").replace(['-', '_'], "") == base.replace('-', "");
    let others: &[&str] = match word {
        "p256" => &["ecdsa", "ec", "ec256", "p-256", "prime256v1", "secp256r1"],
        "rsa" => &["rsa2048", "rsa4096"],
        "tls-alpn-01" => &["alpn", "tls", "tlsalpn01"],
        _ => &[],
    };
    is_part || others.contains(&&*lower)
}

fn authorities(section: &Section, problems: &mut Problems) -> Vec<AuthorityConfig> {
    let tables = section.tables("authority");
    if tables.is_empty() {
        return of_plain_keys(section, problems);
    }
    for name in ["directory", "ca", "eab"] {
        if let Some(entry) = section.entry(name) {
            let what = format!("'{name}' cannot be used with [[acme.authority]], which has its own");
            problems.add_with(&entry.place, what, "move it below one of these headers");
        }
    }
    let own = |table: &Section, problems: &mut Problems| {
        if !table.has("directory") {
            let hint = "for example: directory = \"https://acme.example.com/directory\"";
            problems.add_with(&table.place, "[[acme.authority]] has no directory", hint);
        }
        let (text, place) = table.text("directory")?;
        let directory = directory(text, place, problems)?;
        let contact = if table.has("contact") { table } else { section };
        Some(AuthorityConfig {
            place: table.place.clone(),
            directory,
            ca: table.path("ca").map(|(path, _)| path.to_owned()),
            agrees: table.switch("agree_tos", section.switch("agree_tos", false)),
            contact: contacts(contact, problems),
            eab: eab(table, problems),
        })
    };
    let all: Vec<AuthorityConfig> = tables.iter().filter_map(|table| own(table, problems)).collect();
    check_twice(&all, problems);
    all
}

/// Reads the authorities that the keys of `[acme]` itself name.
fn of_plain_keys(section: &Section, problems: &mut Problems) -> Vec<AuthorityConfig> {
    let contact = contacts(section, problems);
    let eab = eab(section, problems);
    let one = |directory: String, place: &Place| AuthorityConfig {
        place: place.clone(),
        directory,
        ca: section.path("ca").map(|(path, _)| path.to_owned()),
        agrees: section.switch("agree_tos", false),
        contact: contact.clone(),
        eab: eab.clone(),
    };
    let listed = section.texts("directory");
    if let (Some(entry), 2..) = (section.entry("eab"), listed.len()) {
        let hint = "give each of them a table [[acme.authority]] with directory and eab";
        problems.add_with(
            &entry.place,
            "'eab' is that of one authority, and 'directory' names several",
            hint,
        );
    }
    if listed.is_empty() {
        let default = DIRECTORIES.first().map(|(_, url)| (*url).to_owned()).unwrap_or_default();
        return vec![one(default, &section.place)];
    }
    let all = listed.iter().filter_map(|Text { place, text }| {
        let url = directory(text, place, problems)?;
        Some(one(url, place))
    });
    let all: Vec<AuthorityConfig> = all.collect();
    check_twice(&all, problems);
    all
}

/// Refuses an authority that is there twice: the same directory and the same account.
fn check_twice(all: &[AuthorityConfig], problems: &mut Problems) {
    for (number, one) in all.iter().enumerate() {
        let earlier = all.iter().take(number);
        let same = |other: &&AuthorityConfig| {
            let kid = |authority: &AuthorityConfig| authority.eab.as_ref().map(|eab| eab.kid.clone());
            other.directory == one.directory && kid(other) == kid(one)
        };
        if let Some(other) = earlier.into_iter().find(same) {
            let what = format!("the authority {} is there twice", quoted(&one.directory));
            problems.add_with(&one.place, what, format!("the other one is at {}", other.place));
        }
    }
}

/// Reads the URL of a directory, or a word for it.
fn directory(text: &str, place: &Place, problems: &mut Problems) -> Option<String> {
    if let Some((_, url)) = DIRECTORIES.iter().find(|(word, _)| *word == text) {
        return Some((*url).to_owned());
    }
    match url(text) {
        Ok(url) => Some(url),
        Err(why) => {
            let near = nearest(&text.replace('-', "_"), ["letsencrypt", "letsencrypt_staging"]);
            let hint = match near {
                Some(word) => format!("did you mean \"{}\"?", word.replace('_', "-")),
                None => "for example: directory = \"https://acme.example.com/directory\"".to_owned(),
            };
            problems.add_with(place, format!("invalid value {} for 'directory': {why}", quoted(text)), hint);
            None
        }
    }
}

/// Reads the URL of a directory.
///
/// # Errors
/// The reason that it is none: the end of a sentence.
pub(crate) fn url(text: &str) -> Result<String, &'static str> {
    const WHAT: &str = "expected a URL with https://, or one of letsencrypt, letsencrypt-staging";
    if text.starts_with("http://") {
        return Err("an authority is asked over https:// only");
    }
    match texts::target(text) {
        Ok(target) if target.is_https && !text.contains('#') => Ok(target.url),
        _ => Err(WHAT),
    }
}

fn contacts(section: &Section, problems: &mut Problems) -> Vec<String> {
    let mut all = Vec::new();
    for Text { place, text } in section.texts("contact") {
        match contact(text) {
            Some(url) if all.contains(&url) => {
                problems.add(place, format!("{} is there twice in 'contact'", quoted(text)));
            }
            Some(url) => all.push(url),
            None => {
                let what =
                    format!("invalid value {} for 'contact': expected an address of e-mail", quoted(text));
                problems.add_with(place, what, "for example: contact = \"webmaster@example.com\"");
            }
        }
    }
    all
}

/// Returns the URL of a contact: an address of e-mail, with `mailto:` or without, or an `https:`
/// URL.
pub(crate) fn contact(text: &str) -> Option<String> {
    if text.len() > TEXT_MAX || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return None;
    }
    if text.starts_with("https://") {
        return texts::target(text).is_ok().then(|| text.to_owned());
    }
    let address = text.strip_prefix("mailto:").unwrap_or(text);
    let (user, host) = address.rsplit_once('@')?;
    // RFC 8555 §7.3: one address, and no fields behind it.
    let is_plain = |part: &str| !part.is_empty() && !part.contains(['@', ',', '?', '<', '>', ':', '/', '"']);
    (is_plain(user) && is_plain(host) && host.contains('.') && !host.starts_with('.'))
        .then(|| format!("mailto:{address}"))
}

fn eab(section: &Section, problems: &mut Problems) -> Option<EabConfig> {
    let table = section.table("eab")?;
    for (name, what) in [("kid", "the identifier of its key"), ("key_file", "the file with its key")] {
        if !table.has(name) {
            let hint = "write: eab = { kid = \"kid-1\", key_file = \"/etc/sitar/eab.key\" }";
            problems.add_with(&table.place, format!("'eab' has no {name}, {what}"), hint);
        }
    }
    let (kid, place) = table.text("kid")?;
    if kid.len() > TEXT_MAX || kid.chars().any(char::is_control) {
        problems.add(place, format!("invalid value {} for 'kid': expected a name", quoted(kid)));
    }
    let key_file = table.path("key_file")?.0.to_owned();
    Some(EabConfig { kid: kid.to_owned(), key_file })
}

/// Reads the command. Its program is a path, which is relative to the folder of the file.
fn dns_command(section: &Section, problems: &mut Problems) -> Vec<String> {
    let mut all = Vec::new();
    for (number, Text { place, text }) in section.texts("dns_command").iter().enumerate() {
        if text.contains('\0') || (number == 0 && text.is_empty()) {
            let what = format!("invalid value {} in 'dns_command': expected a program", quoted(text));
            problems.add_with(place, what, "for example: dns_command = \"/usr/local/lib/sitar/nsupdate.sh\"");
            continue;
        }
        if number > 0 {
            all.push(text.clone());
            continue;
        }
        match super::document::folder_of_paths(&place.file).join(text).into_os_string().into_string() {
            Ok(program) => all.push(program),
            Err(_) => problems.add(place, "the path of 'dns_command' is not UTF-8"),
        }
    }
    all
}

fn dns_wait(section: &Section, problems: &mut Problems) -> Duration {
    let Some((text, place)) = section.text("dns_wait") else { return Duration::ZERO };
    duration::parse_wait(text).unwrap_or_else(|why| {
        let what = format!("invalid value {} for 'dns_wait': {why}", quoted(text));
        problems.add_with(place, what, "for example: dns_wait = \"30s\"");
        Duration::ZERO
    })
}

/// Reports that the terms of Let's Encrypt are not agreed to, which it gives no certificate
/// without. Other authorities may have none.
fn agreement(document: &Document, config: &AcmeConfig, sites: &[SiteConfig], problems: &mut Problems) {
    let is_without = |authority: &&AuthorityConfig| authority.is_lets_encrypt() && !authority.agrees;
    let Some(authority) = config.authorities.iter().find(is_without) else { return };
    let first = sites.iter().zip(&document.sites);
    let mut first = first.filter(|(site, _)| matches!(site.certificates, Certificates::Acme(_)));
    let mut certificate = || {
        let (_, section) = first.next()?;
        let entry = section.entry("certificate").or_else(|| document.server.entry("certificate"))?;
        Some(&entry.at)
    };
    let is_there = authority.place.line > 0;
    let place = if is_there { Some(&authority.place) } else { certificate() };
    let place = place.unwrap_or(&authority.place);
    let table = if document.acme.entries.is_empty() { "[acme] and below it " } else { "" };
    let hint = format!("if you agree to them ({TERMS}): {table}agree_tos = true");
    problems.add_with(place, "the terms of Let's Encrypt are not agreed to", hint);
}

/// Returns whether a challenge can be answered at all. A listener with TLS is there where a site
/// has a certificate.
fn has_challenge(kind: ChallengeKind, config: &AcmeConfig, listeners: &[ListenerConfig]) -> bool {
    match kind {
        ChallengeKind::TlsAlpn01 => listeners.iter().any(|listener| listener.role == ListenerRole::Https),
        ChallengeKind::Http01 => listeners.iter().any(|listener| listener.role != ListenerRole::Https),
        ChallengeKind::Dns01 => !config.dns_command.is_empty(),
    }
}

/// Reports each place that lists a challenge which cannot work.
fn impossible(
    kind: ChallengeKind,
    acme: &Section,
    sites: &[Section],
    is_missing: bool,
    problems: &mut Problems,
) {
    let tables = std::iter::once(acme).chain(sites.iter().filter_map(|site| site.table("acme")));
    let listed = tables.flat_map(|table| table.texts("challenges")).filter(|text| text.text == kind.name());
    let (what, hint) = match kind {
        ChallengeKind::Dns01 => (
            "the challenge dns-01 needs a command that changes records in the DNS",
            "in [acme]: dns_command = \"/usr/local/lib/sitar/nsupdate.sh\"",
        ),
        _ => (
            "the challenge http-01 needs a listener with plain HTTP",
            "add one: [[listen]] with address = \":80\" and redirect = \"https\"",
        ),
    };
    for text in listed.filter(|_| is_missing) {
        problems.add_with(&text.place, what, hint);
    }
}
