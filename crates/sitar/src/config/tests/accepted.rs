//! Configurations that are read, and what they become.

use std::ffi::OsString;
use std::num::{NonZeroU16, NonZeroU32};
use std::time::Duration;

use sitar_server::{Network, Rate};
use sitar_site::Hsts;

use super::*;
use crate::events;
use crate::log::Sample;
use crate::log::format::{Addresses, Format};
use crate::sandbox::Policy;
use crate::settings::merge::ValueOrigin;
use crate::settings::{EngineChoice, MinTls, Tls};

pub(super) const FULL: &str = include_str!("full.toml");

/// The folder of the configuration with every key.
pub(super) fn full() -> Folder {
    Folder::new([
        ("sitar.toml", FULL.as_bytes()),
        ("sites.d/b.toml", b"[[site]]\nhosts = \"b.example\"\nroot = \"b.tar\"\n".as_slice()),
        (
            "sites.d/a.toml",
            b"[[listen]]\naddress = \"[::1]:8443\"\n[[site]]\nhosts = [\"a.example\"]\nroot = \"a\"\n",
        ),
        ("sites.d/.hidden.toml", b"nonsense"),
        ("more.toml", b"site = [{ hosts = [\"m.example\"], redirect_to = \"HTTP://A.example:81/x\" }]\n"),
    ])
}

fn read_text(text: &str) -> Config {
    let folder = Folder::of(text);
    folder.read(&[]).unwrap_or_else(|problems| panic!("{problems:?}\n{text}"))
}

fn files(chain: impl Into<PathBuf>, key: impl Into<PathBuf>) -> CertificateFiles {
    CertificateFiles { chain: chain.into(), key: key.into() }
}

fn given(name: &'static str, origin: ValueOrigin, value: &str) -> Given {
    Given { name, origin, values: vec![OsString::from(value)] }
}

