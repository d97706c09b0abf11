//! `sitar serve PATH --domain NAME`: flags that say what a configuration file would.
//!
//! The text of that file is made of them, and read as any other. Behind each line stands the flag
//! that it comes from, which messages name in the place of a line that the operator has not
//! written.

use std::fmt::{Display, Write as _};
use std::path::{Path, PathBuf};

use super::{Listen, Settings};
use crate::config::Target;
use crate::config::acme::DIRECTORIES;
use crate::config::quoted;

/// The ports of HTTPS and HTTP, where nothing else is said.
const PORTS: (u16, u16) = (443, 80);

/// Returns the text of the file.
///
/// # Errors
/// There is no PATH, or a path is not UTF-8: a sentence.
pub(super) fn file(settings: &Settings, path: Option<&Path>) -> Result<String, String> {
    let path = path.ok_or("--domain needs PATH, the archive or the folder that is served there")?;
    let mut file = File { text: String::new() };
    file.line("[server]", "PATH");
    file.value("strict", &true, "PATH");
    file.acme(settings)?;
    let https =
        if settings.listen.is_empty() { vec![Listen::Port(PORTS.0)] } else { settings.listen.clone() };
    file.listener(&https, "--listen");
    let http = match &settings.listen_http[..] {
        [] if settings.listen.is_empty() => vec![Listen::Port(PORTS.1)],
        said => said.to_vec(),
    };
    if !http.is_empty() {
        file.listener(&http, "--listen-http");
        file.value("redirect", &"\"https\"", "--listen-http");
    }
    file.site(settings, path)?;
    file.log(settings)?;
    Ok(file.text)
}

struct File {
    text: String,
}

impl File {
    fn line(&mut self, text: &str, flag: &str) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.text, "{text} # {flag}");
    }

    fn value(&mut self, name: &str, value: &dyn Display, flag: &str) {
        self.line(&format!("{name} = {value}"), flag);
    }

    fn text(&mut self, name: &str, value: Option<&str>, flag: &str) {
        if let Some(value) = value {
            self.value(name, &quoted(value), flag);
        }
    }

    fn texts<'t>(&mut self, name: &str, values: impl Iterator<Item = &'t str>, flag: &str) {
        let values: Vec<String> = values.map(quoted).collect();
        if !values.is_empty() {
            self.value(name, &format!("[{}]", values.join(", ")), flag);
        }
    }

    fn path(&mut self, name: &str, path: Option<&Path>, flag: &str) -> Result<(), String> {
        let Some(path) = path else { return Ok(()) };
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let text = path.to_str().ok_or_else(|| format!("{flag} is not UTF-8, which --domain needs"))?;
        self.text(name, Some(text), flag);
        Ok(())
    }

    fn switch(&mut self, name: &str, is_on: bool, value: bool, flag: &str) {
        if is_on {
            self.value(name, &value, flag);
        }
    }

    fn acme(&mut self, settings: &Settings) -> Result<(), String> {
        self.line("[acme]", "--domain");
        // To the terms of another authority by its own flag, which a rule asks for.
        self.value("agree_tos", &true, "--domain");
        let [_, (_, staging)] = DIRECTORIES;
        let directory = settings.acme_directory.as_deref();
        let (directory, flag) = match settings.acme_staging {
            true => (Some(staging), "--acme-staging"),
            false => (directory, "--acme-directory"),
        };
        self.text("directory", directory, flag);
        self.path("ca", settings.acme_ca.as_deref(), "--acme-ca")?;
        self.texts("contact", settings.acme_contact.iter().map(String::as_str), "--acme-contact");
        if let (Some(kid), Some(file)) = (&settings.acme_eab_kid, &settings.acme_eab_key_file) {
            self.text("eab.kid", Some(kid), "--acme-eab-kid");
            self.path("eab.key_file", Some(file), "--acme-eab-key-file")?;
        }
        self.text("profile", settings.acme_profile.as_deref(), "--acme-profile");
        self.path("dns_command", settings.acme_dns_command.as_deref(), "--acme-dns-command")
    }

    fn listener(&mut self, addresses: &[Listen], flag: &str) {
        self.line("[[listen]]", flag);
        let texts: Vec<String> = addresses.iter().map(|listen| crate::config::address(*listen)).collect();
        self.texts("address", texts.iter().map(String::as_str), flag);
    }

    fn site(&mut self, settings: &Settings, path: &Path) -> Result<(), String> {
        self.line("[[site]]", "PATH");
        self.texts("hosts", settings.domain.iter().map(String::as_str), "--domain");
        self.value("certificate", &"\"acme\"", "--domain");
        self.path("root", Some(path), "PATH")?;
        self.text("prefix", settings.prefix.as_deref(), "--prefix");
        self.switch("follow_links", settings.follow_links, true, "--follow-links");
        self.switch("serve_config_files", settings.serve_config_files, true, "--serve-config-files");
        self.switch("listing", settings.listing, true, "--listing");
        self.switch("watch", settings.no_watch, false, "--no-watch");
        let poll = settings.poll.map(|every| format!("{}us", every.as_micros()));
        self.text("poll", poll.as_deref(), "--poll");
        Ok(())
    }

    fn log(&mut self, settings: &Settings) -> Result<(), String> {
        self.line("[log]", "--access-log");
        match &settings.access_log {
            None | Some(Target::Off) => {}
            Some(Target::Stdout) => self.text("access", Some("stdout"), "--access-log"),
            Some(Target::Journal) => self.text("access", Some("journal"), "--access-log"),
            Some(Target::File(file)) => self.path("access", Some(file), "--access-log")?,
        }
        self.text("format", super::values::word_of(settings.log_format), "--log-format");
        self.text("events", super::values::word_of(settings.log_events), "--log-events");
        Ok(())
    }
}

