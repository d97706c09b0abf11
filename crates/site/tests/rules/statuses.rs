//! Rules that answer with an error: a page with that status, or the status alone.

use super::ask::{ask, get, site};
use super::{refused, ruled};

#[test]
fn a_page_with_the_status_of_an_error() {
    let site = site(&[
        ("gone.html", "gone for good"),
        ("404.html", "not here"),
        ("index.html", "home"),
        ("old/kept.html", "kept"),
        ("old/replaced.html", "replaced"),
        (
            "_redirects",
            "/old/replaced.html /gone.html 410!\n\
             /old/* /gone.html 410\n\
             /shop id=:id /gone 410\n\
             /private/* /gone.html 403\n\
             /law/* /gone 451\n\
             /closed /gone 503\n\
             /none/* /gone.html 404\n\
             http://old.example/* /gone.html 410!\n",
        ),
        ("_headers", "/old/*\n  X-Policy: p\n  Cache-Control: max-age=60\n"),
    ]);
    for (path, status) in [
        ("/old/x", 410),
        ("/old/x.js", 410),
        ("/old", 410),
        ("/old/", 410),
        ("/old/replaced.html", 410),
        ("/old/a%2Fb", 410),
        ("/shop?id=7", 410),
        ("/private/x", 403),
        ("/law/x", 451),
        ("/closed", 503),
        ("/none/x", 404),
    ] {
        let answer = get(&site, path, "");
        assert_eq!((answer.status, answer.body.as_str()), (status, "gone for good"), "{path}");
        assert_eq!(answer.field("content-type").unwrap(), "text/html; charset=utf-8", "{path}");
        for name in ["etag", "last-modified", "accept-ranges", "cache-control", "location"] {
            assert_eq!(answer.field(name), None, "{path} {name}");
        }
    }
    assert!(get(&site, "/old/x", "").head.starts_with("HTTP/1.1 410 Gone\r\n"));
    assert!(get(&site, "/law/x", "").head.starts_with("HTTP/1.1 451 Unavailable For Legal Reasons\r\n"));
    assert_eq!(get(&site, "/old/x", "").field("x-policy").as_deref(), Some("p"));
    // Where there is a page it stays, and the page of the error has an address of its own.
    assert_eq!((get(&site, "/old/kept", "").status, get(&site, "/gone", "").status), (200, 200));
    assert_eq!(get(&site, "/shop", "").body, "not here");
    assert_eq!(ask(&site, "GET", "/", "old.example", "").status, 410);
    // Neither conditions nor ranges are for errors (RFC 9110 §13.2.1, §14.2).
    let etag = get(&site, "/gone", "").field("etag").unwrap();
    for fields in [
        "If-None-Match: *\r\n",
        &format!("If-None-Match: {etag}\r\n"),
        "Range: bytes=0-1\r\n",
        "If-Match: \"x\"\r\n",
    ] {
        let answer = get(&site, "/old/x", fields);
        assert_eq!((answer.status, answer.body.as_str()), (410, "gone for good"), "{fields}");
    }
    let head = ask(&site, "HEAD", "/old/x", "h", "");
    assert_eq!((head.head, head.body.as_str()), (get(&site, "/old/x", "").head, ""));
}

#[test]
fn a_status_without_a_page() {
    let site = site(&[
        ("404.html", "not here"),
        ("index.html", "home"),
        ("secret/plan.html", "plan"),
        ("packed.html.gz", "gz"),
        (
            "_redirects",
            "/old/* 410\n\
             /a 403 # a comment\n\
             /b\t451\n\
             /c 503\n\
             /q id=1 410\n\
             /secret/* 404!\n\
             /lost /nothing.html 410\n\
             /packed/* /packed 410\n",
        ),
    ]);
    for (path, status, body) in [
        ("/old/x", 410, "410 Gone\n"),
        ("/a", 403, "403 Forbidden\n"),
        ("/b", 451, "451 Unavailable For Legal Reasons\n"),
        ("/c", 503, "503 Service Unavailable\n"),
        ("/q?id=1", 410, "410 Gone\n"),
        ("/q", 404, "not here"),
        // As where nothing is.
        ("/secret/plan", 404, "not here"),
        // The page that the rule names is not there, or not for this client: the status is right
        // all the same.
        ("/lost", 410, "410 Gone\n"),
        ("/packed/x", 410, "410 Gone\n"),
    ] {
        let answer = get(&site, path, "");
        assert_eq!((answer.status, answer.body.as_str()), (status, body), "{path}");
    }
    let packed = get(&site, "/packed/x", "Accept-Encoding: gzip\r\n");
    assert_eq!((packed.status, packed.body.as_str()), (410, "gz"));
    let head = ask(&site, "HEAD", "/old/x", "h", "");
    assert_eq!((head.head, head.body.as_str()), (get(&site, "/old/x", "").head, ""));
}

#[test]
fn other_statuses_are_refused() {
    for rule in ["/a /b 201", "/a /b 300", "/a /b 304", "/a /b 401", "/a /b 418", "/a /b 500", "/a /b 999"] {
        let said = refused(rule, "");
        assert_eq!(said.len(), 1, "{rule}");
        assert!(said[0].starts_with("_redirects:1: this status cannot be used in a rule: "), "{said:?}");
        assert!(said[0].contains("200, 403, 404, 410, 451 or 503"), "{said:?}");
    }
    for rule in ["/a 301", "/a 200", "/a 401", "/a", "/a 12", "/a b=c", "/a b=c 302"] {
        let said = refused(rule, "");
        assert!(
            said.len() == 1 && said[0].starts_with("_redirects:1: there is no target: "),
            "{rule} {said:?}"
        );
    }
    for (rule, reason) in [
        ("/a 410 410", "too many words"),
        ("/a 410 Country=de", "conditions on country"),
        ("/a gone.html 410", "neither a parameter nor a target"),
        ("/a https://other.example/gone 410", "sitar serves files and is no proxy"),
    ] {
        assert!(refused(rule, "")[0].contains(reason), "{rule}: {:?}", refused(rule, ""));
    }
}

#[test]
fn pages_behind_a_password_need_users() {
    for line in ["Basic-Auth: anna:secret", "basic-auth: anna:secret berta:secret", "BASIC-AUTH: a:b"] {
        assert_eq!(
            refused("", &format!("/*\n  {line}\n")),
            [format!(
                "_headers:2: Basic-Auth would be sent to everybody: '{line}'; \
                 protected pages need users, which sitar does not have yet: take the line out"
            )]
        );
    }
    assert_eq!(get(&ruled("", "/*\n  X-A: b\n"), "/about", "").status, 200);
}
