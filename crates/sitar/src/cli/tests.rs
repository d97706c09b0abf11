use std::path::{Path, PathBuf};
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::events;
use crate::log::format::Format;
use crate::sandbox::Policy;
use crate::settings::definitions::SETTINGS;
use crate::settings::merge::{ValueOrigin, split_list};
use crate::settings::{
    CertificateFiles, ConfigFile, EngineChoice, Listen, ListenError, MinTls, Plan, Security, Tls,
};
use crate::watch::Watch;

fn serve(arguments: &[&str]) -> Settings {
    serve_with_port(arguments, None)
}

fn serve_with_port(arguments: &[&str], port: Option<&str>) -> Settings {
    let all = ["sitar", "serve"].iter().chain(arguments);
    match parse(all, port.map(OsStr::new)).unwrap() {
        Verb::Serve(serve) => serve,
        other => panic!("{other:?}"),
    }
}

fn refused(arguments: &[&str]) -> clap::Error {
    let all = ["sitar", "serve"].iter().chain(arguments);
    parse(all, None).unwrap_err()
}

fn sockets(plan: &Plan) -> Vec<String> {
    plan.addresses.iter().map(|address| address.socket.to_string()).collect()
}

#[test]
fn clap_finds_no_mistake_in_the_definition() {
    CommandLine::command().debug_assert();
}

#[test]
fn each_flag_has_its_variable() {
    let command = CommandLine::command();
    let serve = command.find_subcommand("serve").unwrap();
    let variables: Vec<_> = serve
        .get_arguments()
        .filter_map(|argument| Some((argument.get_long()?, argument.get_env()?.to_str()?)))
        .collect();
    let defined: Vec<_> = SETTINGS.iter().map(|setting| (setting.name, setting.variable)).collect();
    assert_eq!(variables, defined);
}

#[test]
fn verbs() {
    assert_eq!(parse(["sitar", "trust"], None).unwrap(), Verb::Trust);
    assert_eq!(parse(["sitar", "untrust"], None).unwrap(), Verb::Untrust);
    assert_eq!(
        serve(&[]),
        Settings {
            path: None,
            config: None,
            listen: vec![],
            tls_cert: vec![],
            tls_key: vec![],
            domain: vec![],
            listen_http: vec![],
            acme_staging: false,
            acme_directory: None,
            acme_ca: None,
            acme_agree_tos: false,
            acme_contact: vec![],
            acme_eab_kid: None,
            acme_eab_key_file: None,
            acme_profile: None,
            acme_dns_command: None,
            state: None,
            tls: Tls::Auto,
            min_tls: None,
            no_http2: false,
            engine: EngineChoice::Auto,
            spin: None,
            sandbox: Policy::Auto,
            shards: None,
            prefix: None,
            follow_links: false,
            serve_config_files: false,
            listing: false,
            no_watch: false,
            poll: None,
            default_port: None,
            connections: None,
            memory: 512,
            handshake_seconds: 10,
            head_seconds: 10,
            idle_seconds: 60,
            send_seconds: 30,
            stop_seconds: 30,
            access_log: None,
            log_format: Format::Json,
            log_events: events::Form::Text,
        }
    );
    let full = serve(&[
        "site.tar",
        "--listen",
        "8443",
        "--listen",
        "[::1]:9443",
        "--tls-cert",
        "a.pem",
        "--tls-key",
        "a.key",
        "--tls",
        "user",
        "--engine",
        "uring",
        "--shards",
        "4",
        "--prefix",
        "html",
    ]);
    assert_eq!(full.path.as_deref(), Some(Path::new("site.tar")));
    assert_eq!(full.listen, [Listen::Port(8443), Listen::Address("[::1]:9443".parse().unwrap())]);
    assert_eq!(full.tls_cert, [PathBuf::from("a.pem")]);
    assert_eq!(full.tls_key, [PathBuf::from("a.key")]);
    assert_eq!((full.tls, full.engine), (Tls::User, EngineChoice::Uring));
    assert_eq!(full.shards.unwrap().get(), 4);
    assert_eq!(full.prefix.as_deref(), Some("html"));
}

