use super::*;
use crate::identity::Defect;
use sitar_engines::Because;
use sitar_engines::polling::Cores;

fn sockets(all: &[&str]) -> Vec<SocketAddr> {
    all.iter().map(|text| text.parse().unwrap()).collect()
}

fn polling(spin: Duration, pollers: Vec<u32>, cores: usize) -> Engine {
    Engine::SqPoll(Polling { spin, cores: Cores { count: cores, numbers: vec![] }, pollers })
}

fn local(origin: Origin) -> Report {
    Report {
        version: "0.1.0",
        addresses: sockets(&["127.0.0.1:8443", "[::1]:8443"]),
        skipped: vec![],
        encryption: Encryption::Local {
            fingerprint: "AB:CD".to_owned(),
            ca: "/home/u/.local/share/sitar/local/ca.pem".into(),
            origin,
        },
        engine: Engine::Uring,
        shards: 4,
        sandbox: Layers::standing_on(&["Landlock ABI 7", "restricted rings"]),
        offload: TlsOffload::None,
        content: Content::Handbook,
        watching: None,
        files: 7,
        unencoded: None,
        warnings: vec![],
    }
}

#[test]
fn the_first_start() {
    assert_eq!(
        local(Origin::Made).to_string(),
        "sitar 0.1.0\n\
         \x20 address  https://localhost:8443/\n\
         \x20 listens  127.0.0.1:8443, [::1]:8443\n\
         \x20 engine   io_uring (batched; --engine sqpoll needs no system calls, but a core per shard)\n\
         \x20 sealer   user space (--tls kernel leaves it to the kernel, where that has TLS)\n\
         \x20 shards   4\n\
         \x20 sandbox  Landlock ABI 7, restricted rings\n\
         \x20 site     the built-in handbook; name a directory or a tar to serve it: sitar serve PATH\n\
         \x20 files    7\n\
         \x20 cert     made on this machine, for localhost only\n\
         \x20          SHA-256 AB:CD\n\
         \x20 try      curl --cacert /home/u/.local/share/sitar/local/ca.pem https://localhost:8443/\n\
         \x20 trust    sitar trust lets this user's browsers accept it; sitar untrust takes that back\n"
    );
}

#[test]
fn the_operators_certificates() {
    let report = Report {
        addresses: sockets(&["0.0.0.0:443", "[::]:443", "192.0.2.1:8443", "[2001:db8::1]:443"]),
        encryption: Encryption::Certificates(vec![Certificate {
            path: "/etc/ssl/site.pem".into(),
            names: ["a.example", "b.example", "c.example", "d.example", "e.example"]
                .map(str::to_owned)
                .to_vec(),
            fingerprint: "01:02".to_owned(),
        }]),
        content: Content::Archive("site.tar".into()),
        files: 51_906,
        ..local(Origin::Made)
    };
    assert_eq!(
        report.to_string(),
        "sitar 0.1.0\n\
         \x20 address  https://a.example/\n\
         \x20          https://b.example/\n\
         \x20          https://c.example/\n\
         \x20          https://d.example/\n\
         \x20          https://a.example:8443/\n\
         \x20          https://b.example:8443/\n\
         \x20          https://c.example:8443/\n\
         \x20          https://d.example:8443/\n\
         \x20 listens  0.0.0.0:443, [::]:443, 192.0.2.1:8443, [2001:db8::1]:443\n\
         \x20 engine   io_uring (batched; --engine sqpoll needs no system calls, but a core per shard)\n\
         \x20 sealer   user space (--tls kernel leaves it to the kernel, where that has TLS)\n\
         \x20 shards   4\n\
         \x20 sandbox  Landlock ABI 7, restricted rings\n\
         \x20 site     site.tar (tar)\n\
         \x20 files    51906\n\
         \x20 cert     /etc/ssl/site.pem (a.example, b.example, c.example, d.example and 1 more)\n\
         \x20          SHA-256 01:02\n"
    );
}

#[test]
fn ipv6_alone_is_told_of() {
    let warning = "  warning  [::]:443 takes IPv6 only: IPv4 clients cannot connect; for both: --listen '[::]:443' \
                   --listen 0.0.0.0:443\n";
    let with = |addresses: &[&str], skipped: &[&str]| {
        Report { addresses: sockets(addresses), skipped: sockets(skipped), ..local(Origin::Made) }.to_string()
    };
    for alone in [&["[::]:443"][..], &["[::]:443", "0.0.0.0:80"], &["127.0.0.1:80", "[::]:443"]] {
        assert_eq!(with(alone, &[]).matches(warning).count(), 1, "{alone:?}");
    }
    for both in
        [&["[::]:443", "0.0.0.0:443"][..], &["0.0.0.0:443"], &["[::1]:443"], &["[::]:443", "192.0.2.1:443"]]
    {
        assert!(!with(both, &[]).contains("IPv6 only"), "{both:?}");
    }
    // A machine without IPv4 does not need to be told.
    assert!(!with(&["[::]:443"], &["0.0.0.0:443"]).contains("IPv6 only"));
}

