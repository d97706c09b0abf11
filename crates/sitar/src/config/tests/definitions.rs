//! The definitions of keys against those of flags.

use super::keys::{ACME, AUTHORITY, EAB, OPTIONS};
use super::keys::{ADMIN, CERTIFICATE, FILE, Form, LISTEN, LOG, PAGES, SAMPLE, SERVER, SITE};
use super::*;
use crate::settings::definitions::{SETTINGS, find};
use crate::settings::flags::IN_FILE;
use crate::settings::merge::{ValueOrigin, merge};

#[test]
fn each_flag_has_its_key() {
    for setting in SETTINGS {
        let name = setting.name;
        let mut keys = SERVER.keys.iter().chain(ACME.keys);
        let key = keys.find(|key| key.setting == Some(name));
        let other = IN_FILE.iter().find(|(other, _)| *other == name);
        assert!(key.is_some() != other.is_some(), "{name}");
        if let Some(key) = key {
            let expected = name.trim_start_matches("no-").replace('-', "_");
            assert_eq!(key.name, expected);
        }
        if let Some((_, text)) = other {
            let (key, table) = text.split_once("' of ").unwrap();
            let tables = [&SERVER, &LISTEN, &SITE, &LOG, &ACME];
            for table in table.split(" or ") {
                let table = tables.iter().find(|other| other.name == table).unwrap();
                assert!(table.key(key.trim_start_matches('\'')).is_some(), "{text}");
            }
        }
    }
    assert_eq!(
        IN_FILE.len() + SERVER.keys.iter().chain(ACME.keys).filter(|key| key.setting.is_some()).count(),
        SETTINGS.len()
    );
}

#[test]
fn each_default_of_a_key_is_that_of_its_flag() {
    let defaults = merge(&[]).unwrap().settings;
    for key in SERVER.keys {
        let (Some(setting), Some(default)) = (key.setting.and_then(find), key.default) else { continue };
        let text = match (default, setting.name) {
            ("true", "no-http2") => "false",
            _ => default.trim_matches('"'),
        };
        let given = Given { name: setting.name, origin: ValueOrigin::File, values: vec![text.into()] };
        let mut merged = merge(&[given]).unwrap().settings;
        if setting.name == "min-tls" {
            assert_eq!(merged.min_tls.take(), Some(Default::default()));
        }
        assert_eq!(merged, defaults, "{}", key.name);
    }
}

#[test]
fn bounds_of_numbers_are_those_of_the_flags() {
    for key in SERVER.keys {
        let (Some(setting), Form::Number(least, most)) = (key.setting.and_then(find), key.form) else {
            continue;
        };
        let reads =
            |number: i128| (setting.set)(&mut Settings::default(), number.to_string().as_ref()).is_ok();
        let (least, most) = (i128::from(least), i128::from(most));
        assert!(reads(least) && reads(most), "{}", key.name);
        assert!(!reads(least - 1) && !reads(most + 1), "{}", key.name);
    }
}

#[test]
fn each_definition_is_whole() {
    let tables = [&FILE, &SERVER, &LISTEN, &SITE, &LOG, &ADMIN, &CERTIFICATE, &PAGES, &SAMPLE];
    for table in tables.into_iter().chain([&ACME, &AUTHORITY, &EAB, &OPTIONS]) {
        for (place, key) in table.keys.iter().enumerate() {
            assert!(key.doc.ends_with('.'), "{}", key.name);
            assert!(key.doc.starts_with(|first: char| first.is_ascii_uppercase()), "{}", key.name);
            assert!(table.keys.iter().skip(place + 1).all(|later| later.name != key.name), "{}", key.name);
            let has_example = !matches!(key.form, Form::Table(inner) | Form::Tables(inner, _) if inner.name.starts_with('['));
            assert_eq!(!key.example.is_empty(), has_example, "{}", key.name);
        }
    }
}