#[test]
fn verbs_that_ask_a_running_server() {
    let server = |socket: Option<&str>, config: Option<&str>| Server {
        socket: socket.map(PathBuf::from),
        config: config.map(PathBuf::from),
    };
    for (arguments, verb) in [
        (&["status"][..], Verb::Status(Status { json: false, server: server(None, None) })),
        (
            &["status", "--json", "--socket", "a.sock"],
            Verb::Status(Status { json: true, server: server(Some("a.sock"), None) }),
        ),
        (
            &["top"],
            Verb::Top(Top { interval: Duration::from_secs(1), json: false, server: server(None, None) }),
        ),
        (
            &["top", "--json", "--interval", "0.5", "--socket", "a.sock"],
            Verb::Top(Top {
                interval: Duration::from_millis(500),
                json: true,
                server: server(Some("a.sock"), None),
            }),
        ),
        (
            &["trace"],
            Verb::Trace(Trace {
                host: None,
                path: None,
                status: None,
                sample: 1,
                duration: Duration::from_secs(10),
                count: None,
                json: false,
                server: server(None, None),
            }),
        ),
        (
            &[
                "trace",
                "--host=A.test",
                "--path=/x*",
                "--status=5XX",
                "--sample=100",
                "--duration=1500ms",
                "--count=7",
                "--json",
                "--socket=a.sock",
            ],
            Verb::Trace(Trace {
                host: Some("a.test".into()),
                path: Some("/x*".into()),
                status: Some("5xx".into()),
                sample: 100,
                duration: Duration::from_millis(1500),
                count: Some(7),
                json: true,
                server: server(Some("a.sock"), None),
            }),
        ),
        (&["reload"], Verb::Reload(Reload { server: server(None, None) })),
        (
            &["reload", "--config", "sitar.toml"],
            Verb::Reload(Reload { server: server(None, Some("sitar.toml")) }),
        ),
    ] {
        assert_eq!(parse(["sitar"].iter().chain(arguments), None).unwrap(), verb, "{arguments:?}");
    }
    for seconds in ["0", "0.09", "-1", "3601", "NaN", "inf", "1s", ""] {
        let error = parse(["sitar", "top", &format!("--interval={seconds}")], None).unwrap_err().to_string();
        assert!(error.contains("not a number of seconds from 0.1 to 3600"), "{error}");
    }
    for wrong in [&["reload", "--json"][..], &["status", "x"], &["status", "--socket", "a", "--config", "b"]]
    {
        let error = parse(["sitar"].iter().chain(wrong), None).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{wrong:?}");
    }
}

#[test]
fn exit_codes_of_the_parser() {
    assert_eq!(parse(["sitar", "--version"], None).unwrap_err().exit_code(), 0);
    assert_eq!(parse(["sitar", "serve", "--help"], None).unwrap_err().exit_code(), 0);
    assert_eq!(parse(["sitar"], None).unwrap_err().exit_code(), 2);
    assert_eq!(parse(["sitar", "dance"], None).unwrap_err().exit_code(), 2);
    for arguments in [
        &["--listen", "nonsense:"][..],
        &["--listen", "8443,"],
        &["--shards", "0"],
        &["--shards", "513"],
        &["--shards", "+x"],
        &["--tls", "never"],
        &["--engine", "kqueue"],
        &["--spin", "1ms"],
        &["--spin", "1ms", "--engine", "uring"],
        &["--spin", "1ms", "--engine", "auto"],
        &["--spin", "1", "--engine", "sqpoll"],
        &["--tls-cert", "a"],
        &["--tls-key", "a"],
        &["--tls-cert", "a", "--tls-cert", "b", "--tls-key", "a"],
        &["--tls", "off", "--tls-cert", "a", "--tls-key", "b"],
        &["a.tar", "b.tar"],
    ] {
        assert_eq!(refused(arguments).exit_code(), 2, "{arguments:?}");
    }
}