fn with_names(all: &[&[&str]]) -> Encryption {
    let certificate = |names: &&[&str]| Certificate {
        path: "c.pem".into(),
        names: names.iter().map(|&name| name.to_owned()).collect(),
        fingerprint: String::new(),
    };
    Encryption::Certificates(all.iter().map(certificate).collect())
}

#[test]
fn addresses_are_those_that_a_certificate_names() {
    for (address, names, expected) in [
        ("0.0.0.0:443", &[&["a.example"][..]][..], &["https://a.example/"][..]),
        (
            "[::]:8443",
            &[&["a.example"], &["b.example"]],
            &["https://a.example:8443/", "https://b.example:8443/"],
        ),
        ("192.0.2.1:443", &[&["a.example"]], &["https://a.example/"]),
        ("192.0.2.1:443", &[&["a.example", "192.0.2.1"]], &["https://192.0.2.1/"]),
        ("[2001:db8::1]:443", &[&["2001:db8::1"]], &["https://[2001:db8::1]/"]),
        ("0.0.0.0:443", &[&["192.0.2.7", "127.0.0.1"]], &["https://192.0.2.7/"]),
        ("0.0.0.0:443", &[&["localhost", "a.example"]], &["https://localhost/"]),
        ("127.0.0.1:443", &[&["localhost"]], &["https://localhost/"]),
        ("127.0.0.1:443", &[&["127.0.0.1"]], &["https://127.0.0.1/"]),
        ("[::1]:443", &[&["::1"]], &["https://[::1]/"]),
        ("0.0.0.0:443", &[&["*.a.example", "a.example"]], &["https://a.example/"]),
        ("0.0.0.0:443", &[&["*.a.example"]], &["https://*.a.example/"]),
    ] {
        let encryption = with_names(names);
        assert_eq!(urls(&sockets(&[address]), &encryption), expected, "{address} {names:?}");
        assert_eq!(unnamed(&sockets(&[address]), &encryption), [""; 0], "{address} {names:?}");
    }
}

#[test]
fn an_address_that_no_certificate_names_is_warned_of() {
    for (address, names, expected) in [
        (
            "127.0.0.1:8443",
            &[&["a.example", "b.example"][..]][..],
            "the certificate is good for a.example, b.example, not for localhost: clients refuse \
             https://localhost:8443/; try it by name: curl --connect-to '::127.0.0.1:' https://a.example:8443/",
        ),
        (
            "[::1]:443",
            &[&["*.a.example"]],
            "the certificate is good for *.a.example, not for localhost: clients refuse https://localhost/; try it by \
             name: curl --connect-to '::[::1]:' https://www.a.example/",
        ),
        (
            "192.0.2.1:443",
            &[&["192.0.2.7"]],
            "the certificate is good for 192.0.2.7, not for 192.0.2.1: clients refuse https://192.0.2.1/; try it by \
             name: curl --connect-to '::192.0.2.1:' https://192.0.2.7/",
        ),
        // A client that has no name to give is shown the first.
        (
            "127.0.0.2:443",
            &[&["a.example"], &["127.0.0.2"]],
            "the certificate is good for a.example, not for 127.0.0.2: clients refuse https://127.0.0.2/; try it by \
             name: curl --connect-to '::127.0.0.2:' https://a.example/",
        ),
    ] {
        let report = Report {
            addresses: sockets(&[address, address]),
            encryption: with_names(names),
            ..local(Origin::Made)
        };
        let text = report.to_string();
        assert!(text.ends_with(&format!("  warning  {expected}\n")), "{text}");
        assert_eq!(text.matches("  warning  ").count(), 1, "{text}");
    }
    // The way to try it is one that is listened on.
    let sentences = unnamed(&sockets(&["[::]:8443"]), &with_names(&[&["127.0.0.1"]]));
    assert_eq!(
        sentences,
        [
            "the certificate is good for 127.0.0.1, not for localhost: clients refuse https://localhost:8443/; try it by \
             name: curl --connect-to '::[::1]:' https://127.0.0.1:8443/"
        ]
    );
}

#[test]
fn plain_http_in_the_open_is_warned_of() {
    let report = Report {
        addresses: sockets(&["0.0.0.0:80"]),
        encryption: Encryption::Plain,
        content: Content::Directory("public".into()),
        ..local(Origin::Made)
    };
    assert_eq!(
        report.to_string(),
        "sitar 0.1.0\n\
         \x20 address  http://localhost/\n\
         \x20 listens  0.0.0.0:80\n\
         \x20 engine   io_uring (batched; --engine sqpoll needs no system calls, but a core per shard)\n\
         \x20 sealer   none: plain HTTP (--tls off)\n\
         \x20 shards   4\n\
         \x20 sandbox  Landlock ABI 7, restricted rings\n\
         \x20 site     public (directory)\n\
         \x20 files    7\n\
         \x20 warning  others can reach this address, and nothing is encrypted (--tls off)\n"
    );
    let quiet = Report { addresses: sockets(&["127.0.0.1:8080"]), ..report };
    assert!(!quiet.to_string().contains("warning"));
}

