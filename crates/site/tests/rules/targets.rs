//! Targets on other hosts: the rule names the host and the port, and no request adds to them or
//! changes them.

use super::ask::{get, site};
use super::refused;

/// The one message for a rule of `_redirects`.
fn message(rule: &str) -> String {
    let messages = refused(rule, "");
    assert_eq!(messages.len(), 1, "{rule}: {messages:?}");
    messages[0].clone()
}

#[test]
fn a_backslash_does_not_end_the_host_of_a_target() {
    assert_eq!(
        message("/x/* https://good.example\\:splat 302"),
        "_redirects:1: a backslash in the target's host, which browsers read as a slash: \
         '/x/* https://good.example\\:splat 302'; write https://good.example/:splat"
    );
    for (target, nearest) in [
        ("https://good.example\\@evil.example/:splat", "https://good.example/@evil.example/:splat"),
        ("https://good.example:8443\\:splat", "https://good.example:8443/:splat"),
        ("https://good.example\\?:splat", "https://good.example/?:splat"),
        ("https://good.example\\#:splat", "https://good.example/"),
        ("http://\\good.example/", "http://good.example/"),
        ("https://[::1]\\:splat", "https://[::1]/:splat"),
    ] {
        let said = message(&format!("/x/* {target} 302"));
        assert!(said.contains(": a backslash in the target's host"), "{said}");
        assert!(said.ends_with(&format!("'; write {nearest}")), "{said}");
    }
}

#[test]
fn what_is_no_origin() {
    let user = "a user's name in front of the target's host";
    let placeholder = "a placeholder in the target's host";
    let missing = "the target's host is missing";
    let port = "the target's port is not valid";
    let host = "the target's host is not valid";
    let scheme = "a target is a path or an http(s) address";
    let none = "there is no target";
    let slashes = "the target begins with two slashes, which is another host";
    for (target, reason) in [
        ("https://a@:splat", user),
        ("https://a:b@good.example/:splat", user),
        ("https://@good.example/:splat", user),
        ("https://good.example:splat", placeholder),
        ("https://good.example:8:splat", placeholder),
        ("https://good.example:8443:splat/x", placeholder),
        ("https://good.example.:splat", placeholder),
        ("https://:splat", placeholder),
        ("https://:splat/x", placeholder),
        ("https://[::1]:splat", placeholder),
        ("https://", missing),
        ("https:///good.example", missing),
        ("https://?:splat", missing),
        ("https://#:splat", missing),
        ("https://:8443/:splat", missing),
        ("https://good.example:/:splat", port),
        ("https://good.example:0/:splat", port),
        ("https://good.example:65536/:splat", port),
        ("https://good.example:8443x/:splat", port),
        ("https://good.example:+8/:splat", port),
        ("https://good.example:8:9/:splat", port),
        ("https://good.example%5C:splat", placeholder),
        ("https://good.example%2F/:splat", host),
        ("https://good.example%00/:splat", host),
        ("https://good\u{ff0e}example/:splat", host),
        ("https://good.example\u{ff0f}/:splat", host),
        ("https://g\u{f6}\u{f6}d.example/:splat", host),
        ("https://good.example\x0b/:splat", host),
        ("https://good.example\0/:splat", host),
        ("https://good\r.example/:splat", host),
        ("https://good..example/:splat", host),
        ("https://./:splat", host),
        ("https://*.example/:splat", host),
        ("https://[good.example/:splat", host),
        ("https://good.example]/:splat", host),
        ("https://[::1/:splat", host),
        ("https://[good.example]/:splat", host),
        ("https://1.2.3.256/:splat", host),
        ("https://good.0x1/:splat", host),
        ("HTTPS://good.example/:splat", scheme),
        ("Http://good.example/:splat", scheme),
        ("javascript://good.example/%0A:splat", scheme),
        ("data://text/html,:splat", scheme),
        ("\x01https://good.example/:splat", scheme),
        ("\u{a0}https://good.example/:splat", scheme),
        ("javascript:alert(1)", none),
        ("data:text/html,x", none),
        ("https:/good.example/:splat", none),
        ("https:good.example/:splat", none),
        ("https:\\\\good.example/:splat", none),
        ("\\\\good.example/:splat", none),
        ("//good.example:splat", slashes),
        ("//:splat", slashes),
        ("/\\good.example/:splat", slashes),
        ("/\\:splat", slashes),
    ] {
        let said = message(&format!("/x/* {target} 302"));
        assert!(said.starts_with(&format!("_redirects:1: {reason}: ")), "{target:?}: {said}");
    }
    let said = message("/x/* https:good.example /y 302");
    assert!(said.starts_with("_redirects:1: neither a parameter nor a target: "), "{said}");
}