#[test]
fn the_oldest_version_of_tls() {
    assert_eq!(serve(&["--min-tls", "1.2"]).min_tls, Some(MinTls::Tls12));
    assert_eq!(serve(&["--min-tls", "1.3"]).min_tls, Some(MinTls::Tls13));
    for wrong in ["1.1", "1", "3", ""] {
        refused(&["--min-tls", wrong]);
    }
    assert!(refused(&["--tls", "off", "--min-tls", "1.3"]).to_string().contains("--min-tls"));
}

#[test]
fn version_names_the_program() {
    let version = parse(["sitar", "--version"], None).unwrap_err().to_string();
    assert!(version.starts_with("sitar 0."), "{version}");
}

#[test]
fn unequal_pairs_are_counted() {
    let text = refused(&["--tls-cert", "a", "--tls-cert", "b", "--tls-key", "c"]).to_string();
    assert!(text.contains("2 certificate(s) but 1 key(s) given"), "{text}");
}

#[test]
fn addresses_as_people_write_them() {
    let address = |text: &str| Listen::Address(text.parse().unwrap());
    for (text, expected) in [
        ("8443", Listen::Port(8443)),
        (":8443", Listen::Port(8443)),
        ("0", Listen::Port(0)),
        ("127.0.0.1:8443", address("127.0.0.1:8443")),
        ("[::1]:8443", address("[::1]:8443")),
        ("0.0.0.0:443", address("0.0.0.0:443")),
        (" [::]:443 ", address("[::]:443")),
        ("[::]:443", address("[::]:443")),
        ("[::ffff:127.0.0.1]:80", address("127.0.0.1:80")),
        ("localhost:8443", Listen::Localhost(8443)),
        ("LocalHost:1", Listen::Localhost(1)),
    ] {
        assert_eq!(text.parse::<Listen>(), Ok(expected), "{text}");
    }
    for (text, expected) in [
        ("", ListenError::Malformed),
        (":", ListenError::Malformed),
        ("+80", ListenError::Malformed),
        ("65536", ListenError::BadPort),
        (":65536", ListenError::BadPort),
        ("127.0.0.1:99999", ListenError::BadPort),
        ("[::1]:99999", ListenError::BadPort),
        ("example.com:99999", ListenError::Malformed),
        ("*:443", ListenError::Star),
        ("http://localhost:8443", ListenError::Malformed),
        ("127.0.0.1", ListenError::NoPort),
        ("::1", ListenError::NoPort),
        ("[::1]", ListenError::NoPort),
        ("localhost", ListenError::NoPort),
        ("localhost:", ListenError::BadPort),
        ("localhost:65536", ListenError::BadPort),
        ("localhost:-1", ListenError::BadPort),
        ("example.com:443", ListenError::Name),
        ("systemd:https", ListenError::Systemd),
        ("unix:http.sock", ListenError::Unix),
    ] {
        assert_eq!(text.parse::<Listen>(), Err(expected), "{text}");
    }
}

#[test]
fn defaults_without_a_certificate_are_loopback() {
    let plan = serve(&[]).plan().unwrap();
    assert_eq!(sockets(&plan), ["127.0.0.1:8443", "[::1]:8443"]);
    assert!(plan.addresses.iter().all(|address| address.optional));
    assert_eq!(plan.security, Security::Local);
    assert_eq!(sockets(&serve(&["--listen", ":9443"]).plan().unwrap()), ["127.0.0.1:9443", "[::1]:9443"]);
}

#[test]
fn defaults_with_a_certificate_are_every_address() {
    let plan =
        serve(&["--tls-cert", "a", "--tls-key", "b", "--tls-cert", "c", "--tls-key", "d"]).plan().unwrap();
    assert_eq!(sockets(&plan), ["0.0.0.0:8443", "[::]:8443"]);
    assert_eq!(
        plan.security,
        Security::Certificates(vec![
            CertificateFiles { chain: "a".into(), key: "b".into() },
            CertificateFiles { chain: "c".into(), key: "d".into() },
        ])
    );
}