/// Reads a domain: a name that an authority may certify, or an address.
///
/// # Errors
/// The reason that it is none, and what to type.
pub(super) fn domain(text: &str) -> Result<String, String> {
    let host = crate::config::host(text)?;
    match sitar_acme::Identifier::parse(&host) {
        Ok(_) if host == "localhost" || host.ends_with(".localhost") => {
            Err("no authority certifies names of this machine; sitar serves localhost without --domain"
                .to_owned())
        }
        Ok(_) => Ok(host),
        Err(error) => Err(error.to_string()),
    }
}

/// Returns an absolute path.
pub(super) fn absolute(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() || text.contains('\0') {
        return Err("a path is not empty and has no NUL".to_owned());
    }
    std::path::absolute(text).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(domain: &[&str]) -> Settings {
        let domain = domain.iter().map(|name| domain_of(name)).collect();
        Settings { domain, ..Settings::default() }
    }

    fn domain_of(text: &str) -> String {
        domain(text).unwrap()
    }

    #[test]
    fn two_words_are_a_whole_configuration() {
        assert_eq!(
            file(&settings(&["example.com", "www.example.com"]), Some(Path::new("/srv/site.tar"))).unwrap(),
            "[server] # PATH\n\
             strict = true # PATH\n\
             [acme] # --domain\n\
             agree_tos = true # --domain\n\
             [[listen]] # --listen\n\
             address = [\":443\"] # --listen\n\
             [[listen]] # --listen-http\n\
             address = [\":80\"] # --listen-http\n\
             redirect = \"https\" # --listen-http\n\
             [[site]] # PATH\n\
             hosts = [\"example.com\", \"www.example.com\"] # --domain\n\
             certificate = \"acme\" # --domain\n\
             root = \"/srv/site.tar\" # PATH\n\
             [log] # --access-log\n\
             format = \"json\" # --log-format\n\
             events = \"text\" # --log-events\n"
        );
        let why = file(&settings(&["example.com"]), None).unwrap_err();
        assert_eq!(why, "--domain needs PATH, the archive or the folder that is served there");
    }

    #[test]
    fn each_flag_has_its_line() {
        let all = Settings {
            listen: vec![Listen::Port(8443)],
            listen_http: vec![Listen::Localhost(8080)],
            acme_directory: Some("https://ca.example/d".to_owned()),
            acme_ca: Some("/ca.pem".into()),
            acme_contact: vec!["mailto:a@example.com".to_owned()],
            acme_eab_kid: Some("kid".to_owned()),
            acme_eab_key_file: Some("/eab".into()),
            acme_profile: Some("short # lived".to_owned()),
            acme_dns_command: Some("/dns.sh".into()),
            prefix: Some("html".to_owned()),
            follow_links: true,
            serve_config_files: true,
            listing: true,
            poll: Some(std::time::Duration::from_secs(2)),
            access_log: Some(Target::File("/log".into())),
            ..settings(&["203.0.113.5", "*.example.com"])
        };
        let text = file(&all, Some(Path::new("/x"))).unwrap();
        for line in [
            "directory = \"https://ca.example/d\" # --acme-directory",
            "ca = \"/ca.pem\" # --acme-ca",
            "contact = [\"mailto:a@example.com\"] # --acme-contact",
            "eab.kid = \"kid\" # --acme-eab-kid",
            "eab.key_file = \"/eab\" # --acme-eab-key-file",
            "profile = \"short # lived\" # --acme-profile",
            "dns_command = \"/dns.sh\" # --acme-dns-command",
            "address = [\":8443\"] # --listen",
            "address = [\"localhost:8080\"] # --listen-http",
            "hosts = [\"203.0.113.5\", \"*.example.com\"] # --domain",
            "prefix = \"html\" # --prefix",
            "follow_links = true # --follow-links",
            "serve_config_files = true # --serve-config-files",
            "listing = true # --listing",
            "poll = \"2000000us\" # --poll",
            "access = \"/log\" # --access-log",
        ] {
            assert!(text.lines().any(|own| own == line), "{line}\n{text}");
        }
        // Who says where to listen has no port 80 by itself.
        let own = Settings { listen: vec![Listen::Port(8443)], ..settings(&["example.com"]) };
        assert!(!file(&own, Some(Path::new("/x"))).unwrap().contains("--listen-http"));
    }

    #[test]
    fn domains_as_they_are_typed() {
        assert_eq!(domain("Example.COM").as_deref(), Ok("example.com"));
        assert_eq!(domain("[2001:db8::1]").as_deref(), Ok("2001:db8::1"));
        for (text, why) in [
            ("https://example.com/x", "a host has no scheme; did you mean example.com?"),
            (
                "example.com:443",
                "a host has no port; the port stands in [[listen]]; did you mean example.com?",
            ),
            ("example.com.", "a host has no dot at its end; did you mean example.com?"),
            (
                "b\u{fc}cher.example",
                "other letters than those of ASCII are written as A-labels (xn--); did you mean \
                 xn--bcher-kva.example?",
            ),
            ("localhost", "a name that an authority certifies has two labels or more"),
            (
                "a.localhost",
                "no authority certifies names of this machine; sitar serves localhost without --domain",
            ),
            ("a_b.example", "a name has labels of letters, digits and hyphens"),
        ] {
            assert_eq!(domain(text), Err(why.to_owned()), "{text}");
        }
    }
}