#[test]
fn every_key_has_its_effect() {
    let folder = full();
    let config = folder.read(&[]).unwrap();
    let at = |name: &str| folder.path().join(name);
    assert_eq!(config.file, folder.file());
    let expected = Settings {
        tls: Tls::User,
        min_tls: Some(MinTls::Tls13),
        no_http2: true,
        engine: EngineChoice::Sqpoll,
        spin: Some(Duration::from_micros(500)),
        sandbox: Policy::Strict,
        shards: NonZeroU16::new(4),
        connections: NonZeroU32::new(20_000),
        memory: 1024,
        handshake_seconds: 5,
        head_seconds: 6,
        idle_seconds: 75,
        send_seconds: 60,
        stop_seconds: 0,
        ..Settings::default()
    };
    assert_eq!(config.settings, expected);
    assert_eq!(config.user.as_deref(), Some("sitar"));
    assert!(config.strict);
    let trusted: Vec<_> = config.trusted_proxies.iter().map(ToString::to_string).collect();
    assert_eq!(trusted, ["10.0.0.0/8", "unix"]);
    let compression = Compression { is_on: false, cache: Some(at("cache")), size: 4096 };
    assert_eq!(config.compression, compression);
    assert_eq!(config.log.target.target, Target::Stdout);
    let sample = Sample([0, 10, 20, 2, 1]);
    let style = Style { format: Format::Combined, addresses: Addresses::Truncated, sample };
    assert_eq!((&config.log.style, config.log.events), (&style, events::Form::Json));
    // Seven sites, and two logs.
    assert_eq!(config.opened(), 9);
    assert_eq!(config.admin_socket.as_deref(), Some(Path::new("/run/sitar/admin.sock")));
    assert_eq!(config.admin_listen, Some(Endpoint::Tcp("127.0.0.1:9464".parse().unwrap())));
    let pages = Pages { error: Some(at("500.html")), unavailable: Some(at("503.html")) };
    assert_eq!(config.pages, pages);

    let listeners: Vec<_> =
        config.listeners.iter().map(|listener| (listener.addresses.clone(), listener.role)).collect();
    let address = |text: &str| Listen::Address(text.parse().unwrap());
    assert_eq!(
        listeners,
        [
            (vec![address("0.0.0.0:443"), address("[::]:443")], ListenerRole::Https),
            (vec![Listen::Port(80)], ListenerRole::RedirectToHttps),
            (vec![Listen::Localhost(8080)], ListenerRole::Plain),
            (vec![address("[::1]:8443")], ListenerRole::Https),
        ]
    );
    let sockets: Vec<Vec<&str>> = config
        .listeners
        .iter()
        .map(|listener| listener.sockets.iter().map(SocketName::as_str).collect())
        .collect();
    assert_eq!(sockets, [vec![], vec!["http", "http 2"], vec![], vec![]]);
    let paths: Vec<_> =
        config.listeners.iter().map(|listener| (&listener.paths[..], listener.mode)).collect();
    assert_eq!(paths, [(&[][..], None), (&[], None), (&[at("run/http.sock")], Some(0o666)), (&[], None)]);
    assert_eq!(config.listeners[1].passed, [at("run/pass.sock")]);
    let proxies: Vec<String> = config.listeners[2].proxies.iter().map(ToString::to_string).collect();
    assert_eq!(proxies, ["10.0.0.0/8", "2001:db8::1", "unix"]);
    assert!(config.listeners[0].proxies.is_empty());
    assert_eq!(config.listeners[3].place.to_string(), format!("{}:1:1", at("sites.d/a.toml").display()));

    let [first, old, local, _, a, b, more] = &config.sites[..] else { panic!("{:?}", config.sites) };
    let hsts = "max-age=31536000; includeSubDomains; preload";
    let options = Options {
        prefix: Some("public".to_owned()),
        follow_links: true,
        config_files: true,
        listing: true,
        hsts: Some(Hsts::parse(hsts).unwrap()),
        is_private: true,
    };
    let watch = Watch::Poll(Duration::from_secs(2));
    let network = |text: &str| Network::parse(text).unwrap();
    let expected = SiteConfig {
        place: Place { file: folder.file().into(), line: 41, column: 1 },
        hosts: ["example.com", "www.example.com", "*.preview.example.com", "192.0.2.1", "2001:db8::1"]
            .map(str::to_owned)
            .to_vec(),
        is_default: true,
        content: SiteContent::Root { path: "/srv/www/example.tar".into(), options, watch },
        canonical: Some("example.com".to_owned()),
        certificates: Certificates::Files(vec![
            files(at("ecdsa.pem"), at("ecdsa.key")),
            files("/etc/rsa.pem", "/etc/rsa.key"),
        ]),
        hsts: Some(hsts.to_owned()),
        pages: Pages { error: Some(at("500.html")), unavailable: Some(at("example/503.html")) },
        client_ca: Some(at("clients.pem")),
        access: AccessConfig {
            users: Some(at("example.htpasswd")),
            realm: "Staff".to_owned(),
            allow: Some(vec![network("10.0.0.0/8"), Network::Unix]),
            deny: vec![network("10.1.0.0/16")],
            rate: Some(RateConfig {
                text: "20/s".to_owned(),
                burst: 50,
                rate: Rate::new(20, Duration::from_secs(1), 50).unwrap(),
            }),
        },
        log: Some(LogTarget {
            target: Target::File(at("log/example.log")),
            place: Place { file: folder.file().into(), line: 64, column: 14 },
        }),
    };
    assert_eq!(*first, expected);
    let to = "https://example.com".to_owned();
    assert_eq!(old.content, SiteContent::Redirect { to, status: 301 });
    let server = Certificates::Files(vec![files(at("fullchain.pem"), at("privkey.pem"))]);
    assert_eq!((&old.certificates, &old.pages), (&server, &pages));
    let open = AccessConfig { realm: "Restricted".to_owned(), ..AccessConfig::default() };
    assert_eq!((&old.access, &local.access), (&open, &open));
    let root = |path: PathBuf, watch| SiteContent::Root { path, options: Options::default(), watch };
    assert_eq!(local.content, root(at("../local"), Watch::Off));
    assert_eq!(local.certificates, Certificates::Local);
    // Relative to the folder of the file in which it stands.
    assert_eq!(a.content, root(at("sites.d/a"), Watch::Auto));
    assert_eq!(b.content, root(at("sites.d/b.tar"), Watch::Auto));
    let to = "http://a.example:81/x".to_owned();
    assert_eq!(more.content, SiteContent::Redirect { to, status: 308 });
}

#[test]
fn every_key_of_the_definitions_is_in_the_full_configuration() {
    use super::keys::{ACME, AUTHORITY, EAB, OPTIONS};
    use super::keys::{ADMIN, CERTIFICATE, FILE, LISTEN, LOG, PAGES, SAMPLE, SERVER, SITE};
    let tables = [&FILE, &SERVER, &LISTEN, &SITE, &LOG, &ADMIN, &CERTIFICATE, &PAGES, &SAMPLE];
    for table in tables.into_iter().chain([&ACME, &AUTHORITY, &EAB, &OPTIONS]) {
        for key in table.keys {
            let is_there = ["\nNAME = ", "[NAME]", ".NAME]", " NAME = "]
                .iter()
                .any(|form| FULL.contains(&form.replace("NAME", key.name)));
            assert!(is_there, "{} of {}", key.name, table.name);
        }
    }
}