#[test]
fn plain_http_is_on_loopback_8080_but_may_be_opened() {
    let plan = serve(&["--tls", "off"]).plan().unwrap();
    assert_eq!(sockets(&plan), ["127.0.0.1:8080", "[::1]:8080"]);
    assert_eq!(plan.security, Security::Plain);
    assert_eq!(sockets(&serve(&["--tls", "off", "--listen", "0.0.0.0:80"]).plan().unwrap()), ["0.0.0.0:80"]);
}

#[test]
fn the_port_variable_moves_the_default_only() {
    assert_eq!(
        sockets(&serve_with_port(&[], Some("5000")).plan().unwrap()),
        ["127.0.0.1:5000", "[::1]:5000"]
    );
    assert_eq!(
        sockets(&serve_with_port(&["--tls", "off"], Some("5000")).plan().unwrap()),
        ["127.0.0.1:5000", "[::1]:5000"]
    );
    assert_eq!(
        sockets(&serve_with_port(&["--listen", "localhost:1"], Some("5000")).plan().unwrap()),
        ["127.0.0.1:1", "[::1]:1"]
    );
    assert_eq!(sockets(&serve_with_port(&[], Some("")).plan().unwrap()), ["127.0.0.1:8443", "[::1]:8443"]);
    let error = parse(["sitar", "serve"], Some(OsStr::new("http"))).unwrap_err();
    assert_eq!(error.exit_code(), 2);
    assert!(error.to_string().contains("the environment variable PORT is \"http\""), "{error}");
}

#[test]
fn an_open_address_without_a_certificate_is_refused_with_remedies() {
    let error = serve(&["--listen", "127.0.0.1:1", "--listen", "0.0.0.0:443"]).plan().unwrap_err();
    assert_eq!(
        error.render(false),
        "error: will not listen on 0.0.0.0:443 without a certificate\n\
         \x20 cause: the certificate that sitar makes by itself is good for localhost, 127.0.0.1 and ::1 only\n\
         \x20 hint: give one: --tls-cert chain.pem --tls-key key.pem\n\
         \x20 hint: or stay on this machine: --listen localhost:443\n\
         \x20 hint: or serve without encryption, for instance behind a proxy: --tls off\n"
    );
    // Loopback, but no name of the local certificate: the line for curl would not work.
    assert!(serve(&["--listen", "127.0.0.2:443"]).plan().is_err());
    assert!(serve(&["--tls", "off", "--listen", "127.0.0.2:443"]).plan().is_ok());
}

#[test]
fn what_is_listened_on_twice_is_bound_once() {
    let plan = serve(&["--listen", "localhost:1,127.0.0.1:1"]).plan().unwrap();
    assert_eq!(sockets(&plan), ["127.0.0.1:1", "[::1]:1"]);
    assert_eq!(
        plan.addresses.iter().map(|address| address.optional).collect::<Vec<_>>(),
        [false, true],
        "asked for literally: no longer optional"
    );
    let plan =
        serve(&["--tls", "off", "--listen", "127.0.0.1:1,0.0.0.0:1,[::1]:1,127.0.0.1:2"]).plan().unwrap();
    assert_eq!(sockets(&plan), ["0.0.0.0:1", "[::1]:1", "127.0.0.1:2"]);
}

proptest! {
    #[test]
    fn no_address_text_panics_and_none_opens_a_port_by_itself(text in "[0-9a-z:.\\[\\]%+-]{0,24}|.*") {
        if let Ok(listen) = text.parse::<Listen>() {
            for address in listen.expand(&Security::Local) {
                // Only a literal address can leave loopback, and `plan` refuses that one.
                let literal = matches!(listen, Listen::Address(_));
                prop_assert!(literal || address.socket.ip().is_loopback());
            }
        }
    }
}

