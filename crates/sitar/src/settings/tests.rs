use std::ffi::OsString;

use super::definitions::{Kind, SETTINGS, Setting};
use super::merge::{Given, Origin, merge};
use super::*;

fn given(setting: &Setting, origin: Origin, value: &str) -> Given {
    Given { name: setting.name, origin, values: vec![OsString::from(value)] }
}

/// A value that is read, and is not the default.
fn other(setting: &Setting) -> &'static str {
    match setting.kind {
        Kind::Switch => "1",
        Kind::Word(words) => words().last().unwrap().0,
        Kind::Files => "a.pem",
        Kind::List => "8443",
        Kind::Text if setting.value == "DURATION" => "7s",
        Kind::Text | Kind::Any => "7",
    }
}

#[test]
fn each_definition_is_whole_and_unlike_the_others() {
    for (place, setting) in SETTINGS.iter().enumerate() {
        let name = setting.name;
        assert!(!setting.help.is_empty() && !setting.help.ends_with('.'), "{name}");
        let variable = format!("SITAR_{}", name.to_ascii_uppercase().replace('-', "_"));
        assert_eq!(setting.variable, variable);
        assert_eq!(setting.value.is_empty(), matches!(setting.kind, Kind::Switch), "{name}");
        assert!(SETTINGS.iter().skip(place + 1).all(|later| later.name != name), "{name}");
        if setting.default.is_some() {
            assert!(!setting.help.contains("[default"), "{name}: clap shows it by itself");
        }
        // What is between these two is the only difference.
        let before = format!("{:?}", merge(&[]).unwrap().settings);
        let after = format!("{:?}", merge(&[given(setting, Origin::Flag, other(setting))]).unwrap().settings);
        let field = |name: &str| format!(" {}: ", name.replace('-', "_"));
        let next = SETTINGS.get(place + 1).map_or("default_port", |next| next.name);
        let parts = |text: &str| {
            let cut = |text: &str, name| {
                let (before, after) = text.split_once(&field(name)).unwrap_or_else(|| {
                    panic!("{name}: `Settings` has its fields in the order of `SETTINGS`, default_port last")
                });
                (before.to_owned(), after.to_owned())
            };
            let (head, rest) = cut(text, name);
            let (value, tail) = cut(&rest, next);
            (value, head + &tail)
        };
        let ((old, rest), (new, same)) = (parts(&before), parts(&after));
        assert_ne!(old, new, "{name}");
        assert_eq!(rest, same, "{name}");
    }
}

#[test]
fn each_is_on_the_handbooks_page_of_options() {
    let page = include_str!("../handbook/options.html");
    for setting in SETTINGS {
        let flag = format!("<code>--{}", setting.name);
        let is_there = |end| page.contains(&format!("{flag}{end}"));
        assert!(is_there(" ") || is_there("</code>"), "{flag}");
        assert!(page.contains(&format!("<code>{}</code>", setting.variable)), "{}", setting.variable);
    }
}

#[test]
fn each_default_is_what_it_is_written_as() {
    let defaults = merge(&[]).unwrap();
    for setting in SETTINGS {
        assert_eq!(defaults.origin(setting.name), Origin::Default);
        let Some(default) = setting.default else { continue };
        for origin in [Origin::Variable, Origin::Flag] {
            let written = merge(&[given(setting, origin, default)]).unwrap();
            assert_eq!(written.settings, defaults.settings, "{}", setting.name);
            assert_eq!(written.origin(setting.name), origin);
        }
    }
}

#[test]
fn each_refuses_a_bad_value_by_its_name() {
    for setting in SETTINGS {
        let bad = match setting.kind {
            // Every text is one of these.
            Kind::Switch | Kind::Any => continue,
            Kind::Files => {
                let refused = merge(&[given(setting, Origin::Variable, "a,,b")]).unwrap_err().to_string();
                assert_eq!(refused, format!("{} has a comma without a file beside it", setting.variable));
                continue;
            }
            Kind::Word(_) | Kind::Text | Kind::List => "nonsense!",
        };
        for (origin, name) in
            [(Origin::Flag, format!("--{}", setting.name)), (Origin::Variable, setting.variable.to_owned())]
        {
            let refused = merge(&[given(setting, origin, bad)]).unwrap_err().to_string();
            assert!(refused.starts_with(&format!("invalid value '{bad}' for '{name}': ")), "{refused}");
        }
    }
}

#[test]
fn a_flag_wins_over_a_variable_and_that_over_the_default() {
    for setting in SETTINGS {
        let (bad, good) = ("nonsense!", other(setting));
        let flag = given(setting, Origin::Flag, good);
        // What loses is not even read.
        for all in [
            vec![given(setting, Origin::Variable, bad), flag.clone()],
            vec![flag.clone(), given(setting, Origin::Variable, bad)],
        ] {
            let merged = merge(&all).unwrap();
            assert_eq!(merged.settings, merge(std::slice::from_ref(&flag)).unwrap().settings);
            assert_eq!(merged.origin(setting.name), Origin::Flag, "{}", setting.name);
        }
    }
}

#[test]
fn rules_name_settings_as_they_were_written() {
    let find = |name| definitions::find(name).unwrap();
    let refused = |all: &[Given]| merge(all).unwrap().check().unwrap_err().to_string();
    assert_eq!(
        refused(&[
            given(find("poll"), Origin::Variable, "2s"),
            given(find("no-watch"), Origin::Flag, "true")
        ]),
        "SITAR_POLL cannot be used with --no-watch"
    );
    assert_eq!(
        refused(&[given(find("tls"), Origin::Flag, "off"), given(find("min-tls"), Origin::Variable, "1.3")]),
        "--tls off cannot be used with SITAR_MIN_TLS"
    );
    assert_eq!(refused(&[given(find("spin"), Origin::Variable, "1ms")]), "SITAR_SPIN needs --engine sqpoll");
}