#[test]
fn what_is_filled_in_stays_behind_the_origin() {
    let site = site(&[(
        "_redirects",
        "/a/* https://good.example/:splat 302\n\
         /b/* https://good.example:8443/:splat 302\n\
         /c/* https://good.example?x=:splat 302\n\
         /d/* https://good.example#:splat 302\n\
         /e/* http://192.0.2.1/:splat 302\n\
         /f/:db8 https://[2001:db8::1]:8443/:db8 302\n\
         /g https://good.example 302\n\
         /h/* https://Good_host.example.:1/x:splat 302\n\
         /i/* https://good.example/\\:splat 302\n\
         /j/* https://good.example/%5C@:splat 302\n\
         /k/* /\x0b/:splat 302\n\
         /l/* /%09/:splat 302\n\
         /m/* /.//:splat 302\n",
    )]);
    for (target, location) in [
        ("/a/@evil.example", "https://good.example/@evil.example"),
        ("/a/%5C@evil.example", "https://good.example/%5C@evil.example"),
        ("/b/1@evil.example", "https://good.example:8443/1@evil.example"),
        ("/c/@evil.example", "https://good.example?x=@evil.example"),
        ("/c/%2E%5C%23%3F@evil.example", "https://good.example?x=.%5C%23%3F@evil.example"),
        ("/d/@evil.example", "https://good.example#:splat"),
        ("/e/.evil.example", "http://192.0.2.1/.evil.example"),
        ("/f/evil.example", "https://[2001:db8::1]:8443/evil.example"),
        ("/g?@evil.example/", "https://good.example?@evil.example/"),
        ("/g?\\@evil.example", "https://good.example?%5C@evil.example"),
        ("/h/@evil.example", "https://Good_host.example.:1/x@evil.example"),
        ("/i/@evil.example", "https://good.example/%5C@evil.example"),
        ("/j/evil.example", "https://good.example/%5C@evil.example"),
        ("/k/evil.example", "/%0B/evil.example"),
        ("/l/evil.example", "/%09/evil.example"),
        ("/m/evil.example", "/.//evil.example"),
    ] {
        let answer = get(&site, target, "");
        assert_eq!((answer.status, answer.location().as_str()), (302, location), "{target}");
    }
}

#[test]
fn the_host_of_a_source_is_a_plain_one_too() {
    for source in [
        "http://own\\:x/*",
        "http://own\\/*",
        "http://own\\@other/*",
        "http://a@own/*",
        "http://own:80/*",
        "http://own:x/*",
        "http:///x",
        "http://:/x",
        "http://own%5C/*",
        "http://\u{ff4f}wn/*",
        "http://[::1]/*",
    ] {
        let said = message(&format!("{source} /y 302"));
        assert!(said.starts_with("_redirects:1: the host is not valid: "), "{source}: {said}");
    }
    for source in ["HTTP://own/*", "http:/own/*", "http:own/*", "http:\\\\own/*", "\\\\own/*", "javascript:x"]
    {
        let said = message(&format!("{source} /y 302"));
        assert!(said.starts_with("_redirects:1: a source begins with a slash: "), "{source}: {said}");
    }
}