#[test]
fn seconds_are_bounded() {
    for wrong in ["0", "86401", "-1", "x", ""] {
        assert!(parse(["sitar", "serve", "--idle-seconds", wrong], None).is_err(), "{wrong}");
    }
    assert_eq!(serve(&["--idle-seconds", "86400"]).idle_seconds, 86400);
    assert_eq!(serve(&["--stop-seconds", "0"]).stop_seconds, 0);
    assert_eq!(serve(&["--stop-seconds", "86400"]).stop_seconds, 86400);
    for wrong in ["-1", "86401", "", "1s"] {
        assert!(parse(["sitar", "serve", &format!("--stop-seconds={wrong}")], None).is_err(), "{wrong}");
    }
    assert!(parse(["sitar", "serve", "--connections", "0"], None).is_err());
}

#[test]
fn sizes_of_memory() {
    for (text, mib) in [
        ("0", 0),
        ("64", 64),
        ("64 MiB", 64),
        ("64MiB", 64),
        ("2 GiB", 2048),
        ("4194303GiB", u32::MAX - 1023),
    ] {
        assert_eq!(serve(&["--memory", text]).memory, mib, "{text}");
    }
    for wrong in [
        "",
        " ",
        "64 ",
        "64  MiB",
        "MiB",
        "64 mib",
        "64M",
        "1.5 GiB",
        "-1",
        "+1",
        "4194304 GiB",
        "4294967296",
    ] {
        refused(&["--memory", wrong]);
    }
}

#[test]
fn engines() {
    for (name, engine) in [
        ("auto", EngineChoice::Auto),
        ("uring", EngineChoice::Uring),
        ("sqpoll", EngineChoice::Sqpoll),
        ("epoll", EngineChoice::Epoll),
    ] {
        assert_eq!(serve(&["--engine", name]).engine, engine);
    }
    let polled = serve(&["--engine", "sqpoll", "--spin", "500us"]);
    assert_eq!(polled.spin, Some(Duration::from_micros(500)));
    assert!(refused(&["--spin", "1ms"]).to_string().contains("--spin needs --engine sqpoll"));
}

/// The line that says what to type instead.
fn tip(arguments: &[&str]) -> String {
    let error = parse(["sitar"].iter().chain(arguments), None).unwrap_err();
    assert_eq!(error.exit_code(), 2, "{arguments:?}");
    let text = error.to_string();
    let tips: Vec<&str> = text.lines().filter_map(|line| line.trim_start().strip_prefix("tip: ")).collect();
    assert_eq!(tips.len(), 1, "{arguments:?}: {text}");
    tips[0].to_owned()
}

#[test]
fn what_is_no_verb_is_pointed_to_the_right_one() {
    for (arguments, expected) in [
        (&["."][..], "to serve it: sitar serve ."),
        (&["site.tar"], "to serve it: sitar serve site.tar"),
        (&["/srv/it's here/"], r"to serve it: sitar serve '/srv/it'\''s here/'"),
        (&["src"], "to serve it: sitar serve src"),
        (&["8080"], "to listen on this port: sitar serve PATH --listen 8080"),
        (&[":8080"], "to listen on this port: sitar serve PATH --listen :8080"),
        (&["run", "."], "to serve a folder or an archive: sitar serve PATH"),
        (&["start"], "to serve a folder or an archive: sitar serve PATH"),
        (&["server"], "to serve a folder or an archive: sitar serve PATH"),
        (&["help"], "sitar --help"),
        (&["help", "pack"], "sitar pack --help"),
        (&["version"], "sitar --version"),
        (&["serv", "."], "a similar subcommand exists: 'serve'"),
        (&["--listen", "80"], "flags stand behind the verb: sitar serve --listen 80"),
        (&["--listen=80", "a b"], "flags stand behind the verb: sitar serve '--listen=80' 'a b'"),
        (&["--tls", "off", "."], "flags stand behind the verb: sitar serve --tls off ."),
        (&["-p", "80"], "the port is given with --listen: sitar serve PATH --listen 80"),
        (&["--port", "80"], "the port is given with --listen: sitar serve PATH --listen 80"),
        (&["--root", "/srv"], "the site stands without a flag: sitar serve /srv"),
        (&["--xyzzy"], "sitar serve --help lists what there is"),
    ] {
        assert_eq!(tip(arguments), expected, "{arguments:?}");
    }
}

