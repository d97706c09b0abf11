//! Paths that reach the rules: all that are well-formed, whatever is escaped in them.

use super::ask::{ask, get, site};
use super::{refused, ruled};

#[test]
fn an_escaped_slash_reaches_the_rules_and_no_file() {
    let site = ruled("/* /index.html 200\n", "/route/*\n  X-Route: yes\n  X-Rest: :splat\n");
    for path in ["/route/a%2Fb", "/route/a%2fb", "/route/%2F", "/route/a%2Fb/", "/route/news%2Ftoday"] {
        let answer = get(&site, path, "");
        assert_eq!((answer.status, answer.body.as_str()), (200, "home"), "{path}");
        assert_eq!(answer.field("x-route").as_deref(), Some("yes"), "{path}");
    }
    assert_eq!(get(&site, "/route/a%2fb/c", "").field("x-rest").unwrap(), "a%2Fb/c");
    assert_eq!(ask(&site, "HEAD", "/route/a%2Fb", "h", "").status, 200);
    // A missing script stays missing, however its folder is written.
    assert_eq!(get(&site, "/route/a%2Fb.js", "").status, 404);
}

#[test]
fn an_escaped_slash_finds_no_file() {
    let site = ruled("", "/*\n  X-All: yes\n/en%2Fx\n  X-Own: yes\n");
    for path in [
        "/news%2Ftoday.html",
        "/news%2Findex.html",
        "/news%2F",
        "/%2Findex.html",
        "/%2F",
        "/%2F/",
        "/index.html%2F",
        "/..%2Findex.html",
        "/news/..%2Fabout.html",
        "/%2e%2e%2findex.html",
        "/news%2F%2E%2E%2Fabout.html",
    ] {
        let answer = get(&site, path, "");
        assert_eq!((answer.status, answer.body.as_str()), (404, "404 Not Found\n"), "{path}");
        assert_eq!(answer.field("x-all").as_deref(), Some("yes"), "{path}");
    }
    // Dot segments are what they are beside it, and the nearest error page is found.
    assert_eq!(get(&site, "/a%2Fb/../about", "").body, "about");
    assert_eq!(get(&site, "/en/a%2Fb", "").body, "nothing in English");
    assert_eq!(get(&site, "/en%2Fx", "").field("x-own").as_deref(), Some("yes"));
    assert_eq!(get(&site, "/en/x", "").field("x-own"), None);
}

#[test]
fn escapes_stay_what_they_are_in_a_target() {
    let site = ruled(
        "/out/* https://o.example/:splat 302\n\
         /query/* https://o.example/?at=:splat 302\n\
         /:a/is/:b /:b/was/:a 302\n\
         /local/* /:splat 302\n\
         http://:sub.example/host/* https://o.example/:sub/:splat 302\n\
         /wiki/AC%2FDC /wiki/acdc 301\n\
         /album/*%2Fcover /covers/:splat 302\n\
         /show/* /:splat 200\n",
        "",
    );
    for (path, location) in [
        ("/out/a%2Fb", "https://o.example/a%2Fb"),
        ("/out/a%2fb/c%2Fd", "https://o.example/a%2Fb/c%2Fd"),
        ("/out/%2F", "https://o.example/%2F"),
        ("/out/%2F%2Fevil.example", "https://o.example/%2F%2Fevil.example"),
        ("/out/a%252Fb", "https://o.example/a%252Fb"),
        ("/out/%2e%2e%2f%2e%2e%2fetc", "https://o.example/..%2F..%2Fetc"),
        ("/out/a%5Cb", "https://o.example/a%5Cb"),
        ("/out/a%3Fb%23c", "https://o.example/a%3Fb%23c"),
        ("/out/a%0D%0AX:%20y", "https://o.example/a%0D%0AX:%20y"),
        ("/out/caf%C3%A9", "https://o.example/caf%C3%A9"),
        ("/out/%FF%fe", "https://o.example/%FF%FE"),
        ("/out/a%25b", "https://o.example/a%25b"),
        ("/query/a%2Fb%26c%3Dd", "https://o.example/?at=a%2Fb%26c%3Dd"),
        ("/a%2Fb/is/c%2Fd", "/c%2Fd/was/a%2Fb"),
        ("/local/%2Fevil.example", "/%2Fevil.example"),
        ("/local/%2F/evil.example", "/%2F/evil.example"),
        ("/local/%5C%2Fevil.example", "/%5C%2Fevil.example"),
        ("/local/..%2F..%2Fetc", "/..%2F..%2Fetc"),
        ("/wiki/AC%2fDC", "/wiki/acdc"),
        ("/album/x%2Fcover", "/covers/x"),
        ("/out/x?y=a%2Fb", "https://o.example/x?y=a%2Fb"),
    ] {
        assert_eq!(get(&site, path, "").location(), location, "{path}");
    }
    let answer = ask(&site, "GET", "/host/a%2Fb", "mine.example", "");
    assert_eq!(answer.location(), "https://o.example/mine/a%2Fb");
    // What is filled into a rewrite is no way around the slash either.
    assert_eq!(get(&site, "/show/news/today", "").body, "today");
    for path in ["/show/news%2Ftoday", "/show/..%2Findex.html", "/show/news/%2e%2e%2fabout", "/wiki/AC/DC"] {
        assert_eq!(get(&site, path, "").status, 404, "{path}");
    }
    assert!(refused("/x /a%2Fb 200\n", "")[0].contains("the target is no valid path"));
}