#[test]
fn the_numbers_are_served_on_an_address_or_a_socket() {
    let read = |listen: &str| {
        let text = format!("[[site]]\nroot = \"public\"\n[admin]\nlisten = \"{listen}\"\n");
        read_text(&text).admin_listen.unwrap()
    };
    assert_eq!(read("[::1]:0"), Endpoint::Tcp("[::1]:0".parse().unwrap()));
    assert_eq!(read("unix:/run/metrics.sock"), Endpoint::Unix("/run/metrics.sock".into()));
    let Endpoint::Unix(path) = read("unix:metrics.sock") else { panic!() };
    assert!(path.is_absolute() && path.ends_with("metrics.sock"), "{path:?}");
}

#[test]
fn one_site_needs_nothing_but_its_root() {
    let config = read_text("[[site]]\nroot = \"public\"\n");
    assert_eq!(config.settings, crate::settings::merge::merge(&[]).unwrap().settings);
    assert_eq!(config.user, None);
    assert!(!config.strict);
    assert_eq!(config.trusted_proxies, []);
    assert_eq!(config.compression, Compression { is_on: true, cache: None, size: 1024 });
    assert_eq!((config.log.target.target, config.log.style), (Target::Off, Style::default()));
    assert_eq!(config.log.events, events::Form::Text);
    assert_eq!(config.admin_socket, None);
    assert_eq!(config.admin_listen, None);
    let [listener] = &config.listeners[..] else { panic!() };
    assert_eq!(
        (&listener.addresses[..], listener.role),
        (&[Listen::Localhost(8443)][..], ListenerRole::Https)
    );
    assert_eq!(listener.place.line, 0);
    let [site] = &config.sites[..] else { panic!() };
    assert!(site.hosts.is_empty() && !site.is_default);
    assert_eq!((&site.certificates, &site.pages), (&Certificates::Local, &Pages::default()));
}

#[test]
fn the_default_listener_depends_on_the_certificates() {
    let listener = |text: &str, port| {
        let folder = Folder::of(text);
        let config = read_with_port(&folder.file(), &[], port).unwrap();
        (config.listeners[0].addresses.clone(), config.listeners[0].role)
    };
    let site = "[[site]]\nroot = \"x\"\n";
    let own = format!("{site}certificate = {{ chain = \"a\", key = \"b\" }}\n");
    let plain = format!("[server]\ntls = \"off\"\n{site}");
    assert_eq!(listener(&own, None), (vec![Listen::Port(8443)], ListenerRole::Https));
    assert_eq!(listener(&own, Some(5000)), (vec![Listen::Port(5000)], ListenerRole::Https));
    assert_eq!(listener(site, Some(5000)), (vec![Listen::Localhost(5000)], ListenerRole::Https));
    assert_eq!(listener(&plain, None), (vec![Listen::Localhost(8080)], ListenerRole::Plain));
    let named = format!("[[listen]]\naddress = \":1\"\n{site}");
    assert_eq!(listener(&named, Some(5000)), (vec![Listen::Port(1)], ListenerRole::Https));
}

#[test]
fn without_encryption_a_site_has_no_certificate() {
    for text in [
        "[server]\ntls = \"off\"\n[[site]]\nhosts = \"example.com\"\nroot = \"x\"\n",
        "[[listen]]\naddress = \":80\"\ntls = \"off\"\n[[site]]\nhosts = \"example.com\"\nroot = \"x\"\n",
    ] {
        assert_eq!(read_text(text).sites[0].certificates, Certificates::None);
    }
}

#[test]
fn flags_win_over_variables_and_those_over_the_file() {
    let folder = Folder::of("[server]\nshards = 2\nhttp2 = false\nmemory = 64\n[[site]]\nroot = \"x\"\n");
    let shards = |given: &[Given]| folder.read(given).unwrap().settings.shards.unwrap().get();
    let variable = given("shards", ValueOrigin::Variable, "3");
    let flag = given("shards", ValueOrigin::Flag, "4");
    assert_eq!(shards(&[]), 2);
    assert_eq!(shards(std::slice::from_ref(&variable)), 3);
    assert_eq!(shards(&[variable, flag]), 4);
    let settings = folder.read(&[given("no-http2", ValueOrigin::Variable, "0")]).unwrap().settings;
    assert_eq!((settings.no_http2, settings.memory), (false, 64));
}