#[test]
fn flags_of_other_servers_are_pointed_to_ours() {
    for (arguments, expected) in [
        (&["-p", "80"][..], "the port is given with --listen: sitar serve PATH --listen 80"),
        (&["-p80"], "the port is given with --listen: sitar serve PATH --listen 80"),
        (&["--port=80", "."], "the port is given with --listen: sitar serve PATH --listen 80"),
        (&["-p"], "the port is given with --listen: sitar serve PATH --listen PORT"),
        (&["--port", "--tls", "off"], "the port is given with --listen: sitar serve PATH --listen PORT"),
        (&[".", "8080"], "the port is given with --listen: sitar serve PATH --listen 8080"),
        (
            &["--host", "0.0.0.0"],
            "the address is given with --listen: sitar serve PATH --listen 0.0.0.0:8443",
        ),
        (&["--bind", "::1"], "the address is given with --listen: sitar serve PATH --listen '[::1]:8443'"),
        (&["--addr", ":80"], "the port is given with --listen: sitar serve PATH --listen :80"),
        (
            &["--addr", "localhost:80"],
            "the address is given with --listen: sitar serve PATH --listen localhost:80",
        ),
        (&["-l", "8080"], "the port is given with --listen: sitar serve PATH --listen 8080"),
        (&["--tls-certs", "a"], "a similar argument exists: '--tls-cert'"),
        (&["-b"], "the address is given with --listen: sitar serve PATH --listen ADDRESS:PORT"),
        (&["--dir", "a b"], "the site stands without a flag: sitar serve 'a b'"),
        (&["-d", "."], "the site stands without a flag: sitar serve ."),
        (&["--root"], "the site stands without a flag: sitar serve PATH"),
        (&["a.tar", "b.tar"], "one site is served: sitar serve PATH"),
        (&["--cert", "x"], "the certificate is given with --tls-cert FILE, and its key with --tls-key FILE"),
        (
            &["--ssl-cert", "x"],
            "the certificate is given with --tls-cert FILE, and its key with --tls-key FILE",
        ),
        (&["--key=x"], "the private key is given with --tls-key FILE, beside --tls-cert FILE"),
        (&["--http"], "plain HTTP is served with --tls off"),
        (&["--workers", "4"], "the number of threads is given with --shards N"),
        (&["--watch"], "changes are watched for unless --no-watch is given"),
        (&["--spa"], "a line in the site's file _redirects does that: /* /index.html 200"),
        (&["--xyzzy"], "sitar serve --help lists what there is"),
    ] {
        let all = [&["serve"], arguments].concat();
        assert_eq!(tip(&all), expected, "{arguments:?}");
    }
    assert_eq!(
        tip(&["pack", ".", "site.tar"]),
        "the archive to write is given with -o: sitar pack DIR -o site.tar"
    );
    assert_eq!(tip(&["check", "--fix", "."]), "sitar check --help lists what there is");
}

#[test]
fn help_is_shown_where_nothing_is_asked() {
    let error = parse(["sitar"], None).unwrap_err();
    assert_eq!(error.exit_code(), 2);
    assert!(error.to_string().contains("\n  serve  "), "{error}");
}

#[test]
fn lists_of_files() {
    let split = |list: &str| split_list(OsStr::new(list));
    let paths = |all: &[&str]| Some(all.iter().map(OsString::from).collect::<Vec<_>>());
    assert_eq!(split("a.pem"), paths(&["a.pem"]));
    assert_eq!(split("a.pem, /b/c d.pem"), paths(&["a.pem", "/b/c d.pem"]));
    for wrong in ["", "a.pem,", ",a.pem", "a.pem,,b.pem", " "] {
        assert_eq!(split(wrong), None, "{wrong:?}");
    }
    // Not of a flag's.
    let serve = serve(&["--tls-cert", "a,b.pem", "--tls-key", "k"]);
    assert_eq!(serve.tls_cert, [PathBuf::from("a,b.pem")]);
}

