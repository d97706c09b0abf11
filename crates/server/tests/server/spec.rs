//! A spec is plain values and descriptors: it can be written down, read again and started from.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use sitar_http::{h1, h2};
use sitar_io::Ring;
use sitar_server::{
    BodyMemory, Hooks, Limits, ListenerSpec, Networks, Pem, Role, SiteSpec, Spec, StartError, TlsOffload,
    TlsSpec, Worker,
};
use sitar_site::{Hsts, Options};
use sitar_tls::Version;

use crate::harness::{answer, get, small};

/// Writes each field as a name and bytes. Descriptors go beside it; their number is in it. The
/// patterns are exhaustive: a field that is no plain value has no place here.
fn write(spec: &Spec) -> Vec<(String, Vec<u8>)> {
    let Spec { listeners, site, tls, limits, offload, memory } = spec;
    let number = |number: u64| number.to_string().into_bytes();
    let sockets = listeners
        .iter()
        .map(|ListenerSpec { role: _, is_passed: _, proxies: _, sockets }| sockets.len())
        .sum::<usize>();
    let mut fields = vec![("listeners".to_owned(), number(sockets as u64))];
    let mut put = |name: &str, value: Vec<u8>| fields.push((name.to_owned(), value));
    for listener in listeners {
        let role = match listener.role {
            Role::Https => "https".to_owned(),
            Role::Http => "http".to_owned(),
            Role::RedirectToHttps { port } => port.to_string(),
        };
        put("role", role.into());
    }
    if let Some(SiteSpec {
        path,
        options: Options { prefix, follow_links, config_files, listing, hsts, is_private },
    }) = site
    {
        put("site", path.to_str().unwrap().into());
        put("prefix", prefix.clone().unwrap_or_default().into());
        put("links", number(u64::from(*follow_links)));
        put("config", number(u64::from(*config_files)));
        put("listing", number(u64::from(*listing)));
        put("private", number(u64::from(*is_private)));
        put("hsts", hsts.as_ref().map_or("", Hsts::as_str).into());
    }
    if let Some(TlsSpec { identities, by_host, protocols, min_version, seals_max }) = tls {
        for Pem { chain, key } in identities {
            put("chain", chain.clone());
            put("key", key.to_vec());
        }
        for (host, places) in by_host {
            put("host", host.clone().into());
            put("places", places.iter().map(|&place| place as u8).collect());
        }
        put("protocols", protocols.join(&b','));
        put("oldest", number(u64::from(*min_version == Version::Tls13)));
        put("seals", number(seals_max.unwrap_or_default()));
    }
    let Limits {
        connections,
        closing,
        handshake,
        head,
        idle,
        send,
        linger,
        drain,
        hand_over,
        rx_buffers,
        tx_buffers,
        files_open,
        files_sent,
        files_spare,
        held_max,
        http: h1::Limits { head: h1_head, target: h1_target, fields: h1_fields, body: h1_body },
        http2,
        h2: h2::Limits { streams, block, list, list_decoded, fields: h2_fields, target: h2_target, settings },
    } = limits;
    for (name, value) in [
        ("connections", u64::from(*connections)),
        ("closing", u64::from(*closing)),
        ("rx_buffers", u64::from(*rx_buffers)),
        ("tx_buffers", u64::from(*tx_buffers)),
        ("files_open", *files_open as u64),
        ("files_sent", *files_sent as u64),
        ("files_spare", *files_spare as u64),
        ("held_max", *held_max as u64),
        ("h1_head", *h1_head as u64),
        ("h1_target", *h1_target as u64),
        ("h1_fields", *h1_fields as u64),
        ("h1_body", *h1_body),
        ("http2", u64::from(*http2)),
        ("h2_streams", u64::from(*streams)),
        ("h2_block", *block as u64),
        ("h2_list", *list as u64),
        ("h2_list_decoded", *list_decoded as u64),
        ("h2_fields", *h2_fields as u64),
        ("h2_target", *h2_target as u64),
    ] {
        put(name, number(value));
    }
    for (name, time) in [
        ("handshake", handshake),
        ("head", head),
        ("idle", idle),
        ("send", send),
        ("linger", linger),
        ("drain", drain),
        ("hand_over", hand_over),
        ("h2_settings", settings),
    ] {
        put(name, number(time.as_nanos() as u64));
    }
    let rekey = match offload {
        TlsOffload::None => 0,
        TlsOffload::Kernel { rekey } => 1 + u64::from(*rekey),
    };
    put("offload", number(rekey));
    let BodyMemory { total, per_file } = memory;
    put("total", number(*total));
    put("per_file", number(*per_file));
    fields
}

