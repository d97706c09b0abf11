use std::ffi::OsString;

use super::definitions::{Kind, SETTINGS, Setting};
use super::merge::{Given, ValueOrigin, merge};
use super::*;

fn given(setting: &Setting, origin: ValueOrigin, value: &str) -> Given {
    Given { name: setting.name, origin, values: vec![OsString::from(value)] }
}

/// A value that is read, and is not the default.
fn other(setting: &Setting) -> &'static str {
    match setting.kind {
        Kind::Switch => "1",
        Kind::Word(words) => words().last().unwrap().0,
        _ if setting.name == "domain" => "a.example",
        _ if setting.name == "acme-directory" => "https://a.example/",
        _ if setting.name == "acme-contact" => "a@b.example",
        Kind::Files => "a.pem",
        Kind::List => "8443",
        Kind::Text if setting.value == "DURATION" => "7s",
        Kind::Text if setting.value == "WHERE" => "journal",
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
        let after =
            format!("{:?}", merge(&[given(setting, ValueOrigin::Flag, other(setting))]).unwrap().settings);
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
        assert_eq!(defaults.origin(setting.name), ValueOrigin::Default);
        let Some(default) = setting.default else { continue };
        for origin in [ValueOrigin::Variable, ValueOrigin::Flag] {
            let written = merge(&[given(setting, origin, default)]).unwrap();
            assert_eq!(written.settings, defaults.settings, "{}", setting.name);
            assert_eq!(written.origin(setting.name), origin);
        }
    }
}

/// The default as the help states it: clap writes `default`, and the text of the help the others.
fn stated(setting: &Setting) -> Option<&'static str> {
    let in_help = || setting.help.split_once("[default: ")?.1.strip_suffix(']');
    setting.default.or_else(in_help)
}

#[test]
fn each_default_in_the_help_is_the_value_in_force() {
    let all: Vec<_> = SETTINGS.iter().map(|setting| (setting.name, stated(setting))).collect();
    let expected = [
        ("listen", Some("8443; with --tls off 8080")),
        ("tls-cert", None),
        ("tls-key", None),
        ("domain", None),
        ("listen-http", None),
        ("acme-staging", None),
        ("acme-directory", None),
        ("acme-ca", None),
        ("acme-agree-tos", None),
        ("acme-contact", None),
        ("acme-eab-kid", None),
        ("acme-eab-key-file", None),
        ("acme-profile", None),
        ("acme-dns-command", None),
        ("state", None),
        ("tls", Some("auto")),
        ("min-tls", Some("1.2")),
        ("no-http2", None),
        ("engine", Some("auto")),
        ("spin", Some("1ms")),
        ("sandbox", Some("auto")),
        ("shards", Some("one per core; with --engine sqpoll one for two cores")),
        ("prefix", None),
        ("follow-links", None),
        ("serve-config-files", None),
        ("listing", None),
        ("no-watch", None),
        ("poll", None),
        ("connections", Some("8192 per shard")),
        ("memory", Some("512")),
        ("handshake-seconds", Some("10")),
        ("head-seconds", Some("10")),
        ("idle-seconds", Some("60")),
        ("send-seconds", Some("30")),
        ("stop-seconds", Some("30")),
        ("access-log", Some("off")),
        ("log-format", Some("json")),
        ("log-events", Some("text")),
    ];
    assert_eq!(all, expected);

    // The exhaustive pattern: a new setting says here which value is in force without it. The
    // fields that stay `None` have their default where they are used.
    let Settings {
        path: None,
        config: None,
        listen,
        tls_cert,
        tls_key,
        domain,
        listen_http,
        acme_staging: false,
        acme_directory: None,
        acme_ca: None,
        acme_agree_tos: false,
        acme_contact,
        acme_eab_kid: None,
        acme_eab_key_file: None,
        acme_profile: None,
        acme_dns_command: None,
        state: None,
        tls,
        min_tls: None,
        no_http2: false,
        engine,
        spin: None,
        sandbox,
        shards: None,
        prefix: None,
        follow_links: false,
        serve_config_files: false,
        listing: false,
        no_watch: false,
        poll: None,
        connections: None,
        memory,
        handshake_seconds,
        head_seconds,
        idle_seconds,
        send_seconds,
        stop_seconds,
        access_log,
        log_format,
        log_events,
        default_port: None,
    } = merge(&[]).unwrap().settings
    else {
        panic!("a setting has a value that its help does not state");
    };
    assert!(domain.is_empty() && listen_http.is_empty() && acme_contact.is_empty());
    assert!(listen.is_empty() && tls_cert.is_empty() && tls_key.is_empty());
    let port = |tls| {
        let plan = Settings { tls, ..Settings::default() }.plan().unwrap();
        plan.addresses[0].socket.port()
    };
    let limits = sitar_server::Limits::default();
    let in_force = [
        ("listen", format!("{}; with --tls off {}", port(tls), port(Tls::Off))),
        ("tls", written(tls)),
        ("min-tls", written(MinTls::default())),
        ("engine", written(engine)),
        ("spin", format!("{}ms", sitar_engines::polling::SPIN.as_millis())),
        ("sandbox", written(sandbox)),
        ("connections", format!("{} per shard", limits.connections)),
        ("memory", memory.to_string()),
        ("handshake-seconds", handshake_seconds.to_string()),
        ("head-seconds", head_seconds.to_string()),
        ("idle-seconds", idle_seconds.to_string()),
        ("send-seconds", send_seconds.to_string()),
        ("stop-seconds", stop_seconds.to_string()),
        ("access-log", format!("{:?}", access_log.unwrap_or_default()).to_lowercase()),
        ("log-format", written(log_format)),
        ("log-events", written(log_events)),
    ];
    // The number of shards depends on the machine.
    let stated = all.iter().filter(|(name, _)| *name != "shards");
    let stated: Vec<_> = stated.filter_map(|(name, text)| Some((*name, (*text)?.to_owned()))).collect();
    assert_eq!(stated, in_force);
    assert_eq!(duration::parse("1ms"), Ok(sitar_engines::polling::SPIN));
}

