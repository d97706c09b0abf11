//! Values from the command line, the environment and the defaults become [`Settings`], here and
//! nowhere else.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use super::definitions::{self, Kind, SETTINGS, Setting};
use super::{REPEATS_MAX, Settings, Tls};
use crate::settings::EngineChoice;

/// The source of a value. The last one in this order wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ValueOrigin {
    /// Its definition.
    Default,
    /// A configuration file.
    File,
    /// A variable of the environment.
    Variable,
    /// The command line.
    Flag,
}

/// A setting's values from one source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    /// The name of the setting.
    pub name: &'static str,
    /// The source.
    pub origin: ValueOrigin,
    /// The values, as they were written.
    pub values: Vec<OsString>,
}

/// The settings in force, and the source of each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Merged {
    /// The settings in force.
    pub settings: Settings,
    /// The origins, in the order of the definitions.
    origins: Vec<ValueOrigin>,
}

/// The reason that settings are refused: a sentence that names them as the operator wrote them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    sentence: String,
    /// The names of the settings that it is about, the one at fault first.
    pub(crate) settings: Vec<&'static str>,
}

impl Refused {
    fn new(settings: &[&'static str], sentence: String) -> Refused {
        Refused { sentence, settings: settings.to_vec() }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence)
    }
}

/// Takes each setting's values from the source that ranks highest, or its default.
///
/// # Errors
/// A value that cannot be read.
pub fn merge(given: &[Given]) -> Result<Merged, Refused> {
    let mut merged = Merged { settings: Settings::default(), origins: Vec::with_capacity(SETTINGS.len()) };
    for setting in SETTINGS {
        let all = given.iter().filter(|given| given.name == setting.name);
        let best = all.max_by_key(|given| given.origin);
        let origin = best.map_or(ValueOrigin::Default, |given| given.origin);
        let default = setting.default.map(OsString::from);
        let values = best.map_or_else(|| default.into_iter().collect(), |given| given.values.clone());
        let values = if let (Kind::Files, ValueOrigin::Variable) = (setting.kind, origin) {
            split(&values).ok_or_else(|| {
                let sentence = format!("{} has a comma without a file beside it", setting.variable);
                Refused::new(&[setting.name], sentence)
            })?
        } else {
            values
        };
        for value in values {
            (setting.set)(&mut merged.settings, &value).map_err(|why| {
                let name = written(setting, origin);
                let value = value.to_string_lossy();
                Refused::new(&[setting.name], format!("invalid value '{value}' for '{name}': {why}"))
            })?;
        }
        merged.origins.push(origin);
    }
    Ok(merged)
}

/// Takes lists apart that a variable holds; `None` if one of the names is empty.
fn split(lists: &[OsString]) -> Option<Vec<OsString>> {
    let all: Option<Vec<Vec<OsString>>> = lists.iter().map(|list| split_list(list)).collect();
    all.map(|lists| lists.concat())
}

/// Splits a list at its commas; `None` if one of the names is empty.
pub(crate) fn split_list(list: &OsStr) -> Option<Vec<OsString>> {
    let names = list.as_bytes().split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
    names.map(|name| (!name.is_empty()).then(|| OsString::from_vec(name.to_vec()))).collect()
}

/// Returns a setting's name as the operator writes it in that source.
fn written(setting: &Setting, origin: ValueOrigin) -> String {
    match origin {
        ValueOrigin::Variable => setting.variable.to_owned(),
        ValueOrigin::File if setting.name == "no-http2" => "http2".to_owned(),
        ValueOrigin::File => setting.name.replace('-', "_"),
        ValueOrigin::Default | ValueOrigin::Flag => format!("--{}", setting.name),
    }
}

impl Merged {
    /// Returns the source of a setting.
    #[must_use]
    pub fn origin(&self, name: &str) -> ValueOrigin {
        let place = SETTINGS.iter().position(|setting| setting.name == name);
        place.and_then(|place| self.origins.get(place).copied()).unwrap_or(ValueOrigin::Default)
    }

    /// Returns a setting's name as the operator wrote it.
    fn named(&self, name: &str) -> String {
        definitions::find(name).map_or_else(String::new, |setting| written(setting, self.origin(name)))
    }