/// Reads it again.
fn read(fields: Vec<(String, Vec<u8>)>, listeners: Vec<TcpListener>) -> Spec {
    let fields: BTreeMap<String, Vec<u8>> = fields.into_iter().collect();
    let text = |name: &str| String::from_utf8(fields[name].clone()).unwrap();
    let number = |name: &str| text(name).parse::<u64>().unwrap();
    let time = |name: &str| Duration::from_nanos(number(name));
    assert_eq!(number("listeners"), listeners.len() as u64);
    let prefix = Some(text("prefix")).filter(|prefix| !prefix.is_empty());
    Spec {
        listeners: listeners
            .into_iter()
            .map(|socket| ListenerSpec {
                role: match text("role").as_str() {
                    "https" => Role::Https,
                    "http" => Role::Http,
                    port => Role::RedirectToHttps { port: port.parse().unwrap() },
                },
                is_passed: false,
                proxies: Networks::default(),
                sockets: vec![socket.into()],
            })
            .collect(),
        site: Some(SiteSpec {
            path: text("site").into(),
            options: Options {
                prefix,
                follow_links: number("links") == 1,
                config_files: number("config") == 1,
                listing: number("listing") == 1,
                hsts: Hsts::parse(&text("hsts")).ok(),
                is_private: number("private") == 1,
            },
        }),
        tls: fields.contains_key("key").then(|| TlsSpec {
            identities: vec![Pem { chain: fields["chain"].clone(), key: fields["key"].clone().into() }],
            by_host: vec![(text("host"), fields["places"].iter().map(|&place| place.into()).collect())],
            protocols: fields["protocols"].split(|byte| *byte == b',').map(Into::into).collect(),
            min_version: if number("oldest") == 1 { Version::Tls13 } else { Version::Tls12 },
            seals_max: Some(number("seals")).filter(|seals| *seals > 0),
        }),
        limits: Limits {
            connections: number("connections") as u32,
            closing: number("closing") as u32,
            handshake: time("handshake"),
            head: time("head"),
            idle: time("idle"),
            send: time("send"),
            linger: time("linger"),
            drain: time("drain"),
            hand_over: time("hand_over"),
            rx_buffers: number("rx_buffers") as u16,
            tx_buffers: number("tx_buffers") as u32,
            files_open: number("files_open") as usize,
            files_sent: number("files_sent") as usize,
            files_spare: number("files_spare") as usize,
            held_max: number("held_max") as usize,
            http: h1::Limits {
                head: number("h1_head") as usize,
                target: number("h1_target") as usize,
                fields: number("h1_fields") as usize,
                body: number("h1_body"),
            },
            http2: number("http2") == 1,
            h2: h2::Limits {
                streams: number("h2_streams") as u32,
                block: number("h2_block") as usize,
                list: number("h2_list") as usize,
                list_decoded: number("h2_list_decoded") as usize,
                fields: number("h2_fields") as usize,
                target: number("h2_target") as usize,
                settings: time("h2_settings"),
            },
        },
        offload: match number("offload") {
            0 => TlsOffload::None,
            rekey => TlsOffload::Kernel { rekey: rekey == 2 },
        },
        memory: BodyMemory::new(number("total"), number("per_file")),
    }
}

fn hooks() -> Hooks {
    Hooks {
        may_have_users: false,
        clock: Arc::new(SystemTime::now),
        report: Arc::new(|incident| panic!("{incident}")),
        hosts: None,
        tls: None,
        log: None,
        trusted_proxies: Arc::default(),
        challenges: Arc::default(),
        times: false,
    }
}

fn start(spec: &Spec) -> std::io::Result<Worker> {
    Worker::start(spec, &hooks(), Ring::epoll)
}

fn described(site: SiteSpec, tls: Option<TlsSpec>) -> Spec {
    Spec {
        listeners: Vec::new(),
        site: Some(site),
        tls,
        limits: small(),
        offload: TlsOffload::None,
        memory: BodyMemory::new(8 << 20, 1 << 20),
    }
}