#[test]
fn variables_that_nothing_reads() {
    let unread = |all: &[(&str, &str)]| {
        let all = all.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
        variables::unread(all.collect::<Vec<_>>().into_iter(), &CommandLine::command())
    };
    for (name, hint) in [
        ("SITAR_PORT", "perhaps SITAR_LISTEN, which takes a port alone, was meant"),
        ("SITAR_BIND", "perhaps SITAR_LISTEN, which takes an address with its port, was meant"),
        ("SITAR_CERT", "perhaps SITAR_TLS_CERT was meant"),
        ("SITAR_LISTENS", "perhaps SITAR_LISTEN was meant"),
        ("SITAR_TLS_CERTS", "perhaps SITAR_TLS_CERT was meant"),
        ("SITAR_TLSKEY", "perhaps SITAR_TLS_KEY was meant"),
        ("SITAR_SHARD", "perhaps SITAR_SHARDS was meant"),
        ("SITAR_IDLE", "perhaps SITAR_IDLE_SECONDS was meant"),
        ("SITAR_XYZZYX", "sitar serve --help lists those that do"),
    ] {
        assert_eq!(unread(&[(name, "1")]), [format!("the variable {name} means nothing to sitar; {hint}")]);
    }
    let known: &[(&str, &str)] = &[
        ("SITAR_LISTEN", "1"),
        ("SITAR_TLS_KEY", ""),
        ("SITAR_OUTPUT", "x"),
        ("SITAR_REUSE", "x"),
        ("SITARIST", "x"),
        ("sitar_port", "x"),
        ("PATH", "x"),
        // What Kubernetes and Docker set for a service of this name.
        ("SITAR_SERVICE_HOST", "10.0.0.1"),
        ("SITAR_SERVICE_PORT_HTTPS", "443"),
        ("SITAR_PORT", "tcp://10.0.0.1:443"),
        ("SITAR_PORT_443_TCP_ADDR", "10.0.0.1"),
    ];
    assert_eq!(unread(known), [""; 0]);
}

#[test]
fn how_a_site_is_watched() {
    assert_eq!(serve(&[]).watch(), Watch::Auto);
    assert_eq!(serve(&["--no-watch"]).watch(), Watch::Off);
    assert_eq!(serve(&["--poll", "500ms"]).watch(), Watch::Poll(Duration::from_millis(500)));
    assert!(parse(["sitar", "serve", "--poll", "2s", "--no-watch"], None).is_err());
    assert!(parse(["sitar", "serve", "--poll", "1ms"], None).is_err());
}

#[test]
fn a_configuration_file_takes_the_place_of_the_site() {
    let settings = serve_with_port(&["--config", "a.toml", "--shards", "3", "--spin", "1ms"], Some("5000"));
    let file = settings.config.clone().unwrap();
    assert_eq!((&*file.path, file.port), (Path::new("a.toml"), Some(5000)));
    let given: Vec<_> = file.given.iter().map(|given| (given.name, given.origin)).collect();
    assert_eq!(given, [("spin", ValueOrigin::Flag), ("shards", ValueOrigin::Flag)]);
    assert_eq!((settings.path, settings.default_port), (None, None));
    assert_eq!(settings.shards.unwrap().get(), 3);
    // The file may have addresses of its own.
    assert_eq!(serve_with_port(&["--config", "a.toml"], Some("http")).config.unwrap().port, None);
}

