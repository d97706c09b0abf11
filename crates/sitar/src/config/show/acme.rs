//! `[acme]`, and `acme` of sites.

use sitar_acme::{ChallengeKind, KeyType};

use super::super::acme::KEY_WORDS;
use super::super::{AcmeConfig, AcmeOptions, AuthorityConfig};
use super::{Lines, PathValue, array, duration, origin, path, quoted};
use crate::config::section::Section;
use crate::settings::definitions;
use crate::settings::merge::{Merged, ValueOrigin};

impl Lines {
    /// Adds `[acme]` and, where there are several authorities, a table for each.
    pub(super) fn acme(&mut self, acme: &AcmeConfig, section: &Section, merged: &Merged) {
        let place = section.entries.first().map_or_else(String::new, |_| section.place.to_string());
        self.header("[acme]", if place.is_empty() { super::DEFAULT } else { &place });
        let tables = section.tables("authority");
        let of = |name: &str| origin(section, name);
        if let [authority] = &acme.authorities[..] {
            self.authority(authority, tables.first().unwrap_or(section), section);
        }
        self.options(&acme.options, section);
        if !acme.dns_command.is_empty() {
            self.value("dns_command", &array(&acme.dns_command), &of("dns_command"));
        }
        self.value("dns_wait", &quoted(&duration(acme.dns_wait)), &of("dns_wait"));
        match &acme.state {
            Some(state) => {
                self.path("state", &path(state), &self::state(merged).unwrap_or_else(|| of("state")));
            }
            None => self.unset("state"),
        }
        if acme.authorities.len() > 1 {
            for (number, authority) in acme.authorities.iter().enumerate() {
                self.header("[[acme.authority]]", &authority.place.to_string());
                self.authority(authority, tables.get(number).unwrap_or(section), section);
            }
        }
    }

    /// Adds an authority. What its own table does not say is that of `[acme]`.
    fn authority(&mut self, authority: &AuthorityConfig, own: &Section, acme: &Section) {
        let of = |name: &str| if own.has(name) { origin(own, name) } else { origin(acme, name) };
        self.value("directory", &quoted(&authority.directory), &of("directory"));
        if let Some(ca) = &authority.ca {
            self.path("ca", &path(ca), &of("ca"));
        }
        self.value("agree_tos", &authority.agrees, &of("agree_tos"));
        if !authority.contact.is_empty() {
            self.value("contact", &array(&authority.contact), &of("contact"));
        }
        if let Some(eab) = &authority.eab {
            let PathValue { text, is_exact } = path(&eab.key_file);
            let text = format!("{{ kid = {}, key_file = {text} }}", quoted(&eab.kid));
            self.path("eab", &PathValue { text, is_exact }, &of("eab"));
        }
    }

    fn options(&mut self, options: &AcmeOptions, section: &Section) {
        for (name, value) in pairs(options) {
            self.value(name, &value, &origin(section, name));
        }
    }

    /// Adds what a site says by itself about its certificates.
    pub(super) fn options_of_site(&mut self, options: &AcmeOptions, section: &Section) {
        let pairs: Vec<String> =
            pairs(options).iter().map(|(name, value)| format!("{name} = {value}")).collect();
        if !pairs.is_empty() {
            self.value("acme", &format!("{{ {} }}", pairs.join(", ")), &origin(section, "acme"));
        }
    }
}

/// Returns the flag or the variable that names the folder, if one does.
fn state(merged: &Merged) -> Option<String> {
    let setting = definitions::find("state")?;
    match merged.origin(setting.name) {
        ValueOrigin::Flag => Some(format!("--{}", setting.name)),
        ValueOrigin::Variable => Some(setting.variable.to_owned()),
        ValueOrigin::File | ValueOrigin::Default => None,
    }
}

/// Returns the names and the values of options that are there.
fn pairs(options: &AcmeOptions) -> Vec<(&'static str, String)> {
    let AcmeOptions { profile, preferred_chain, keys, challenges } = options;
    let key = |key: &KeyType| KEY_WORDS.iter().find(|(_, other)| other == key).map_or("", |(word, _)| *word);
    let texts = |all: Vec<&str>| (!all.is_empty()).then(|| array(&all));
    let all = [
        ("profile", profile.as_deref().map(quoted)),
        ("preferred_chain", preferred_chain.as_deref().map(quoted)),
        ("keys", texts(keys.iter().map(key).collect())),
        ("challenges", texts(challenges.iter().copied().map(ChallengeKind::name).collect())),
    ];
    all.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}