    /// Checks the rules between settings, whatever their sources.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn check(&self) -> Result<(), Refused> {
        self.broken_rules().into_iter().next().map_or(Ok(()), Err)
    }

    /// Returns each rule between settings that is broken.
    #[must_use]
    pub fn broken_rules(&self) -> Vec<Refused> {
        let named = |name| self.named(name);
        let settings = &self.settings;
        let (certificates, keys) = (settings.tls_cert.len(), settings.tls_key.len());
        let mut broken = Vec::new();
        if certificates != keys {
            let sentence = format!(
                "each {} needs its {}, in the same order: {certificates} certificate(s) but {keys} key(s) given",
                named("tls-cert"),
                named("tls-key")
            );
            broken.push(Refused::new(&["tls-cert", "tls-key"], sentence));
        }
        let mut off = |name: &'static str| {
            let tls = match self.origin("tls") {
                ValueOrigin::File => "tls = \"off\"".to_owned(),
                _ => format!("{} off", named("tls")),
            };
            let sentence = format!("{tls} cannot be used with {}", named(name));
            broken.push(Refused::new(&[name, "tls"], sentence));
        };
        if settings.tls == Tls::Off && certificates > 0 {
            off("tls-cert");
        }
        if settings.tls == Tls::Off && settings.min_tls.is_some() {
            off("min-tls");
        }
        if settings.spin.is_some() && settings.engine != EngineChoice::Sqpoll {
            let sentence = format!("{} needs --engine sqpoll", named("spin"));
            broken.push(Refused::new(&["spin", "engine"], sentence));
        }
        if settings.poll.is_some() && settings.no_watch {
            let sentence = format!("{} cannot be used with {}", named("poll"), named("no-watch"));
            broken.push(Refused::new(&["poll", "no-watch"], sentence));
        }
        self.acme_rules(&mut broken);
        if certificates > REPEATS_MAX || settings.listen.len() > REPEATS_MAX {
            let sentence = format!(
                "{} and {} can each be repeated {REPEATS_MAX} times",
                named("listen"),
                named("tls-cert")
            );
            broken.push(Refused::new(&["listen", "tls-cert"], sentence));
        }
        broken
    }

    /// Adds the rules about certificates that are ordered.
    fn acme_rules(&self, broken: &mut Vec<Refused>) {
        let named = |name| self.named(name);
        let settings = &self.settings;
        let mut add = |names: &[&'static str], sentence: String| broken.push(Refused::new(names, sentence));
        if settings.domain.is_empty() {
            let is_set = |name: &&&'static str| self.origin(name) > ValueOrigin::File;
            if let Some(name) = OF_DOMAIN.iter().find(is_set) {
                add(&[name, "domain"], format!("{} needs {}", named(name), named("domain")));
            }
            return;
        }
        if settings.tls == Tls::Off {
            add(&["domain", "tls"], format!("{} off cannot be used with {}", named("tls"), named("domain")));
        }
        if !settings.tls_cert.is_empty() {
            let (domain, cert) = (named("domain"), named("tls-cert"));
            add(
                &["tls-cert", "domain"],
                format!("{cert} cannot be used with {domain}, which orders certificates"),
            );
        }
        if settings.acme_staging && settings.acme_directory.is_some() {
            let (staging, directory) = (named("acme-staging"), named("acme-directory"));
            add(&["acme-staging", "acme-directory"], format!("{staging} cannot be used with {directory}"));
        }
        if settings.acme_directory.is_some() && !settings.acme_agree_tos {
            let (directory, agree) = (named("acme-directory"), named("acme-agree-tos"));
            let sentence =
                format!("{directory} needs {agree}, with which you agree to the terms of that authority");
            add(&["acme-directory", "acme-agree-tos"], sentence);
        }
        if settings.acme_eab_kid.is_some() != settings.acme_eab_key_file.is_some() {
            let (kid, file) = (named("acme-eab-kid"), named("acme-eab-key-file"));
            add(&["acme-eab-kid", "acme-eab-key-file"], format!("{kid} and {file} need each other"));
        }
        if let Some(wild) = settings.domain.iter().find(|name| name.starts_with("*."))
            && settings.acme_dns_command.is_none()
        {
            let (domain, command) = (named("domain"), named("acme-dns-command"));
            let sentence = format!("{domain} {wild} needs {command}: wildcards are proved in the DNS only");
            add(&["domain", "acme-dns-command"], sentence);
        }
    }
}

/// Settings that only a site with certificates from an authority has.
const OF_DOMAIN: [&str; 10] = [
    "listen-http",
    "acme-staging",
    "acme-directory",
    "acme-ca",
    "acme-agree-tos",
    "acme-contact",
    "acme-eab-kid",
    "acme-eab-key-file",
    "acme-profile",
    "acme-dns-command",
];
