use super::*;
use std::time::Duration;

use sitar_site::Options;

fn site() -> Arc<Site> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("index.html"), "a page").unwrap();
    Arc::new(Site::open(folder.path(), &Options::default()).unwrap())
}

fn host(names: &[&str], is_default: bool) -> Host {
    let names = names.iter().map(|&name| name.to_owned()).collect();
    Host { is_default, ..Host::new(names, HostContent::Site(site())) }
}

/// The first name of the host that `authority` leads to.
fn found<'h>(hosts: &'h Hosts, authority: &str) -> Option<&'h str> {
    let id = hosts.find(Some(authority.as_bytes()))?;
    Some(&hosts.get(id).unwrap().names[0])
}

#[test]
fn one_site_answers_to_every_name() {
    let hosts = Hosts::one(site());
    for authority in [None, Some(&b"example.com"[..]), Some(b"[::1]:8443"), Some(b"")] {
        assert_eq!(hosts.find(authority).map(HostId::index), Some(0));
    }
}

#[test]
fn names_are_found_exactly_then_by_wildcard_then_the_default() {
    let sites = vec![
        host(&["example.com", "www.example.com"], false),
        host(&["*.example.com"], false),
        host(&["b.example", "xn--bcher-kva.example"], false),
        host(&["default.example"], true),
    ];
    let hosts = Hosts::new(sites.clone()).unwrap();
    for (authority, expected) in [
        ("example.com", "example.com"),
        ("EXAMPLE.com:443", "example.com"),
        ("example.com.", "example.com"),
        ("example.com.:8443", "example.com"),
        ("www.example.com", "example.com"),
        ("a.example.com", "*.example.com"),
        ("A.Example.Com", "*.example.com"),
        // A wildcard is one label (RFC 6125 §6.4.3), not two and not none.
        ("a.b.example.com", "default.example"),
        (".example.com", "default.example"),
        ("*.example.com", "*.example.com"),
        ("b.example", "b.example"),
        ("bb.example", "default.example"),
        ("xn--bcher-kva.example", "b.example"),
        ("com", "default.example"),
        ("[::1]", "default.example"),
        ("127.0.0.1:80", "default.example"),
        ("", "default.example"),
        (":80", "default.example"),
        (".", "default.example"),
    ] {
        assert_eq!(found(&hosts, authority), Some(expected), "{authority}");
    }
    assert_eq!(found(&hosts, &format!("{}.example.com", "a".repeat(242))), Some("default.example"));
    assert_eq!(found(&hosts, &"a".repeat(300)), Some("default.example"));
    assert_eq!(hosts.find(None).map(HostId::index), Some(3));
    // Without a default, a name that no site has leads nowhere.
    let without = Hosts::new(sites[..3].to_vec()).unwrap();
    assert_eq!(found(&without, "c.example"), None);
    assert_eq!(without.find(None), None);
    assert_eq!(found(&without, "b.example"), Some("b.example"));
}

#[test]
fn hosts_that_contradict_each_other_are_refused() {
    let error = |hosts: Vec<Host>| Hosts::new(hosts).err().expect("an error").to_string();
    assert_eq!(error(Vec::new()), "0 hosts: between 1 and 4096 can be served");
    assert_eq!(
        error(vec![host(&["a.example"], false); 4097]),
        "4097 hosts: between 1 and 4096 can be served"
    );
    assert_eq!(
        error(vec![host(&["a.example"], false), host(&["b.example", "a.example"], false)]),
        "two sites are named 'a.example'"
    );
    assert_eq!(
        error(vec![host(&["a.example"], true), host(&["b.example"], true)]),
        "two sites are the default"
    );
    let long = "a".repeat(64);
    let names = [
        "",
        "A.example",
        "a.example:443",
        "a..b",
        ".a",
        "a.",
        "*.",
        "*",
        "a.*.b",
        "b\u{fc}cher.example",
        "a b",
        &long,
    ];
    for name in names {
        let said = error(vec![host(&[name], false)]);
        assert!(
            said.ends_with("is not a host name in lower case, without a port, or *. before one"),
            "{said}"
        );
    }
}