#[test]
fn warnings_are_bounded_and_cannot_drive_the_terminal() {
    let mut report = local(Origin::Renewed(Defect::Expiring));
    report.skipped = sockets(&["[::1]:8443"]);
    report.warnings = vec!["odd name \x1b[2J\nfoo".to_owned(); 12];
    let text = report.to_string();
    let warnings: Vec<&str> = text.lines().filter(|line| line.starts_with("  warning")).collect();
    assert_eq!(warnings.len(), 13);
    assert_eq!(
        warnings[..3],
        [
            "  warning  new certificate and authority, because the old one was about to expire; \
             where it was trusted, run sitar trust again",
            "  warning  not listening on [::1]:8443: this machine does not have that address",
            "  warning  odd name \\u{1b}[2J\\nfoo",
        ]
    );
    assert_eq!(warnings[12], "  warning  and 2 more");
}

#[test]
fn the_curl_line_is_for_a_shell() {
    let ca = Path::new("/home/a b/ca.pem");
    assert_eq!(curl(ca, &sockets(&["127.0.0.1:443"])), "curl --cacert '/home/a b/ca.pem' https://localhost/");
    assert_eq!(
        curl(Path::new("/ca.pem"), &sockets(&["[::1]:1"])),
        "curl --cacert /ca.pem https://localhost:1/"
    );
}

#[test]
fn each_engine_says_what_it_is_and_why_not_a_better_one() {
    let spin = Duration::from_millis(1);
    for (engine, expected) in [
        (
            polling(spin, vec![7], 8),
            "io_uring with a polling thread on CPU 7 (no system calls while busy; watches for 1ms before it sleeps)",
        ),
        (
            polling(Duration::from_secs(10), vec![6, 7], 8),
            "io_uring with polling threads on CPUs 6, 7 (no system calls while busy; watches for 10s before it sleeps)",
        ),
        (
            polling(spin, vec![], 8),
            "io_uring with polling threads on any CPU (no system calls while busy; watches for 1ms before it sleeps)",
        ),
        (
            Engine::Epoll(Some(Because {
                why: "kernel 5.15.0\n is older than 6.1".to_owned(),
                remedy: None,
            })),
            "epoll, because kernel 5.15.0\\n is older than 6.1",
        ),
        (
            Engine::Epoll(None),
            "epoll (--engine epoll; where io_uring is allowed, it needs fewer system calls)",
        ),
    ] {
        assert_eq!(Described(&engine).to_string(), expected);
    }
}

#[test]
fn shards_and_pollers_that_share_cores_are_warned_of() {
    let polled = |shards, cores| Report {
        engine: polling(Duration::from_millis(1), vec![], cores),
        shards,
        ..local(Origin::Made)
    };
    let text = polled(2, 3).to_string();
    let warning = "  warning  2 shards with a polling thread each on 3 cores get in each other's way: \
                   they would need 4\n";
    assert!(text.ends_with(warning), "{text}");
    assert!(!polled(2, 4).to_string().contains("warning"));
    assert!(!polled(1, 2).to_string().contains("warning"));
}

#[test]
fn how_changes_are_noticed() {
    let because = |why: &str| why.to_owned();
    let (two, short) = (Duration::from_secs(2), Duration::from_millis(500));
    for (watching, expected) in [
        (
            Watching::Events,
            "on: what changes is served 0.1 s after the last write (--no-watch: only after SIGHUP)",
        ),
        (
            Watching::Both { every: two, why: because("NFS does not tell what is changed from elsewhere") },
            "on: by the kernel's events, and by looking every 2 s or less often, \
             because NFS does not tell what is changed from elsewhere",
        ),
        (
            Watching::Polls { every: short, why: because("--poll says so") },
            "by looking every 500 ms or less often, because --poll says so",
        ),
        (Watching::Off, "off (--no-watch): SIGHUP reads the site again"),
    ] {
        assert_eq!(watching.to_string(), expected);
    }
}

#[test]
fn that_nothing_is_encoded_is_said_with_what_a_pack_would_save() {
    let said = |files, sampled, saved| {
        let unencoded = Some(Unencoded { files, sampled, saved });
        let report = Report { unencoded, ..local(Origin::Made) }.to_string();
        report.lines().find_map(|line| line.strip_prefix("  encoding ")).unwrap().to_owned()
    };
    assert_eq!(said(0, 0, 0), "serving encodes nothing; what lies encoded beside a file is sent for it");
    assert_eq!(
        said(1, 1, 4),
        "serving encodes nothing; 1 file goes out as it is, and sitar pack would save little"
    );
    assert_eq!(
        said(250, 16, 71),
        "serving encodes nothing; 250 files go out as they are; sitar pack would save about 71 % of that \
         (estimated from 16)"
    );
}