#[test]
fn malformed_paths_are_refused_before_the_rules() {
    let site = ruled("/* /index.html 200\n/* /index.html 200!\n", "/*\n  X-All: yes\n");
    for path in ["/a%00b", "/%00", "/a%2F%00", "/%", "/a%2", "/%zz", "/%2F%", "/a%2Fb%G0"] {
        let answer = get(&site, path, "");
        assert_eq!(answer.status, 400, "{path}");
        assert_eq!(answer.body, "400 Bad Request: the path is malformed\n", "{path}");
    }
}

#[test]
fn unusual_but_well_formed_paths_reach_the_rules() {
    let site = ruled("/app/* /index.html 200\n", "");
    for path in [
        "/app/a%5Cb",
        "/app/%FF",
        "/app/%C3%28",
        "/app//x",
        "//app/x",
        "/app/./x",
        "/app/%2e/x",
        "/y/../app/x",
        "/app/x/..",
        "/app/%20",
        "/app/%25",
        "/app/%09",
        "/app/.hidden",
        "/app/[x]|^",
        "/%61pp/x/",
    ] {
        let answer = get(&site, path, "");
        assert_eq!((answer.status, answer.body.as_str()), (200, "home"), "{path}");
    }
    assert_eq!(get(&site, "/app/../x", "").status, 404);
}

#[test]
fn paths_longer_than_any_name_reach_the_rules() {
    let site = site(&[
        ("index.html", "home"),
        ("404.html", "none"),
        ("_redirects", "/app/* /index.html 200\n/q/* https://o.example/ 302\n"),
        ("_headers", "/app/*\n  X-App: :splat\n"),
    ]);
    // Both are longer than 4096 bytes; one needs no decoding, the other one does.
    for long in ["a".repeat(5_000), "%61".repeat(2_600), format!("%2F{}", "a".repeat(5_000))] {
        let answer = get(&site, &format!("/app/{long}"), "");
        assert_eq!((answer.status, answer.body.as_str()), (200, "home"));
        assert_eq!(get(&site, &format!("/q/{long}"), "").location(), "https://o.example/");
        assert_eq!(get(&site, &format!("/{long}"), "").body, "none");
    }
}

/// The same as with Cloudflare's `:splat`: the slash is a part of the path that it stands for.
#[test]
fn a_splat_at_the_end_keeps_the_slash() {
    let site = ruled(
        "https://www.own.example/* https://own.example/:splat 301!\n\
         /a/* /b/:splat 302\n\
         /c/* /d/:splat?x=:splat 302\n\
         /e/* /f/:splat/ 302\n\
         /g/* /h/:splat.html 302\n\
         /i/*/ /j/:splat 302\n\
         /k/*/:x /l/:x/:splat 302\n\
         /m* /n:splat 302\n\
         /o/* /p/:splat#:splat 302\n\
         /q/:x /r/:x 302\n\
         /s/* /news/:splat 200\n",
        "/*\n  X-Rest: :splat\n",
    );
    for (path, location) in [
        ("/a/x/", "/b/x/"),
        ("/a/x/y//", "/b/x/y/"),
        ("/a/x", "/b/x"),
        ("/a/x%2F/", "/b/x%2F/"),
        ("/a/x/?q", "/b/x/?q"),
        ("/a/x/.", "/b/x/"),
        ("/a/", "/b/"),
        ("/a", "/b/"),
        ("/c/x/", "/d/x/?x=x"),
        ("/e/x/", "/f/x/"),
        ("/g/x/", "/h/x.html"),
        ("/i/x/", "/j/x"),
        ("/k/x/y/", "/l/y/x"),
        ("/mx/y/", "/nx/y/"),
        ("/m/", "/n"),
        ("/o/x/", "/p/x/#:splat"),
        ("/q/x/", "/r/x"),
    ] {
        assert_eq!(get(&site, path, "").location(), location, "{path}");
    }
    for (path, location) in [("/posts/", "https://own.example/posts/"), ("/", "https://own.example/")] {
        assert_eq!(ask(&site, "GET", path, "www.own.example", "").location(), location, "{path}");
    }
    // In a rewrite and in a header it stands for the same as before.
    assert_eq!(get(&site, "/s/today/", "").body, "today");
    assert_eq!(get(&site, "/news/", "").field("x-rest").as_deref(), Some("news"));
}