#[test]
fn a_change_keeps_sizes_and_listeners_go_with_certificates() {
    let listeners = |role| {
        let socket = || std::fs::File::open("/dev/null").unwrap().into();
        let both: Vec<Listener> = vec![Listener::new(role, vec![socket(), socket()])];
        both
    };
    let first = Snapshot::new(Hosts::one(site()), listeners(Role::Http), None, Limits::default());
    let mut next = first.clone();
    next.limits.idle = Duration::from_secs(7);
    next.limits.connections = 3;
    next.limits.tx_buffers = 3;
    let next = next.after(&first).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(next.limits.idle, Duration::from_secs(7));
    assert_eq!((next.limits.connections, next.limits.tx_buffers), (8192, 512));

    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (chain, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let identity = sitar_tls::Identity::from_pem(chain.as_bytes(), key.as_bytes()).unwrap();
    let tls = sitar_tls::Config::new(vec![identity], &[]).unwrap();
    // Certificates and listeners that need them come and go together.
    let sealed = Snapshot { tls: Some(tls), ..first.clone() };
    assert_eq!(sealed.clone().after(&first).err(), Some(ChangeError::Encryption));
    let sealed = Snapshot { listeners: listeners(Role::Https).into(), ..sealed };
    assert!(sealed.clone().after(&first).is_ok());
    assert!(sealed.clone().after(&sealed).is_ok());
    assert!(first.clone().after(&sealed).is_ok());
    let bare = Snapshot { tls: None, ..sealed.clone() };
    assert_eq!(bare.after(&sealed).err(), Some(ChangeError::Encryption));
    // A listener for each of two shards, and none for one of them.
    let one = Listener::new(Role::Http, vec![std::fs::File::open("/dev/null").unwrap().into()]);
    for listeners in [vec![one], Vec::new()] {
        let next = Snapshot { listeners: listeners.into(), ..first.clone() };
        assert_eq!(next.after(&first).err(), Some(ChangeError::Listeners));
    }
}

/// Each host that dates prove nothing for, by its first name, or `-`.
fn taking_over(next: Vec<Host>, last: Vec<Host>) -> Vec<String> {
    let (next, last) = (Hosts::new(next).unwrap(), Hosts::new(last).unwrap());
    let name = |host: &Host| host.names.first().map_or("-", String::as_str).to_owned();
    next.taking_over(&last).into_iter().map(|id| name(next.get(id).unwrap())).collect()
}

#[test]
fn a_site_takes_over_where_another_one_was_before() {
    let [a, b, rest] = [host(&["a.example"], false), host(&["b.example"], false), host(&[], true)];
    let named = |names: &[&str], host: &Host| Host {
        names: names.iter().map(|&name| name.to_owned()).collect(),
        ..host.clone()
    };
    let none: [String; 0] = [];
    let all = || vec![a.clone(), b.clone(), rest.clone()];
    assert_eq!(taking_over(all(), all()), none);
    assert_eq!(taking_over(vec![a.clone()], vec![b.clone()]), ["a.example"], "nothing was there");
    assert_eq!(taking_over(vec![rest.clone(), b.clone(), a.clone()], all()), none, "another order");
    // Another site, or the site of another name.
    assert_eq!(taking_over(vec![host(&["a.example"], false), b.clone(), rest.clone()], all()), ["a.example"]);
    let exchanged = vec![named(&["b.example"], &a), named(&["a.example"], &b), rest.clone()];
    assert_eq!(taking_over(exchanged, all()), ["b.example", "a.example"]);
    // One more name, which was the default's, and one less, which is the default's now.
    let more = named(&["a.example", "www.example"], &a);
    assert_eq!(taking_over(vec![more.clone(), b.clone(), rest.clone()], all()), ["a.example"]);
    assert_eq!(taking_over(all(), vec![more, b.clone(), rest.clone()]), ["-"]);
    assert_eq!(taking_over(vec![a.clone(), rest.clone()], all()), ["-"]);
    // A name out of a wildcard, and back.
    let wild = named(&["*.example"], &b);
    assert_eq!(taking_over(vec![a.clone(), wild.clone()], vec![wild.clone()]), ["a.example"]);
    assert_eq!(taking_over(vec![wild.clone()], vec![a.clone(), wild]), ["*.example"]);
    // Another default; under its new name the former one was found before, too.
    let other = Host { is_default: true, ..b.clone() };
    let former = Host { is_default: false, ..named(&["c.example"], &rest) };
    assert_eq!(taking_over(vec![a.clone(), other, former], all()), ["b.example"]);
}

#[test]
fn what_is_known_of_a_host_goes_to_the_one_that_has_all_its_names_from_it() {
    let named = |names: &[&str]| host(names, false);
    let successors = |next: Vec<Host>, last: Vec<Host>| {
        let (next, last) = (Hosts::new(next).unwrap(), Hosts::new(last).unwrap());
        let pairs = next.successors(&last).into_iter();
        pairs.map(|(host, before)| (host.index(), before.index())).collect::<Vec<_>>()
    };
    let one = || vec![host(&[], true)];
    assert_eq!(successors(one(), one()), [(0, 0)]);
    let two = || vec![named(&["a.example"]), named(&["b.example"])];
    assert_eq!(successors(two(), two()), [(0, 0), (1, 1)]);
    let turned = || vec![named(&["b.example"]), named(&["a.example"])];
    assert_eq!(successors(turned(), two()), [(0, 1), (1, 0)]);
    // The default's for each of the names; then of two, which is neither's.
    assert_eq!(successors(two(), one()), [(0, 0), (1, 0)]);
    assert_eq!(successors(one(), two()), []);
    assert_eq!(successors(vec![named(&["a.example", "b.example"])], two()), []);
    assert_eq!(successors(two(), vec![named(&["b.example", "a.example"])]), [(0, 0), (1, 0)]);
    // A name that was nowhere.
    assert_eq!(successors(vec![named(&["a.example", "c.example"])], two()), []);
}