#[test]
fn rules_hold_between_flags_and_the_file() {
    let folder = Folder::of("[server]\nmin_tls = \"1.3\"\nengine = \"sqpoll\"\n[[site]]\nroot = \"x\"\n");
    let spin = given("spin", ValueOrigin::Flag, "1ms");
    let settings = folder.read(std::slice::from_ref(&spin)).unwrap().settings;
    assert_eq!(settings.spin, Some(Duration::from_millis(1)));
    assert_eq!(
        folder.problems(&[given("tls", ValueOrigin::Flag, "off")]),
        "sitar.toml:2:1: --tls off cannot be used with min_tls\n  hint: take out one of the two\n"
    );
    assert_eq!(
        folder.problems(&[given("engine", ValueOrigin::Variable, "uring"), spin]),
        "sitar.toml:1:1: --spin needs engine = \"sqpoll\"\n  hint: write: engine = \"sqpoll\"\n"
    );
}

/// Small variations that are right.
pub(super) const ACCEPTED: &[&str] = &[
    // A site alone may have hosts, be the default one, or both.
    "[[site]]\nroot = \"x\"\ndefault = true\n",
    "[[site]]\nroot = \"x\"\nhosts = \"localhost\"\ndefault = true\n",
    "[[site]]\nroot = \"x\"\nhosts = \"localhost\"\ndefault = false\n",
    // Of two, one may be the default one without hosts.
    "[[site]]\nroot = \"x\"\nhosts = \"localhost\"\n[[site]]\nroot = \"y\"\ndefault = true\n",
    "[[site]]\nredirect_to = \"https://example.com/\"\nhsts = \"max-age=0\"\n",
    // Plain HTTP to HTTPS elsewhere, and a redirect to a host of its own on another port.
    "[[listen]]\naddress = \":80\"\ntls = \"off\"\n[[site]]\nhosts = \"a.example\"\nredirect_to = \"https://a.example\"\n",
    // Redirects that end: at content, at the site with the exact host, and elsewhere.
    "[[listen]]\naddress = \":443\"\n[[site]]\nhosts = \"a.localhost\"\nredirect_to = \"https://b.localhost\"\n[[site]]\nhosts = \"b.localhost\"\nroot = \"x\"\n",
    "[[listen]]\naddress = \":443\"\n[[site]]\nhosts = \"*.localhost\"\nredirect_to = \"https://a.localhost\"\n[[site]]\nhosts = \"a.localhost\"\nroot = \"x\"\n",
    "[[listen]]\naddress = \":443\"\n[[site]]\ndefault = true\nredirect_to = \"https://a.example\"\n[[site]]\nhosts = \"localhost\"\nredirect_to = \"https://b.example\"\n",
    // On a port where nothing listens, or what stands in front of loopback.
    "[[listen]]\naddress = \":443\"\n[[site]]\nhosts = \"localhost\"\nredirect_to = \"http://localhost\"\n",
    "[[listen]]\naddress = \"localhost:80\"\ntls = \"off\"\n[[site]]\nhosts = \"a.example\"\nredirect_to = \"http://a.example\"\n",
    "[[listen]]\naddress = \"0.0.0.0:80\"\ntls = \"off\"\n[[listen]]\naddress = \"[::]:80\"\n[[site]]\nhosts = \"localhost\"\nredirect_to = \"http://localhost\"\n",
    "[[listen]]\naddress = \"127.0.0.1:0\"\n[[listen]]\naddress = \"127.0.0.1:0\"\ntls = \"off\"\n[[site]]\nroot = \"x\"\n",
    "server.shards = 1\nserver.pages.503 = \"x\"\nsite = [{ root = \"x\" }]\n",
    "\u{feff}[[site]]\r\nroot = 'x'\r\n",
    "include = \"none.d/*.toml\"\n[[site]]\nroot = \"x\"\n",
    // The file itself is not included.
    "include = \"*.toml\"\n[[site]]\nroot = \"x\"\n",
    "[[site]]\nroot = \"x\"\nwatch = true\npoll = \"100ms\"\n",
    "[[site]]\nroot = \"x\"\nprefix = \"\"\n",
    "[server]\nmemory = \"64MiB\"\n[[site]]\nroot = \"x\"\n",
];

#[test]
fn small_variations_are_accepted() {
    for text in ACCEPTED {
        read_text(text);
    }
}

#[test]
fn an_included_file_is_read_once() {
    let folder = Folder::new([
        ("sitar.toml", b"include = [\"a.toml\", \"*.toml\", \"a.toml\"]\n".as_slice()),
        ("a.toml", b"[[site]]\nroot = \"x\"\n"),
    ]);
    assert_eq!(folder.read(&[]).unwrap().sites.len(), 1);
}