/// The word that stands for a value.
fn written<T: values::Word + PartialEq>(value: T) -> String {
    T::WORDS.iter().find(|(_, other, _)| *other == value).unwrap().0.to_owned()
}

#[test]
fn the_handbook_states_the_same_defaults() {
    let page = include_str!("../handbook/options.html");
    let row = |name: &str| {
        let flag = format!("<code>--{name} ");
        page.lines().find(|line| line.starts_with("<tr>") && line.contains(&flag)).unwrap()
    };
    for setting in SETTINGS.iter().filter(|setting| matches!(setting.kind, Kind::Text)) {
        let Some(default) = setting.default else { continue };
        assert!(row(setting.name).contains(&format!("Default: {default}.")), "{}", setting.name);
    }
    for (name, default) in [
        ("listen", "8443, and 8080 with <code>--tls off</code>."),
        ("min-tls", "1.2."),
        ("spin", "<code>1ms</code>."),
        ("connections", "8192 for each shard,"),
    ] {
        assert!(row(name).contains(&format!("Default: {default}")), "{name}");
    }
}

#[test]
fn each_refuses_a_bad_value_by_its_name() {
    for setting in SETTINGS {
        let bad = match setting.kind {
            // Every text is one of these.
            Kind::Switch | Kind::Any => continue,
            Kind::Files => {
                let refused =
                    merge(&[given(setting, ValueOrigin::Variable, "a,,b")]).unwrap_err().to_string();
                assert_eq!(refused, format!("{} has a comma without a file beside it", setting.variable));
                continue;
            }
            Kind::Word(_) | Kind::Text | Kind::List => "nonsense!",
        };
        for (origin, name) in [
            (ValueOrigin::Flag, format!("--{}", setting.name)),
            (ValueOrigin::Variable, setting.variable.to_owned()),
        ] {
            let refused = merge(&[given(setting, origin, bad)]).unwrap_err().to_string();
            assert!(refused.starts_with(&format!("invalid value '{bad}' for '{name}': ")), "{refused}");
        }
    }
}

#[test]
fn a_flag_wins_over_a_variable_and_that_over_the_default() {
    for setting in SETTINGS {
        let (bad, good) = ("nonsense!", other(setting));
        let flag = given(setting, ValueOrigin::Flag, good);
        // What loses is not even read.
        for all in [
            vec![given(setting, ValueOrigin::Variable, bad), flag.clone()],
            vec![flag.clone(), given(setting, ValueOrigin::Variable, bad)],
        ] {
            let merged = merge(&all).unwrap();
            assert_eq!(merged.settings, merge(std::slice::from_ref(&flag)).unwrap().settings);
            assert_eq!(merged.origin(setting.name), ValueOrigin::Flag, "{}", setting.name);
        }
    }
}

#[test]
fn rules_name_settings_as_they_were_written() {
    let find = |name| definitions::find(name).unwrap();
    let refused = |all: &[Given]| merge(all).unwrap().check().unwrap_err().to_string();
    assert_eq!(
        refused(&[
            given(find("poll"), ValueOrigin::Variable, "2s"),
            given(find("no-watch"), ValueOrigin::Flag, "true")
        ]),
        "SITAR_POLL cannot be used with --no-watch"
    );
    assert_eq!(
        refused(&[
            given(find("tls"), ValueOrigin::Flag, "off"),
            given(find("min-tls"), ValueOrigin::Variable, "1.3")
        ]),
        "--tls off cannot be used with SITAR_MIN_TLS"
    );
    assert_eq!(
        refused(&[given(find("spin"), ValueOrigin::Variable, "1ms")]),
        "SITAR_SPIN needs --engine sqpoll"
    );
    let all = |pairs: &[(&'static str, &str)]| {
        let given = pairs
            .iter()
            .map(|(name, value)| given(definitions::find(name).unwrap(), ValueOrigin::Flag, value));
        refused(&given.collect::<Vec<_>>())
    };
    let domain = ("domain", "example.com");
    for (pairs, sentence) in [
        (&[("acme-staging", "1")][..], "--acme-staging needs --domain"),
        (&[("listen-http", "80")], "--listen-http needs --domain"),
        (&[domain, ("tls", "off")], "--tls off cannot be used with --domain"),
        (
            &[domain, ("tls-cert", "a"), ("tls-key", "b")],
            "--tls-cert cannot be used with --domain, which orders certificates",
        ),
        (
            &[domain, ("acme-directory", "https://a.example/"), ("acme-staging", "1")],
            "--acme-staging cannot be used with --acme-directory",
        ),
        (
            &[domain, ("acme-directory", "https://a.example/")],
            "--acme-directory needs --acme-agree-tos, with which you agree to the terms of that authority",
        ),
        (&[domain, ("acme-eab-kid", "x")], "--acme-eab-kid and --acme-eab-key-file need each other"),
        (
            &[("domain", "*.example.com")],
            "--domain *.example.com needs --acme-dns-command: wildcards are proved in the DNS only",
        ),
    ] {
        assert_eq!(all(pairs), sentence);
    }
}