#[test]
fn it_crosses_as_text_and_bytes_and_the_worker_opens_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("html")).unwrap();
    std::fs::write(folder.path().join("html/page.txt"), "crossed\n").unwrap();
    let site = SiteSpec {
        path: folder.path().to_owned(),
        options: Options {
            prefix: Some("html".to_owned()),
            hsts: Hsts::parse("max-age=60").ok(),
            ..Options::default()
        },
    };
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let identities = vec![Pem {
        chain: made.cert.pem().into_bytes(),
        key: made.signing_key.serialize_pem().into_bytes().into(),
    }];
    let protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let by_host = vec![("localhost".to_owned(), vec![0])];
    let tls = TlsSpec { identities, by_host, protocols, min_version: Version::Tls13, seals_max: None };
    for tls in [None, Some(tls)] {
        let has_tls = tls.is_some();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mut described = described(site.clone(), tls);
        let role = if has_tls { Role::Https } else { Role::Http };
        let sockets = vec![listener.try_clone().unwrap().into()];
        described.listeners =
            vec![ListenerSpec { role, is_passed: false, proxies: Networks::default(), sockets }];
        let spec = read(write(&described), vec![listener]);
        let worker = start(&spec).unwrap();
        drop((described, spec));
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        if has_tls {
            let mut roots = rustls::RootCertStore::empty();
            roots.add(made.cert.der().clone()).unwrap();
            let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
            let config = rustls::ClientConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_root_certificates(roots)
                .with_no_client_auth();
            let client = rustls::ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap());
            let mut stream = rustls::StreamOwned::new(client.unwrap(), stream);
            stream.write_all(&get("/page.txt")).unwrap();
            assert_eq!(answer(&mut stream), (200, b"crossed\n".to_vec()));
        } else {
            stream.write_all(&get("/page.txt")).unwrap();
            assert_eq!(answer(&mut stream), (200, b"crossed\n".to_vec()));
        }
        worker.stop();
        worker.stop();
        assert_eq!(worker.wait().requests, 1);
        // Every duplicate of the socket is closed.
        let late = std::net::TcpStream::connect(address).map_err(|error| error.kind());
        assert_eq!(late.err(), Some(std::io::ErrorKind::ConnectionRefused));
    }
}

/// Limits of which no two are equal, so that one left behind, or in the place of another, shows.
fn all_different() -> Limits {
    Limits {
        connections: 101,
        closing: 102,
        handshake: Duration::from_millis(103),
        head: Duration::from_millis(104),
        idle: Duration::from_millis(105),
        send: Duration::from_millis(106),
        linger: Duration::from_millis(107),
        drain: Duration::from_millis(108),
        hand_over: Duration::from_millis(126),
        rx_buffers: 109,
        tx_buffers: 110,
        files_open: 111,
        files_sent: 124,
        files_spare: 125,
        held_max: 112,
        http: h1::Limits { head: 113, target: 114, fields: 115, body: 116 },
        http2: !Limits::default().http2,
        h2: h2::Limits {
            streams: 117,
            block: 118,
            list: 119,
            list_decoded: 120,
            fields: 121,
            target: 122,
            settings: Duration::from_nanos(123),
        },
    }
}

#[test]
fn every_limit_crosses() {
    let site = SiteSpec { path: "/site".into(), ..SiteSpec::default() };
    for limits in [Limits::default(), all_different()] {
        let spec = Spec { limits: limits.clone(), ..described(site.clone(), None) };
        let crossed = read(write(&spec), Vec::new());
        assert_eq!(crossed.limits, limits);
        assert_eq!(crossed.memory, spec.memory);
    }
}

#[test]
fn what_cannot_be_opened_keeps_the_worker_from_starting() {
    let error = start(&described(SiteSpec { path: "/nowhere/at/all".into(), ..SiteSpec::default() }, None));
    assert!(error.err().unwrap().to_string().contains("/nowhere/at/all"));
    let folder = tempfile::tempdir().unwrap();
    let site = || SiteSpec { path: folder.path().to_owned(), ..SiteSpec::default() };
    let no_key = TlsSpec {
        identities: vec![Pem { chain: b"no certificate".to_vec(), key: b"no key".to_vec().into() }],
        by_host: Vec::new(),
        protocols: Vec::new(),
        min_version: Version::Tls12,
        seals_max: None,
    };
    let none = TlsSpec { identities: Vec::new(), ..no_key.clone() };
    assert!(start(&described(site(), Some(no_key))).is_err());
    let error = start(&described(site(), Some(none))).err().unwrap();
    assert_eq!(error.to_string(), "a TLS server needs at least one certificate");
    let nothing = Spec { site: None, ..described(site(), None) };
    let error: StartError =
        Worker::start(&nothing, &hooks(), |config| Ring::epoll(config).map_err(StartError::Io))
            .err()
            .unwrap();
    assert!(matches!(error, StartError::NoSite));
}

#[test]
fn challenges_are_answered_from_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let site = SiteSpec { path: folder.path().to_owned(), options: Options::default() };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let sockets = vec![listener.into()];
    let mut spec = described(site, None);
    spec.listeners =
        vec![ListenerSpec { role: Role::Http, is_passed: false, proxies: Networks::default(), sockets }];
    let mut challenges = sitar_server::Challenges::default();
    challenges.add_file("localhost", "token", "text").unwrap();
    let hooks = Hooks { challenges: Arc::new(challenges), ..hooks() };
    let worker = Worker::start::<_, std::io::Error, _>(&spec, &hooks, Ring::epoll).unwrap();
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    for (name, status) in [("token", 200), ("other", 404)] {
        stream.write_all(&get(&format!("/.well-known/acme-challenge/{name}"))).unwrap();
        assert_eq!(answer(&mut stream).0, status);
    }
    worker.stop();
    worker.stop();
    worker.wait();
}
