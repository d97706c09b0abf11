//! Redirects that would lead to the address that was asked: refused where that is sure, else not
//! applied.

use super::ask::{ask, get};
use super::{refused, ruled};

/// Returns where the rule leads a request for this host and path; `None`: it does not apply.
fn led(rule: &str, host: &str, path: &str) -> Option<String> {
    ask(&ruled(rule, ""), "GET", path, host, "").field("location")
}

#[test]
fn from_http_to_https_of_the_same_host() {
    for rule in [
        "http://own.example/* https://own.example/:splat 301!",
        "http://own.example/* https://own.example/:splat 302",
        "http://OWN.example/* https://own.Example./:splat 301!",
        "http://own.example/* https://own.example:443/:splat 301!",
        "http://own.example/:a/:b https://own.example/:a/:b 308!",
        "http://own.example/x https://own.example/x 301!",
    ] {
        assert_eq!(refused(rule, ""), Vec::<String>::new(), "{rule}");
        // Whatever brought the request: a visitor whom the rule sent away would come back with the
        // same.
        for host in ["own.example", "own.example:443", "own.example:80", "OWN.EXAMPLE", "own.example."] {
            for path in ["/", "/x", "/a/b", "/about", "/nothing/"] {
                assert_eq!(led(rule, host, path), None, "{rule} {host} {path}");
            }
        }
    }
    // The usual four lines.
    let site = ruled(
        "http://own.example/* https://own.example/:splat 301!\n\
         http://www.own.example/* https://own.example/:splat 301!\n\
         https://www.own.example/* https://own.example/:splat 301!\n\
         /old /about 301\n",
        "",
    );
    for (host, path, location) in [
        ("www.own.example", "/a?b=c", "https://own.example/a?b=c"),
        ("www.own.example:8443", "/", "https://own.example/"),
        ("own.example", "/old", "/about"),
    ] {
        assert_eq!(ask(&site, "GET", path, host, "").location(), location, "{host}{path}");
    }
    assert_eq!(ask(&site, "GET", "/about", "own.example", "").body, "about");
}

#[test]
fn a_source_that_takes_the_host_of_its_target_too() {
    for (rule, host, path, location) in [
        // Any host to one.
        ("/* https://own.example/:splat 301!", "www.own.example", "/x", Some("https://own.example/x")),
        ("/* https://own.example/:splat 301!", "own.example", "/x", None),
        ("/* https://own.example/:splat 301!", "own.example:443", "/x/", None),
        ("/* https://own.example/:splat 301!", "own.example:8443", "/x", Some("https://own.example/x")),
        ("/* https://own.example/:splat 301!", "own.example.org", "/x", Some("https://own.example/x")),
        ("/* https://own.example/:splat 301!", "down.example", "/x", Some("https://own.example/x")),
        ("/x https://own.example/x 301!", "own.example", "/x", None),
        ("/x https://own.example/x 301!", "other.example", "/x", Some("https://own.example/x")),
        ("/ https://own.example 301!", "own.example", "/", None),
        ("/ https://own.example 301!", "www.own.example", "/", Some("https://own.example")),
        ("/* http://[::1]:8080/:splat 301!", "[::1]:8080", "/x", None),
        ("/* http://[::1]:8080/:splat 301!", "[::1]", "/x", Some("http://[::1]:8080/x")),
        // A placeholder that stands for the target's host too.
        ("https://:sub.example/* https://own.example/:splat 301!", "own.example", "/x", None),
        (
            "https://:sub.example/* https://own.example/:splat 301!",
            "www.example",
            "/x",
            Some("https://own.example/x"),
        ),
        // A source's port says nothing, a target's does.
        ("https://own.example/* https://own.example:8443/:splat 301!", "own.example:8443", "/x", None),
        (
            "https://own.example/* https://own.example:8443/:splat 301!",
            "own.example",
            "/x",
            Some("https://own.example:8443/x"),
        ),
        ("http://own.example/* https://own.example:8443/:splat 301!", "own.example:8443", "/x", None),
        (
            "http://own.example/* https://own.example:8443/:splat 301!",
            "own.example:8080",
            "/x",
            Some("https://own.example:8443/x"),
        ),
        (
            "http://own.example/* https://own.example/:splat",
            "own.example:8080",
            "/x",
            Some("https://own.example/x"),
        ),
        // With a slash more or less.
        ("/* https://own.example/:splat/ 301!", "own.example", "/x", Some("https://own.example/x/")),
        ("/* https://own.example/:splat/ 301!", "own.example", "/x/", None),
        ("/* https://own.example/:splat/ 301!", "own.example", "/", None),
        ("/* https://own.example/:splat/ 301!", "www.own.example", "/x/", Some("https://own.example/x/")),
        ("https://own.example/x /x/ 301", "own.example", "/x/", None),
        ("https://own.example/x /x/ 301", "own.example", "/x", Some("/x/")),
        // Without a host nothing is known.
        ("/* https://own.example/a/:splat 301!", "own.example", "/x", Some("https://own.example/a/x")),
    ] {
        assert_eq!(led(rule, host, path).as_deref(), location, "{rule} {host}{path}");
    }
    // The next rule, or the page, takes its place.
    let site = ruled("/* https://own.example/:splat 301!\n/old /about 302\n", "");
    assert_eq!(ask(&site, "GET", "/old", "own.example", "").location(), "/about");
    assert_eq!(ask(&site, "GET", "/about", "own.example", "").body, "about");
    let rules =
        sitar_site::Rules::compile(None, Some(b"/* https://own.example/:splat 301!\n/old /about 302\n"));
    assert_eq!(rules.unwrap().shadowed(), []);
    // HTTP/1.0 need not say which host it asks.
    let reply = super::ask::wire(&site, b"GET /old HTTP/1.0\r\n\r\n");
    assert!(String::from_utf8(reply).unwrap().contains("\r\nLocation: https://own.example/old\r\n"));
}