#[test]
fn what_a_configuration_file_says_is_refused_beside_it() {
    for (arguments, key) in [
        (&["site.tar"][..], "'root' of [[site]]"),
        (&["--listen", "443"], "'address' of [[listen]]"),
        (&["--tls-cert", "a", "--tls-key", "b"], "'certificate' of [[site]] or [server]"),
        (&["--tls-key", "b"], "'certificate' of [[site]] or [server]"),
        (&["--prefix", "x"], "'prefix' of [[site]]"),
        (&["--follow-links"], "'follow_links' of [[site]]"),
        (&["--serve-config-files"], "'serve_config_files' of [[site]]"),
        (&["--listing"], "'listing' of [[site]]"),
        (&["--no-watch"], "'watch' of [[site]]"),
        (&["--poll", "2s"], "'poll' of [[site]]"),
    ] {
        let error = refused(&[&["--config", "a.toml"], arguments].concat());
        assert_eq!(error.exit_code(), 2);
        let text = error.to_string();
        assert!(
            text.contains(&format!("cannot be used with a configuration file, which has {key} for it")),
            "{text}"
        );
    }
    assert_eq!(refused(&["--config"]).exit_code(), 2);
    assert_eq!(refused(&["--config", "a", "--shards", "0"]).exit_code(), 2);
}

#[test]
fn actions_on_a_configuration() {
    let action = |arguments: &[&str]| match parse(
        ["sitar", "config"].iter().chain(arguments),
        Some(OsStr::new("5000")),
    )
    .unwrap()
    {
        Verb::Config(action) => action,
        other => panic!("{other:?}"),
    };
    assert_eq!(action(&["init"]), ConfigAction::Init { file: "sitar.toml".into() });
    assert_eq!(action(&["init", "-"]), ConfigAction::Init { file: "-".into() });
    assert_eq!(action(&["schema"]), ConfigAction::Schema);
    let file = |path: &str| ConfigFile { path: path.into(), given: vec![], port: Some(5000), text: None };
    assert_eq!(action(&["check"]), ConfigAction::Check(file("/etc/sitar/sitar.toml")));
    assert_eq!(action(&["show", "a.toml"]), ConfigAction::Show(file("a.toml")));
    let ConfigAction::Check(flagged) = action(&["check", "a.toml", "--tls", "off"]) else { panic!() };
    assert_eq!(flagged.given.len(), 1);
    let error = parse(["sitar", "config", "check", "a.toml", "--listen", "443"], None).unwrap_err();
    assert!(error.to_string().contains("'address' of [[listen]]"), "{error}");
    for (arguments, expected) in [
        (&["config", "validate"][..], "to check a configuration: sitar config check FILE"),
        (&["config", "dump"], "to print what is in force: sitar config show FILE"),
        (&["config", "new"], "to write a commented configuration: sitar config init FILE"),
        (&["config", "a.toml"], "to check it: sitar config check a.toml"),
        (&["--config", "a.toml"], "flags stand behind the verb: sitar serve --config a.toml"),
    ] {
        assert_eq!(tip(arguments), expected, "{arguments:?}");
    }
}

#[test]
fn what_is_measured() {
    let defaults = Prove {
        path: None,
        target: None,
        engine: EngineChoice::Auto,
        requests: 20_000,
        seconds: None,
        connections: 16,
        shards: None,
        hold: false,
        json: false,
        serve_for: None,
    };
    let full = Prove {
        path: Some("site.tar".into()),
        target: Some("/a".to_owned()),
        engine: EngineChoice::Sqpoll,
        seconds: Some(3),
        connections: 256,
        shards: std::num::NonZeroU16::new(1),
        hold: true,
        json: true,
        ..defaults
    };
    let words = "--engine sqpoll --seconds 3 --connections 256 --shards 1 --hold --json --target /a site.tar";
    for (arguments, expected) in [("", defaults), (words, full)] {
        let words = ["sitar", "prove"].into_iter().chain(arguments.split_whitespace());
        assert_eq!(parse(words, None).unwrap(), Verb::Prove(expected), "{arguments}");
    }
    for wrong in [
        "--requests 0",
        "--seconds 0",
        "--seconds 3601",
        "--connections 0",
        "--connections 257",
        "--requests 1 --seconds 1",
        "--target /a",
        "--engine best",
        "--serve-for 1",
        "a b",
    ] {
        let words = ["sitar", "prove"].into_iter().chain(wrong.split_whitespace());
        assert!(parse(words, None).is_err(), "{wrong}");
    }
}
