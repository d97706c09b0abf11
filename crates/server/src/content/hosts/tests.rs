use std::sync::Arc;
use std::time::SystemTime;

use sitar_site::{Budget, Hsts, Options, Site};
use sitar_tls::CertificateNames;

use super::*;
use crate::access::gate::{Asker, Gate};
use crate::content::cache::Cache;
use crate::content::inbox::{Inbox, Message};
use crate::content::loader::{Loader, LoaderWorker};
use crate::content::lookup::{Outcome, Served};
use crate::limits::Limits;
use crate::snapshot::{Hosts, LatestSnapshot, Pages};

fn asker() -> Asker {
    Asker { key: sitar_io::Key(1), now: std::time::Instant::now(), is_new: true }
}

/// Sites that tell their names: `/name.txt` holds it.
struct Sites {
    served: Served,
    worker: LoaderWorker,
    inbox: Inbox,
    _folders: Vec<tempfile::TempDir>,
}

fn site(name: &str, folders: &mut Vec<tempfile::TempDir>) -> HostContent {
    let folder = tempfile::tempdir().unwrap();
    let hsts = Some(Hsts::parse("max-age=9").unwrap());
    std::fs::write(folder.path().join("name.txt"), name).unwrap();
    let challenge = folder.path().join(".well-known/acme-challenge");
    std::fs::create_dir_all(&challenge).unwrap();
    std::fs::write(challenge.join("token"), format!("token of {name}")).unwrap();
    let site = Arc::new(Site::open(folder.path(), &Options { hsts, ..Options::default() }).unwrap());
    folders.push(folder);
    HostContent::Site(site)
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

fn redirect(names_: &[&str], to: &str, status: Status) -> Host {
    let content = HostContent::Redirect(HostRedirect { status, to: to.to_owned() });
    Host::new(names(names_), content)
}

impl Sites {
    fn new(build: impl FnOnce(&mut Vec<tempfile::TempDir>) -> Vec<Host>) -> Sites {
        let mut folders = Vec::new();
        let hosts = Hosts::new(build(&mut folders)).unwrap();
        let latest = LatestSnapshot::new(Snapshot::new(hosts, Vec::new(), None, Limits::default()));
        let (inbox, budget) = (Inbox::default(), Budget::new(1 << 20, 1 << 20));
        let report = Arc::new(|_| {});
        let (loader, worker) =
            Loader::new(latest.clone(), budget, vec![inbox.clone()], Arc::new(SystemTime::now), report);
        let cache = Cache::new(&latest.get(), 4, loader, 0);
        Sites {
            served: Served::new(latest.get(), cache, Gate::without_users()),
            worker,
            inbox,
            _folders: folders,
        }
    }

    /// Returns the status, and the content or the Location.
    fn ask(&mut self, origin: &mut Origin, text: &str) -> String {
        let head = sitar_http::h1::parse(text.as_bytes(), &sitar_http::h1::Limits::default());
        let request = head.unwrap().unwrap().request;
        for _ in 0..10 {
            match self.served.look_up(asker(), origin, &request) {
                Outcome::Reply(reply) => {
                    let fields = String::from_utf8(reply.pieces(|pieces| pieces.concat())).unwrap();
                    let code = reply.status.code();
                    if let Some(location) = fields.lines().find_map(|line| line.strip_prefix("Location: ")) {
                        return format!("{code} {location}");
                    }
                    let content = match &reply.body {
                        sitar_site::Body::Memory { region, range } => &region[range.clone()],
                        sitar_site::Body::Static(bytes) => bytes,
                        _ => b"",
                    };
                    return format!("{code} {}", String::from_utf8_lossy(content).trim_end());
                }
                Outcome::Refused(rejection) => return format!("{} refused", rejection.status.code()),
                Outcome::Later => {}
            }
            while self.worker.work_once() {}
            for message in self.inbox.take() {
                let Message::Loaded { file, result, .. } = message else { panic!("no file") };
                // Kept until the next change, failures too.
                self.served.cache.arrived(file, result);
                while self.served.cache.next_waiting(file).is_some() {}
            }
        }
        panic!("asked again and again");
    }
}

fn get(target: &str, host: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n")
}

/// A connection over TLS whose client asked for `server_name`, and was shown these names.
fn tls(server_name: Option<&str>, dns: &[&str]) -> Origin {
    let mut origin = Origin::new(Role::Https);
    let shown = CertificateNames::new(names(dns), vec!["192.0.2.1".parse().unwrap()]);
    origin.learn(server_name.map(Box::from), Some(Arc::new(shown)), None);
    origin
}

fn several() -> Sites {
    Sites::new(|folders| {
        vec![
            Host {
                canonical: Some("a.example".to_owned()),
                ..Host::new(names(&["a.example", "www.a.example", "*.a.example"]), site("a", folders))
            },
            Host::new(names(&["b.example", "192.0.2.1", "[2001:db8::1]"]), site("b", folders)),
            Host::new(names(&["*.wild.example"]), site("wild", folders)),
            redirect(&["old.example"], "https://new.example", Status::PERMANENT_REDIRECT),
            redirect(&["gone.example"], "https://new.example/moved?from=gone", Status::FOUND),
            Host::new(names(&["down.example"]), HostContent::Unavailable),
        ]
    })
}

#[test]
fn a_request_is_answered_by_the_host_that_its_connection_is_good_for() {
    let mut sites = several();
    let shared = &["a.example", "*.a.example", "b.example", "old.example"][..];
    for (server_name, host, expected) in [
        // As the handshake.
        (Some("a.example"), "a.example", "200 a"),
        (Some("a.example"), "A.Example:8443", "200 a"),
        (Some("a.example"), "a.example.", "200 a"),
        // Another name that the certificate covers: one connection for both.
        (Some("a.example"), "b.example", "200 b"),
        (Some("b.example"), "a.example:443", "200 a"),
        (Some("a.example"), "192.0.2.1", "200 b"),
        // One that it does not cover.
        (Some("a.example"), "x.wild.example", "421 refused"),
        (Some("a.example"), "down.example", "421 refused"),
        (Some("a.example"), "nowhere.example", "421 refused"),
        (Some("a.example"), "[2001:db8::1]", "421 refused"),
        (Some("a.example"), "192.0.2.2", "421 refused"),
        (Some("a.example"), "x.y.a.example", "421 refused"),
        // As the handshake, though the certificate does not cover it: the client judges that.
        (Some("x.wild.example"), "x.wild.example", "200 wild"),
        (Some("x.wild.example"), "X.WILD.example", "200 wild"),
        (Some("x.wild.example"), "y.wild.example", "421 refused"),
        (Some("nowhere.example"), "nowhere.example", "404 refused"),
        // Without a name in the handshake, any.
        (None, "b.example", "200 b"),
        (None, "y.wild.example:1", "200 wild"),
        (None, "[2001:db8::1]:443", "200 b"),
        (None, "wild.example", "404 refused"),
        (None, "", "404 refused"),
        // Names that lead elsewhere.
        (Some("a.example"), "www.a.example", "308 https://a.example/name.txt"),
        (Some("a.example"), "x.a.example:8443", "308 https://a.example:8443/name.txt"),
        (None, "old.example", "308 https://new.example/name.txt"),
        (None, "gone.example", "302 https://new.example/moved?from=gone"),
        (None, "down.example", "503 503 Service Unavailable: this site cannot be served at the moment"),
    ] {
        let mut origin = tls(server_name, shared);
        // The second time from what is kept with the connection.
        for _ in 0..2 {
            let text = get("/name.txt", host);
            assert_eq!(sites.ask(&mut origin, &text), expected, "{server_name:?} {host}");
        }
    }
}

#[test]
fn a_host_that_was_found_is_found_again_only_for_the_same_name() {
    let mut sites = several();
    for mut origin in [tls(Some("b.example"), &["*.example"]), tls(None, &[]), Origin::new(Role::Http)] {
        for (host, expected) in [
            ("b.example", "200 b"),
            ("b.example:80", "200 b"),
            ("a.example", "200 a"),
            ("b.example", "200 b"),
            ("b.example.", "200 b"),
            ("B.example", "200 b"),
            ("a.example", "200 a"),
        ] {
            assert_eq!(sites.ask(&mut origin, &get("/name.txt", host)), expected, "{host}");
        }
        let longer = sites.ask(&mut origin, &get("/name.txt", "a.examplex"));
        assert!(longer == "404 refused" || longer == "421 refused", "{longer}");
    }
}

#[test]
fn a_request_without_a_host_is_for_the_handshakes() {
    let mut sites = several();
    let old = "GET /name.txt HTTP/1.0\r\n\r\n";
    assert_eq!(sites.ask(&mut tls(Some("b.example"), &["b.example"]), old), "200 b");
    assert_eq!(sites.ask(&mut tls(Some("a.example"), &["a.example"]), old), "200 a");
    assert_eq!(sites.ask(&mut tls(None, &[]), old), "404 refused");
    assert_eq!(sites.ask(&mut Origin::new(Role::Http), old), "404 refused");
    // Host is the target's where that is absolute (RFC 9112 §3.2.2).
    let absolute = "GET https://b.example/name.txt HTTP/1.1\r\nHost: a.example\r\n\r\n";
    assert_eq!(sites.ask(&mut tls(None, &[]), absolute), "200 b");
    let mut default = Sites::new(|folders| {
        let rest = Host { is_default: true, ..Host::new(Vec::new(), site("rest", folders)) };
        vec![Host::new(names(&["a.example"]), site("a", folders)), rest]
    });
    assert_eq!(default.ask(&mut tls(None, &[]), old), "200 rest");
    assert_eq!(default.ask(&mut tls(Some("c.example"), &[]), old), "200 rest");
    assert_eq!(default.ask(&mut tls(Some("c.example"), &[]), &get("/name.txt", "c.example")), "200 rest");
    assert_eq!(default.ask(&mut tls(Some("a.example"), &[]), &get("/name.txt", "c.example")), "421 refused");
}

#[test]
fn plain_listeners_redirect_and_let_challenges_through() {
    let mut sites = several();
    let to = |port| Origin::new(Role::RedirectToHttps { port });
    for (port, target, host, expected) in [
        (443, "/name.txt", "a.example", "308 https://a.example/name.txt"),
        (443, "/x?y=z", "WWW.a.example:80", "308 https://WWW.a.example/x?y=z"),
        (443, "//evil.example/", "b.example", "308 https://b.example//evil.example/"),
        (8443, "/", "b.example:8080", "308 https://b.example:8443/"),
        (443, "/", "[2001:db8::1]:80", "308 https://[2001:db8::1]/"),
        (443, "/", "old.example", "308 https://old.example/"),
        (443, "/", "down.example", "308 https://down.example/"),
        // No host of ours: no client is sent anywhere.
        (443, "/", "nowhere.example", "404 refused"),
        (443, "/.well-known/acme-challenge/token", "a.example", "200 token of a"),
        // The authority asks for each name on its own (RFC 8555 §8.3).
        (443, "/.well-known/acme-challenge/token", "www.a.example", "200 token of a"),
        (443, "/.well-known/acme-challenge/none", "b.example", "404 404 Not Found"),
        (443, "/.well-known/other", "a.example", "308 https://a.example/.well-known/other"),
        (
            443,
            "/.well-known/acme-challenge/token",
            "old.example",
            "308 https://new.example/.well-known/acme-challenge/token",
        ),
    ] {
        for _ in 0..2 {
            assert_eq!(sites.ask(&mut to(port), &get(target, host)), expected, "{host} {target}");
        }
    }
    // What only begins like a challenge is none: it could lead to any file.
    for rest in ["", ".", "..", "../../name.txt", "%2e%2e/%2e%2e/name.txt", "a/token", "token/", "%74oken"] {
        let path = format!("/.well-known/acme-challenge/{rest}");
        let expected = format!("308 https://a.example{path}");
        assert_eq!(sites.ask(&mut to(443), &get(&path, "a.example")), expected);
    }
    let star = "OPTIONS * HTTP/1.1\r\nHost: a.example\r\n\r\n";
    assert_eq!(sites.ask(&mut to(443), star), "308 https://a.example/");
    let post = "POST /form HTTP/1.1\r\nHost: a.example\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(sites.ask(&mut to(443), post), "308 https://a.example/form");
    assert_eq!(
        sites.ask(&mut to(443), &get(&format!("/{}", "x".repeat(1100)), "a.example")),
        "414 414 URI Too Long: to be redirected"
    );
    // Before a proxy the scheme is not known.
    let mut proxied = Origin::new(Role::Http);
    assert_eq!(sites.ask(&mut proxied, &get("/x?y", "www.a.example")), "308 //a.example/x?y");
    assert_eq!(sites.ask(&mut proxied, &get("/name.txt", "a.example")), "200 a");
    // A challenge changes nothing for what comes behind it on the same connection.
    for _ in 0..2 {
        let challenge = get("/.well-known/acme-challenge/token", "www.a.example");
        assert_eq!(sites.ask(&mut proxied, &challenge), "200 token of a");
        assert_eq!(sites.ask(&mut proxied, &get("/x", "www.a.example")), "308 //a.example/x");
        let mut redirecting = to(443);
        assert_eq!(sites.ask(&mut redirecting, &challenge), "200 token of a");
        assert_eq!(sites.ask(&mut redirecting, &get("/x", "www.a.example")), "308 https://www.a.example/x");
    }
    // One site for every name.
    let mut one =
        Sites::new(|folders| vec![Host { is_default: true, ..Host::new(Vec::new(), site("one", folders)) }]);
    assert_eq!(one.ask(&mut to(443), &get("/x", "any.example:80")), "308 https://any.example/x");
    assert_eq!(
        one.ask(&mut to(443), &get("/.well-known/acme-challenge/token", "any.example")),
        "200 token of one"
    );
    assert_eq!(one.ask(&mut to(443), "GET / HTTP/1.0\r\n\r\n"), "400 refused");
    assert_eq!(one.ask(&mut tls(None, &[]), &get("/name.txt", "any.example")), "200 one");
}

#[test]
fn pages_and_redirects_carry_the_operators_words() {
    let page = |status, text: &[u8], hsts| Some(Arc::new(Page::html(status, text, hsts).unwrap()));
    let hsts = Hsts::parse("max-age=5").unwrap();
    let mut sites = Sites::new(|folders| {
        let unavailable = page(Status::SERVICE_UNAVAILABLE, b"<h1>soon</h1>", Some(&hsts));
        let error = page(Status::INTERNAL_SERVER_ERROR, b"<h1>sorry</h1>", None);
        vec![
            Host {
                hsts: Some(hsts.clone()),
                pages: Pages { error: None, unavailable },
                ..Host::new(names(&["down.example"]), HostContent::Unavailable)
            },
            Host {
                hsts: Some(hsts.clone()),
                pages: Pages { error, unavailable: None },
                canonical: Some("a.example".to_owned()),
                ..Host::new(names(&["a.example", "www.a.example"]), site("a", folders))
            },
            Host {
                hsts: Some(hsts.clone()),
                ..redirect(&["old.example"], "https://new.example", Status::PERMANENT_REDIRECT)
            },
        ]
    });
    assert_eq!(sites.ask(&mut tls(None, &[]), &get("/", "down.example")), "503 <h1>soon</h1>");
    let folder = sites._folders[0].path().to_owned();
    let mut fields = |mut origin: Origin, target: &str, host: &str| {
        // Loaded first.
        sites.ask(&mut origin, &get(target, host));
        let text = get(target, host);
        let head = sitar_http::h1::parse(text.as_bytes(), &sitar_http::h1::Limits::default());
        let request = head.unwrap().unwrap().request;
        let Outcome::Reply(reply) = sites.served.look_up(asker(), &mut origin, &request) else {
            panic!("{host}")
        };
        String::from_utf8(reply.pieces(|pieces| pieces.concat())).unwrap()
    };
    for host in ["down.example", "www.a.example", "old.example"] {
        assert!(
            fields(tls(None, &[]), "/name.txt", host).contains("Strict-Transport-Security: max-age=5\r\n"),
            "{host}"
        );
    }
    assert!(fields(tls(None, &[]), "/", "down.example").contains("Retry-After: 30\r\n"));
    // RFC 6797 §7.2: never over plain HTTP.
    let plain = || Origin::new(Role::RedirectToHttps { port: 443 });
    assert!(!fields(plain(), "/name.txt", "www.a.example").contains("Strict"));
    let challenge = "/.well-known/acme-challenge/token";
    for host in ["down.example", "old.example"] {
        assert!(!fields(plain(), challenge, host).contains("Strict"), "{host}");
    }
    let lines = fields(plain(), challenge, "a.example");
    let over_tls = fields(tls(None, &[]), challenge, "a.example");
    assert!(!lines.contains("Strict") && over_tls.contains("Strict-Transport-Security: max-age=9\r\n"));
    let sorted = |lines: &str| {
        let mut lines: Vec<String> = lines.lines().map(str::to_owned).collect();
        lines.sort();
        lines.retain(|line| !line.starts_with("Strict"));
        lines
    };
    assert_eq!(sorted(&lines), sorted(&over_tls), "nothing else is lost");
    assert!(!fields(plain(), "/.well-known/acme-challenge/none", "a.example").contains("Strict"));
    // A file that cannot be read.
    std::fs::remove_file(folder.join("name.txt")).unwrap();
    std::os::unix::fs::symlink("/proc/self/mem", folder.join("name.txt")).unwrap();
    assert_eq!(sites.ask(&mut tls(None, &[]), &get("/name.txt", "a.example")), "500 <h1>sorry</h1>");
}

/// Certificates for clients that nothing else has.
fn client_ca() -> sitar_tls::ClientCa {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(names(&["ca"])).unwrap().self_signed(&key).unwrap();
    sitar_tls::ClientCa::from_pem(certificate.pem().as_bytes()).unwrap()
}

#[test]
fn a_site_whose_clients_need_a_certificate_answers_no_others() {
    let (ca, other) = (client_ca(), client_ca());
    let certified = |server_name: Option<&str>, by: Option<&sitar_tls::ClientCa>| {
        let mut origin = tls(server_name, &["a.example", "b.example"]);
        let shown = CertificateNames::new(names(&["a.example", "b.example"]), Vec::new());
        origin.learn(server_name.map(Box::from), Some(Arc::new(shown)), by.cloned());
        origin
    };
    let closed = |names_: &[&str], is_default, folders: &mut Vec<_>| Host {
        client_ca: Some(ca.clone()),
        is_default,
        ..Host::new(names(names_), site("closed", folders))
    };
    let mut sites = Sites::new(|folders| {
        vec![
            closed(&["a.example"], false, folders),
            Host::new(names(&["b.example"]), site("b", folders)),
            Host {
                client_ca: Some(ca.clone()),
                ..redirect(&["old.example"], "https://new.example", Status::FOUND)
            },
        ]
    });
    let (a, b) = (get("/name.txt", "a.example"), get("/name.txt", "b.example"));
    for (by, expected) in [(Some(&ca), "200 closed"), (Some(&other), "421 refused"), (None, "421 refused")] {
        for server_name in [Some("a.example"), Some("b.example"), None] {
            let mut origin = certified(server_name, by);
            // What another request has led to changes nothing.
            for _ in 0..2 {
                assert_eq!(sites.ask(&mut origin, &a), expected, "{server_name:?}");
                assert_eq!(sites.ask(&mut origin, &b), "200 b");
            }
        }
    }
    assert_eq!(sites.ask(&mut certified(None, None), &get("/", "old.example")), "421 refused");
    assert_eq!(
        sites.ask(&mut certified(None, Some(&ca)), &get("/", "old.example")),
        "302 https://new.example/"
    );
    // Without TLS there are redirects to it, and challenges beside them.
    let challenge = get("/.well-known/acme-challenge/token", "a.example");
    let mut plain = Origin::new(Role::RedirectToHttps { port: 443 });
    assert_eq!(sites.ask(&mut plain, &challenge), "200 token of closed");
    assert_eq!(sites.ask(&mut plain, &a), "308 https://a.example/name.txt");
    assert_eq!(sites.ask(&mut Origin::new(Role::Http), &a), "421 refused");
    assert_eq!(sites.ask(&mut Origin::new(Role::Http), &challenge), "421 refused");
    // One site for every name.
    let mut alone = Sites::new(|folders| vec![closed(&[], true, folders)]);
    assert!(alone.served.has_names(), "what the handshake tells is kept");
    assert_eq!(alone.ask(&mut certified(None, Some(&ca)), &a), "200 closed");
    assert_eq!(alone.ask(&mut certified(Some("a.example"), None), &a), "421 refused");
}

#[test]
fn a_challenge_of_a_site_for_some_shows_no_other_file() {
    let access = |deny: &[&str]| {
        let deny = deny.iter().map(|text| crate::Network::parse(text).unwrap()).collect();
        Some(Arc::new(crate::Access { deny, ..crate::Access::default() }))
    };
    let mut sites = Sites::new(|folders| {
        // One shows a page wherever there is no file, as applications in a browser do.
        let app = site("app", folders);
        let folder = folders.last().unwrap().path();
        std::fs::write(folder.join("_redirects"), "/* /name.txt 200\n").unwrap();
        let app = match app {
            HostContent::Site(_) => {
                HostContent::Site(Arc::new(Site::open(folder, &Options::default()).unwrap()))
            }
            other => other,
        };
        let paged = tempfile::tempdir().unwrap();
        std::fs::write(paged.path().join("404.html"), "secret").unwrap();
        let page = HostContent::Site(Arc::new(Site::open(paged.path(), &Options::default()).unwrap()));
        folders.push(paged);
        vec![
            Host { access: access(&["192.0.2.0/24"]), ..Host::new(names(&["denied.example"]), app.clone()) },
            Host { client_ca: Some(client_ca()), ..Host::new(names(&["closed.example"]), app.clone()) },
            Host { client_ca: Some(client_ca()), ..Host::new(names(&["page.example"]), page) },
            Host { access: access(&[]), ..Host::new(names(&["open.example"]), app) },
        ]
    });
    let mut ask = |host: &str, name: &str| {
        let mut origin = Origin::new(Role::RedirectToHttps { port: 443 });
        origin.set_peer(crate::Peer::Ip("192.0.2.1".parse().unwrap()));
        sites.ask(&mut origin, &get(&format!("/.well-known/acme-challenge/{name}"), host))
    };
    for host in ["denied.example", "closed.example"] {
        assert_eq!(ask(host, "token"), "200 token of app", "{host}");
        assert_eq!(ask(host, "other"), "404 refused", "{host}");
    }
    assert_eq!(ask("page.example", "other"), "404 refused");
    assert_eq!(ask("open.example", "other"), "200 app");
}

#[test]
fn another_rate_counts_from_the_beginning() {
    let mut folders = Vec::new();
    let content = site("a", &mut folders);
    let limited = |count, seconds| {
        let rate = crate::Rate::new(count, std::time::Duration::from_secs(seconds), 1).unwrap();
        let limit = Some(crate::Limit::new(rate, None).unwrap());
        let access = Some(Arc::new(crate::Access { limit, ..crate::Access::default() }));
        Host { access, ..Host::new(names(&["a.example"]), content.clone()) }
    };
    let mut sites = Sites::new(|_| vec![limited(1, 3600)]);
    let mut origin = tls(None, &[]);
    origin.set_peer(crate::Peer::Ip("192.0.2.1".parse().unwrap()));
    let mut ask = |sites: &mut Sites| {
        let answer = sites.ask(&mut origin, &get("/none", "a.example"));
        answer.split(' ').next().map(str::to_owned).unwrap()
    };
    assert_eq!((ask(&mut sites), ask(&mut sites)), ("404".to_owned(), "429".to_owned()));
    let hosts = Hosts::new(vec![limited(1000, 1)]).unwrap();
    sites.served.replace(Arc::new(Snapshot::new(hosts, Vec::new(), None, Limits::default())));
    assert_eq!(ask(&mut sites), "404");
}

/// Statuses of one request after another, each with such lines and from such a peer, where two may
/// be sent in an hour.
fn limited(trusted: &[&str], asked: &[(crate::Peer, &str)]) -> Vec<String> {
    let rate = crate::Rate::new(2, std::time::Duration::from_secs(3600), 2).unwrap();
    let access = crate::Access {
        limit: Some(crate::Limit::new(rate, None).unwrap()),
        deny: [crate::Network::parse("192.0.2.66").unwrap()].into_iter().collect(),
        trusted_proxies: Arc::new(trusted.iter().map(|text| crate::Network::parse(text).unwrap()).collect()),
        ..crate::Access::default()
    };
    let access = Some(Arc::new(access));
    let mut sites =
        Sites::new(|folders| vec![Host { access, ..Host::new(names(&["a.example"]), site("a", folders)) }]);
    let ask = |(peer, lines): &(crate::Peer, &str)| {
        let mut origin = tls(None, &[]);
        origin.set_peer(*peer);
        let text = format!("GET /none HTTP/1.1\r\nHost: a.example\r\n{lines}\r\n");
        sites.ask(&mut origin, &text).split(' ').next().map(str::to_owned).unwrap()
    };
    asked.iter().map(ask).collect()
}

#[test]
fn a_rate_counts_the_client_that_a_trusted_proxy_names() {
    let at = |text: &str| crate::Peer::Ip(text.parse().unwrap());
    let (proxy, unix) = (at("10.0.0.1"), crate::Peer::Unix);
    let (one, other) = ("X-Forwarded-For: 192.0.2.1\r\n", "X-Forwarded-For: 192.0.2.2\r\n");
    for trusted in [proxy, unix] {
        let asked = [
            (trusted, one),
            (trusted, "Forwarded: for=203.0.113.5, for=192.0.2.1, for=\"10.0.0.2:80\"\r\n"),
            (trusted, one),
            (trusted, other),
            (at("192.0.2.2"), one),
            (at("192.0.2.2"), one),
        ];
        let statuses = limited(&["10.0.0.0/8", "unix"], &asked);
        assert_eq!(statuses, ["404", "404", "429", "404", "404", "429"], "{trusted:?}");
    }
    // Nothing that a proxy could have written names a client: its own address counts.
    let bad = ["", "X-Forwarded-For: unknown\r\n", "Forwarded: for=\"\r\n"].map(|lines| (proxy, lines));
    assert_eq!(limited(&["10.0.0.1"], &bad), ["404", "404", "429"]);
    // One on a Unix socket has none.
    assert_eq!(limited(&["unix"], &bad.map(|(_, lines)| (unix, lines))), ["404"; 3]);
    // What its clients add to the field that it writes does not free them from the limit.
    let both = [1, 2, 3].map(|last| format!("{other}Forwarded: for=198.51.100.{last}\r\n"));
    let both = both.each_ref().map(|lines| (unix, lines.as_str()));
    assert_eq!(limited(&["unix"], &both), ["404", "404", "429"]);
    assert_eq!(limited(&["10.0.0.1"], &both), ["404"; 3], "it is not trusted, and has none");
    // The peer is not trusted, and neither is anyone.
    for trusted in [&["10.0.0.2", "unix"][..], &[]] {
        let asked = [(proxy, one), (proxy, other), (proxy, "Forwarded: for=192.0.2.3\r\n")];
        assert_eq!(limited(trusted, &asked), ["404", "404", "429"], "{trusted:?}");
    }
}

#[test]
fn networks_are_those_of_the_peer_whatever_a_trusted_proxy_says() {
    let at = |text: &str| crate::Peer::Ip(text.parse().unwrap());
    let asked = [
        (at("10.0.0.1"), "X-Forwarded-For: 192.0.2.66\r\n"),
        (at("192.0.2.66"), "X-Forwarded-For: 192.0.2.1\r\n"),
    ];
    assert_eq!(limited(&["10.0.0.1", "192.0.2.66"], &asked), ["404", "403"]);
}

/// Requests of authorities, for files of challenges.
fn challenge(token: &str, host: &str) -> String {
    get(&format!("/.well-known/acme-challenge/{token}"), host)
}

impl Sites {
    /// Has these files of challenges be pending: host, token, content.
    fn pend(&mut self, all: &[(&str, &str, &str)]) {
        let mut challenges = crate::Challenges::default();
        for (host, token, content) in all {
            challenges.add_file(host, token, content).unwrap();
        }
        let next = Snapshot { challenges: Arc::new(challenges), ..(*self.served.snapshot).clone() };
        self.served.replace(Arc::new(next));
    }
}

#[test]
fn the_file_of_a_pending_challenge_comes_before_every_host() {
    let access = |text: &str| {
        let deny = [crate::Network::parse(text).unwrap()].into_iter().collect();
        Some(Arc::new(crate::Access { deny, ..crate::Access::default() }))
    };
    let mut sites = Sites::new(|folders| {
        vec![
            Host {
                canonical: Some("a.example".to_owned()),
                ..Host::new(names(&["a.example", "www.a.example"]), site("a", folders))
            },
            Host::new(names(&["b.example", "192.0.2.1", "[2001:db8::1]"]), site("b", folders)),
            redirect(&["old.example"], "https://new.example", Status::PERMANENT_REDIRECT),
            Host::new(names(&["down.example"]), HostContent::Unavailable),
            Host {
                client_ca: Some(client_ca()),
                ..Host::new(names(&["closed.example"]), site("c", folders))
            },
            Host { access: access("0.0.0.0/0"), ..Host::new(names(&["denied.example"]), site("d", folders)) },
        ]
    });
    let hosts = [
        "a.example",
        "WWW.a.example",
        "b.example.",
        "192.0.2.1:5002",
        "[2001:DB8::1]:80",
        "old.example",
        "down.example",
        "closed.example:443",
        "denied.example",
        "unknown.example",
    ];
    let all = [
        ("a.example", "token", "of a"),
        ("www.a.example", "token", "of www"),
        ("b.example", "token", "of b"),
        ("192.0.2.1", "token", "of the first address"),
        ("2001:db8::1", "token", "of the second address"),
        ("old.example", "token", "of old"),
        ("down.example", "token", "of down"),
        ("closed.example", "token", "of closed"),
        ("denied.example", "token", "of denied"),
        ("unknown.example", "token", "of unknown"),
        ("old.example", "single", "of old, too"),
    ];
    let origins: [fn() -> Origin; 4] = [
        || Origin::new(Role::RedirectToHttps { port: 443 }),
        || Origin::new(Role::Http),
        || tls(None, &[]),
        // Opened for another host, whose certificate names no other.
        || tls(Some("elsewhere.example"), &["elsewhere.example"]),
    ];
    let before = |sites: &mut Sites, origin: fn() -> Origin| {
        hosts.map(|host| {
            let mut origin = origin();
            origin.set_peer(crate::Peer::Ip("203.0.113.9".parse().unwrap()));
            [
                sites.ask(&mut origin, &challenge("token", host)),
                sites.ask(&mut origin, &get("/name.txt", host)),
            ]
        })
    };
    for origin in origins {
        let were = before(&mut sites, origin);
        sites.pend(&all);
        for (host, (_, _, expected)) in hosts.into_iter().zip(all) {
            // The peer is not known, which others are refused for here.
            assert_eq!(sites.ask(&mut origin(), &challenge("token", host)), format!("200 {expected}"));
            let answer = sites.ask(&mut origin(), &get("/name.txt", host));
            assert_eq!(answer, "403 refused", "{host}");
        }
        // For another token, another method or another host nothing is changed.
        for host in ["a.example", "denied.example", "elsewhere.example"] {
            assert!(!sites.ask(&mut origin(), &challenge("single", host)).starts_with("200"));
        }
        let post = challenge("token", "a.example").replace("GET", "POST");
        assert!(!sites.ask(&mut origin(), &post).starts_with("200"));
        let head = challenge("token", "a.example").replace("GET", "HEAD");
        assert_eq!(sites.ask(&mut origin(), &head), "200 ");
        for (token, expected) in [("single", "200 of old, too"), ("none", "403 refused")] {
            let text = format!("GET /.well-known/acme-challenge/{token} HTTP/1.0\r\n\r\n");
            assert_eq!(sites.ask(&mut origin(), &text), expected);
        }
        sites.pend(&[]);
        assert_eq!(before(&mut sites, origin), were);
    }
}

#[test]
fn the_file_of_a_pending_challenge_comes_before_the_only_site() {
    let mut sites =
        Sites::new(|folders| vec![Host { is_default: true, ..Host::new(Vec::new(), site("only", folders)) }]);
    assert!(!sites.served.has_names());
    for role in [Role::Http, Role::Https, Role::RedirectToHttps { port: 443 }] {
        let mut origin = Origin::new(role);
        let own = sites.ask(&mut origin, &challenge("token", "a.example"));
        let site = sites.ask(&mut origin, &get("/name.txt", "a.example"));
        sites.pend(&[("a.example", "token", "pending"), ("a.example", "new", "pending")]);
        assert!(!sites.served.has_names(), "a connection is opened for nothing else than before");
        assert_eq!(sites.ask(&mut origin, &challenge("token", "a.example")), "200 pending");
        assert_eq!(sites.ask(&mut origin, &challenge("new", "A.example:80")), "200 pending");
        assert_eq!(sites.ask(&mut origin, &challenge("token", "b.example")), own.replace("a.ex", "b.ex"));
        assert_eq!(sites.ask(&mut origin, &get("/name.txt", "a.example")), site);
        sites.pend(&[]);
        assert_eq!(sites.ask(&mut origin, &challenge("token", "a.example")), own);
    }
}

#[test]
fn a_challenge_is_no_answer_of_a_site() {
    let mut sites = several();
    let mut origin = Origin::new(Role::Http);
    assert_eq!(sites.ask(&mut origin, &get("/name.txt", "b.example")), "200 b");
    let of_site = origin.labels();
    sites.pend(&[("b.example", "new", "pending")]);
    assert_eq!(sites.ask(&mut origin, &challenge("new", "b.example")), "200 pending");
    assert!(origin.labels() != of_site);
    assert_eq!(sites.ask(&mut origin, &get("/name.txt", "b.example")), "200 b");
    assert!(origin.labels() == of_site);
}