#[test]
fn what_leads_to_itself_for_sure() {
    for rule in [
        "/x /x 301",
        "/* /:splat 301!",
        "https://own.example/* https://own.example/:splat 301!",
        "http://own.example/* http://own.example/:splat 301!",
        "https://own.example/* http://own.example/:splat 301!",
        "https://own.example/* https://OWN.example:443/:splat 301!",
        "https://own.example/* /:splat 301!",
        // A query and a fragment make no other address of it, nor do escapes.
        "/x /x?y=z 301",
        "/x /x#y 301",
        "/x/ /x/?y=z#w 302!",
        "/* /:splat?y=z 301!",
        "/%61 /a 301",
        "/a /%61 308",
        "/a%20b /./a%20b/../a%20b 301",
        "/caf%c3%a9 /caf\u{e9} 301",
        "https://own.example/%61 /a 301",
        "https://own.example/* https://own.example/:splat?y=z 301!",
    ] {
        let said = refused(rule, "");
        assert!(said.len() == 1 && said[0].contains("the rule leads to itself"), "{rule}: {said:?}");
    }
}

#[test]
fn what_does_not_lead_to_itself_although_it_looks_so() {
    // A page under its own address keeps paths from the rules behind it.
    let site = ruled("/news/* /news/:splat 200\n/app.js /app.js 200!\n/* /index.html 200\n", "");
    assert_eq!(get(&site, "/news/nothing", "").status, 404);
    assert_eq!(get(&site, "/news/today", "").body, "today");
    assert_eq!(get(&site, "/app.js", "").body, "script");
    assert_eq!(get(&site, "/nothing", "").body, "home");
    // What a rule reads from the query is not passed on, so it does not apply again.
    let site = ruled("/about id=:id /about 301!\n", "");
    assert_eq!(get(&site, "/about?id=7", "").location(), "/about");
    assert_eq!(get(&site, "/about", "").body, "about");
}

#[test]
fn the_target_is_left_alone_by_a_splat_that_takes_it() {
    for (rule, host, path, location) in [
        ("/gone/* /gone/here 301", "h", "/gone/x", Some("/gone/here")),
        ("/gone/* /gone/here 301", "h", "/gone", Some("/gone/here")),
        ("/gone/* /gone/here 301", "h", "/gone/here", None),
        ("/gone/* /gone/here 301", "h", "/gone/%68ere/", None),
        ("/gone/* /gone/here?y=z#w 301", "h", "/gone/here?y=z", None),
        ("/gone/* /gone 301!", "h", "/gone", None),
        ("/gone/* /gone/ 301!", "h", "/gone/x/", Some("/gone/")),
        ("/gone/* /gone/ 301!", "h", "/gone/", None),
        ("/gone/:page /gone/here 301", "h", "/gone/here", None),
        ("/gone/:page /gone/here 301", "h", "/gone/there", Some("/gone/here")),
        ("/*.htm /x.htm 301", "h", "/x.htm", None),
        ("/* / 302!", "h", "/", None),
        ("/* / 302!", "h", "/x", Some("/")),
        ("https://own.example/* /here 301", "own.example", "/here", None),
        ("/* https://own.example/here 301!", "own.example", "/here", None),
        ("/* https://own.example/here 301!", "own.example", "/there", Some("https://own.example/here")),
        ("/* https://own.example/here 301!", "h", "/here", Some("https://own.example/here")),
        ("/* https://own.example 301!", "own.example", "/", None),
        ("/* https://own.example:8443/:splat?y=z 301!", "own.example:8443", "/x", None),
        ("/x /x/?y=z 301", "h", "/x", Some("/x/?y=z")),
        ("/x /x/?y=z 301", "h", "/x/?y=z", None),
    ] {
        assert_eq!(refused(rule, ""), Vec::<String>::new(), "{rule}");
        assert_eq!(led(rule, host, path).as_deref(), location, "{rule} {host}{path}");
    }
    // What is there is served, whether its address has a slash at its end or not.
    for (rule, path, body) in [("/* /about 301!", "/about", "about"), ("/* /news/ 301!", "/news/", "news")] {
        assert_eq!(get(&ruled(rule, ""), path, "").body, body, "{rule} {path}");
    }
    assert_eq!(get(&ruled("/* /news 301!", ""), "/news/", "").body, "news");
    assert_eq!(get(&ruled("/* /about/ 301!", ""), "/about/", "").location(), "/about");
    // It is still told that nothing is left for the rules behind it, except for the target.
    let rules = sitar_site::Rules::compile(None, Some(b"/* /here 301!\n/old /about 302\n/here /about 302\n"));
    let shadowed: Vec<_> = rules.unwrap().shadowed().iter().map(|rule| (rule.line, rule.by)).collect();
    assert_eq!(shadowed, [(2, 1)]);
}
