use std::path::Path;

use proptest::prelude::*;

use super::*;

fn serve(arguments: &[&str]) -> Serve {
    serve_with_port(arguments, None)
}

fn serve_with_port(arguments: &[&str], port: Option<&str>) -> Serve {
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
    assert_eq!(
        variables,
        [
            ("listen", "SITAR_LISTEN"),
            ("tls-cert", "SITAR_TLS_CERT"),
            ("tls-key", "SITAR_TLS_KEY"),
            ("tls", "SITAR_TLS"),
            ("min-tls", "SITAR_MIN_TLS"),
            ("no-http2", "SITAR_NO_HTTP2"),
            ("engine", "SITAR_ENGINE"),
            ("spin", "SITAR_SPIN"),
            ("shards", "SITAR_SHARDS"),
            ("prefix", "SITAR_PREFIX"),
            ("no-watch", "SITAR_NO_WATCH"),
            ("connections", "SITAR_CONNECTIONS"),
            ("memory", "SITAR_MEMORY"),
            ("handshake-seconds", "SITAR_HANDSHAKE_SECONDS"),
            ("head-seconds", "SITAR_HEAD_SECONDS"),
            ("idle-seconds", "SITAR_IDLE_SECONDS"),
            ("send-seconds", "SITAR_SEND_SECONDS"),
        ]
    );
}

#[test]
fn verbs() {
    assert_eq!(parse(["sitar", "trust"], None).unwrap(), Verb::Trust);
    assert_eq!(parse(["sitar", "untrust"], None).unwrap(), Verb::Untrust);
    assert_eq!(
        serve(&[]),
        Serve {
            path: None,
            listen: vec![],
            tls_cert: vec![],
            tls_key: vec![],
            tls: Tls::Auto,
            min_tls: None,
            no_http2: false,
            engine: Engine::Auto,
            spin: None,
            shards: None,
            prefix: None,
            no_watch: false,
            default_port: None,
            connections: None,
            memory: 512,
            handshake_seconds: 10,
            head_seconds: 10,
            idle_seconds: 60,
            send_seconds: 30,
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
    assert_eq!((full.tls, full.engine), (Tls::User, Engine::Uring));
    assert_eq!(full.shards.unwrap().get(), 4);
    assert_eq!(full.prefix.as_deref(), Some("html"));
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
        &["--tls", "nobody"],
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
        ("65536", ListenError::Malformed),
        ("http://localhost:8443", ListenError::Malformed),
        ("127.0.0.1", ListenError::NoPort),
        ("::1", ListenError::NoPort),
        ("[::1]", ListenError::NoPort),
        ("localhost", ListenError::NoPort),
        ("localhost:", ListenError::BadPort),
        ("localhost:65536", ListenError::BadPort),
        ("localhost:-1", ListenError::BadPort),
        ("example.com:443", ListenError::Name),
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
    assert!(parse(["sitar", "serve", "--connections", "0"], None).is_err());
}

#[test]
fn engines() {
    for (name, engine) in [
        ("auto", Engine::Auto),
        ("uring", Engine::Uring),
        ("sqpoll", Engine::Sqpoll),
        ("epoll", Engine::Epoll),
    ] {
        assert_eq!(serve(&["--engine", name]).engine, engine);
    }
    let polled = serve(&["--engine", "sqpoll", "--spin", "500us"]);
    assert_eq!(polled.spin, Some(Duration::from_micros(500)));
    assert!(refused(&["--spin", "1ms"]).to_string().contains("--spin needs --engine sqpoll"));
}
