//! Additions of sitar: safety of what is filled in, 404 pages, clean addresses, rules on every kind
//! of answer.

use super::ask::{ask, get, site};
use super::{refused, ruled};
use sitar_site::{Options, Site};

#[test]
fn no_rule_leads_to_another_host_by_what_a_client_sends() {
    let site = ruled(
        "/x* /:splat 302\n/q id=:id /:id 302\n/p/:a/:b /:a:b 302\n/s/* /:splat/ 302\n/t/* https://other.example/:splat 302\n",
        "",
    );
    for (target, location) in [
        ("/x/evil.example", "/evil.example"),
        ("/x//evil.example", "/evil.example"),
        ("/x/%5Cevil.example", "/%5Cevil.example"),
        ("/q?id=/evil.example", "/%2Fevil.example"),
        ("/q?id=\\evil.example", "/%5Cevil.example"),
        ("/q?id=%2Fevil.example", "/%2Fevil.example"),
        ("/p/x/%0D%0ASet-Cookie:%20a", "/x%0D%0ASet-Cookie:%20a"),
        ("/s/", "/"),
        ("/s/%3F%23%26", "/%3F%23&/"),
        ("/t/..%5C", "https://other.example/..%5C"),
    ] {
        let answer = get(&site, target, "");
        assert_eq!((answer.status, answer.location().as_str()), (302, location), "{target}");
    }
    for (rule, reason) in [
        ("/a //evil.example 301", "two slashes"),
        ("/a /\\evil.example 301", "two slashes"),
        ("/:host/* https://:host/:splat 301", "a placeholder in the target's host"),
        ("/* https://example.com:splat 301", "a placeholder in the target's host"),
        ("/a https:// 301", "the target's host is missing"),
        ("/a javascript://x 301", "a path or an http(s) address"),
    ] {
        assert!(refused(rule, "")[0].contains(reason), "{rule}: {:?}", refused(rule, ""));
    }
}

#[test]
fn a_rule_about_a_slash_does_not_lead_the_root_to_itself() {
    for rule in ["/* /:splat/ 301!", "/*/ /:splat 301!", "/* /:splat/", "http://a/* https://a/:splat/ 301!"] {
        let site = ruled(rule, "");
        for target in ["/", "http://a/", "/?a=1"] {
            assert_eq!(get(&site, target, "").field("location"), None, "{rule} {target}");
        }
    }
    assert_eq!(get(&ruled("/* /:splat/ 301!", ""), "/a", "").location(), "/a/");
    assert_eq!(get(&ruled("/*/ /:splat 301!", ""), "/a/", "").location(), "/a");
}

#[test]
fn control_characters_are_refused() {
    for value in ["a\rb", "a\0b", "a\x1bb", "a\x7fb"] {
        assert!(
            refused("", &format!("/*\n  X-A: {value}\n"))[0].contains("a control character"),
            "{value:?}"
        );
    }
    let site = ruled("/b /\u{e9}\"<>{}|^`\\\x01 301\n", "");
    assert_eq!(get(&site, "/b", "").location(), "/%C3%A9%22%3C%3E%7B%7D%7C%5E%60%5C%01");
}

#[test]
fn the_nearest_404_page() {
    let site = site(&[
        ("404.html", "root"),
        ("en/404.html", "english"),
        ("en/deep/er/x.html", "x"),
        ("de/index.html", "de"),
        ("packed/404.html.gz", "gz"),
    ]);
    for (path, body) in [
        ("/nothing", "root"),
        ("/en/nothing", "english"),
        ("/en/deep/er/nothing", "english"),
        ("/en/other/nothing/", "english"),
        ("/de/nothing", "root"),
        ("/english/nothing", "root"),
        ("/a%2Fb", "root"),
        ("/.git/config", "root"),
        ("/_headers", "root"),
    ] {
        let answer = get(&site, path, "");
        assert_eq!((answer.status, answer.body.as_str()), (404, body), "{path}");
        assert_eq!(answer.field("content-type").unwrap(), "text/html; charset=utf-8", "{path}");
    }
    // An encoding that the client takes; else what is nearest is a line of text.
    let packed = get(&site, "/packed/x", "Accept-Encoding: gzip\r\n");
    assert_eq!((packed.status, packed.body.as_str()), (404, "gz"));
    assert_eq!(packed.field("content-encoding").unwrap(), "gzip");
    assert_eq!(get(&site, "/packed/x", "").body, "404 Not Found\n");
    // A page in its own right too; and conditions and ranges are not for errors (RFC 9110 §13.2.1,
    // §14.2).
    assert_eq!(get(&site, "/404.html", "").status, 200);
    let answer = get(&site, "/x", "If-None-Match: *\r\nRange: bytes=0-1\r\n");
    assert_eq!((answer.status, answer.body.as_str()), (404, "root"));
    let head = ask(&site, "HEAD", "/x", "h", "");
    assert_eq!((head.head, head.body.as_str()), (get(&site, "/x", "").head, ""));
}

#[test]
fn what_an_application_of_one_page_takes_for_an_address() {
    let site = ruled("/* /index.html 200\n", "");
    for path in ["/users/jane.me", "/src/main.go", "/src/main.rs", "/src/lib.py", "/mail/a.qqqq"] {
        assert_eq!(
            (get(&site, path, "").status, get(&site, path, "").body.as_str()),
            (200, "home"),
            "{path}"
        );
    }
    for path in [
        "/a.glb",
        "/a.usdz",
        "/live.m3u8",
        "/live.mpd",
        "/seg1.m4s",
        "/a.topojson",
        "/a.ndjson",
        "/conf.toml",
        "/a.cur",
        "/a.svgz",
        "/a.vtt",
        "/a.ttf",
    ] {
        assert_eq!(get(&site, path, "").status, 404, "{path}");
    }
}

#[test]
fn clean_addresses() {
    let site = site(&[
        ("x.html", "x"),
        ("x/index.html", "x folder"),
        ("y/index.html", "y"),
        ("z.html.gz", "z"),
        ("plain", "plain"),
        ("plain.html", "page"),
    ]);
    for (path, status, body) in [
        ("/x", 200, "x"),
        ("/x.html", 200, "x"),
        ("/x/", 200, "x folder"),
        ("/x/index.html", 200, "x folder"),
        ("/x/index", 200, "x folder"),
        ("/y", 301, "301 Moved Permanently\n"),
        ("/plain", 200, "plain"),
        ("/x.html/", 404, "404 Not Found\n"),
        ("/plain/", 404, "404 Not Found\n"),
        ("/X", 404, "404 Not Found\n"),
    ] {
        let answer = get(&site, path, "");
        assert_eq!((answer.status, answer.body.as_str()), (status, body), "{path}");
    }
    assert_eq!(get(&site, "/x", "").field("content-type").unwrap(), "text/html; charset=utf-8");
    assert_eq!(get(&site, "/z", "Accept-Encoding: gzip\r\n").body, "z");
    assert_eq!(get(&site, "/z", "").status, 404);
}

/// The same as on Cloudflare Pages (workers-sdk, pages-shared, asset-server/handler.ts), but with
/// the status of the other slash.
#[test]
fn a_page_asked_for_with_a_slash() {
    let site = site(&[
        ("404.html", "none"),
        ("posts.html", "posts"),
        ("posts/one.html", "one"),
        ("a b/caf\u{e9}?.html", "cafe"),
        ("x/index.html", "x folder"),
        ("x.html", "x page"),
        ("plain", "plain"),
        ("plain.html", "plain page"),
        ("app.js", "script"),
        ("z.html.gz", "z"),
        ("_headers", "/*\n  Cache-Control: max-age=60\n"),
    ]);
    for (path, location) in [
        // A folder beside it makes no difference, if it has no page of its own.
        ("/posts/", "/posts"),
        ("/posts/?q=a%2Fb&c", "/posts?q=a%2Fb&c"),
        ("/posts/?", "/posts?"),
        ("/posts/?\\x", "/posts?%5Cx"),
        ("//posts//", "/posts"),
        ("/x/../posts/.", "/posts"),
        ("/%70osts/", "/posts"),
        ("/posts/one/", "/posts/one"),
        ("/a%20b/caf%C3%A9%3F/", "/a%20b/caf%C3%A9%3F"),
        ("/404/", "/404"),
        ("/z/", "/z"),
        // The page of a folder has the folder's address.
        ("/x/index/", "/x/"),
        ("/x/index/?q", "/x/?q"),
    ] {
        let answer = get(&site, path, "");
        assert_eq!((answer.status, answer.location().as_str()), (301, location), "{path}");
        assert_eq!(answer.body, "301 Moved Permanently\n", "{path}");
        // What is a page today may be a folder tomorrow.
        assert_eq!(answer.field("cache-control").unwrap(), "no-store", "{path}");
        let head = ask(&site, "HEAD", path, "h", "");
        assert_eq!((head.head, head.body.as_str()), (answer.head, ""), "{path}");
        assert_eq!(ask(&site, "OPTIONS", path, "h", "").status, 204, "{path}");
    }
    for (path, status, body) in [
        ("/posts", 200, "posts"),
        ("/posts.html", 200, "posts"),
        ("/posts/one", 200, "one"),
        ("/x/", 200, "x folder"),
        ("/x", 200, "x page"),
        ("/x/index", 200, "x folder"),
        // A file has nothing below it, and `/plain` is another file than the page.
        ("/posts.html/", 404, "none"),
        ("/app.js/", 404, "none"),
        ("/plain/", 404, "none"),
        ("/posts%2F", 404, "none"),
        ("/posts/two/", 404, "none"),
        ("/", 404, "none"),
        ("/posts/index/", 404, "none"),
        ("/postsindex/", 404, "none"),
    ] {
        let answer = get(&site, path, "");
        assert_eq!((answer.status, answer.body.as_str()), (status, body), "{path}");
    }
    // A shortened address would be another one.
    let query = "q".repeat(1_100);
    assert_eq!(get(&site, &format!("/posts/?{query}"), "").status, 414);
}

#[test]
fn rules_and_a_page_asked_for_with_a_slash() {
    let pages = [("index.html", "home"), ("posts.html", "posts"), ("new.html", "new")];
    let ruled = |rules| site(&[&pages[..], &[("_redirects", rules)]].concat());
    for (rules, path, location) in [
        // As where there is a page: a rule waits, unless it has a `!`.
        ("/* /index.html 200", "/posts/", "/posts"),
        ("/posts /new 302", "/posts/", "/posts"),
        ("/posts /new 302!", "/posts/", "/new"),
        ("/posts/* /new 302!", "/posts/?q", "/new?q"),
        // Rules that take the page's address, or would lead back, leave no loop.
        ("/posts /posts/ 301!", "/posts", "/posts/"),
        ("/* /:splat/ 301!", "/posts", "/posts/"),
    ] {
        assert_eq!(get(&ruled(rules), path, "").location(), location, "{rules} {path}");
    }
    for (rules, status, body) in [
        ("/posts /posts/ 301!", 404, "404 Not Found\n"),
        ("/* /:splat/ 301!", 404, "404 Not Found\n"),
        ("/* /:splat/ 301!\n/*/ /:splat.html 200", 200, "posts"),
        ("/posts /posts/ 301!\n/posts/ /posts 200", 200, "posts"),
        ("/posts/ /posts 200!", 200, "posts"),
        ("/posts/ /posts/ 200!", 200, "posts"),
        ("/posts/ /posts 410!", 410, "posts"),
    ] {
        let answer = get(&ruled(rules), "/posts/", "");
        assert_eq!((answer.status, answer.body.as_str()), (status, body), "{rules}");
    }
}

#[test]
fn short_addresses_on_request() {
    let site = site(&[
        ("index.html", "home"),
        ("x.html", "x"),
        ("d/index.html", "d"),
        ("_redirects", "/index.html / 301!\n/*/index.html /:splat/ 301!\n/*.html /:splat 301!\n"),
    ]);
    for (path, location) in
        [("/index.html", "/"), ("/x.html", "/x"), ("/d/index.html", "/d/"), ("/x.html?q", "/x?q")]
    {
        assert_eq!(get(&site, path, "").location(), location, "{path}");
    }
    for (path, body) in [("/", "home"), ("/x", "x"), ("/d/", "d")] {
        assert_eq!(get(&site, path, "").body, body, "{path}");
    }
}

#[test]
fn header_rules_on_every_kind_of_answer() {
    let site = ruled(
        "",
        "/*\n  Cache-Control: max-age=60\n  Content-Type: text/weird\n  X-Policy: p\n  ! X-Content-Type-Options\n",
    );
    let lines = |answer: &super::ask::Answered| {
        ["cache-control", "content-type", "x-policy", "x-content-type-options"]
            .map(|name| answer.field(name).unwrap_or_default())
    };
    let whole = get(&site, "/about", "");
    assert_eq!(lines(&whole), ["max-age=60", "text/weird", "p", ""]);
    let etag = whole.field("etag").unwrap();
    assert_eq!(lines(&get(&site, "/about", "Range: bytes=0-1\r\n")), ["max-age=60", "text/weird", "p", ""]);
    // RFC 9110 §15.4.5: of 304, only what a cache needs.
    let known = get(&site, "/about", &format!("If-None-Match: {etag}\r\n"));
    assert_eq!((known.status, lines(&known)), (304, ["max-age=60", "", "", ""].map(str::to_owned)));
    // Errors are neither cached like the content nor of its type.
    for answer in [
        get(&site, "/nothing", ""),
        get(&site, "/about", "If-Match: \"x\"\r\n"),
        get(&site, "/about", "Range: bytes=99-\r\n"),
    ] {
        assert_eq!(lines(&answer), ["", "text/plain; charset=utf-8", "p", ""], "{}", answer.status);
    }
    // A page of the site's as an error: its own type.
    let missing = get(&site, "/en/nothing", "");
    assert_eq!(lines(&missing), ["", "text/html; charset=utf-8", "p", ""]);
    let head = ask(&site, "HEAD", "/about", "h", "");
    assert_eq!(head.head, whole.head);
}

#[test]
fn header_rules_see_the_path_as_files_do() {
    let site = ruled("", "/news/*\n  X-News: yes\n/caf\u{e9}\n  X-Cafe: yes\n");
    for path in
        ["/news/today", "/news/", "//news//today", "/x/../news/today", "/%6eews/today", "/news/tod%61y"]
    {
        assert_eq!(get(&site, path, "").field("x-news").as_deref(), Some("yes"), "{path}");
    }
    assert_eq!(get(&site, "/caf%c3%a9", "").field("x-cafe").as_deref(), Some("yes"));
}

#[test]
fn a_later_rule_replaces_by_taking_away_first() {
    let site = ruled("", "/*\n  X-A: wide\n/news/*\n  ! X-A\n  X-A: narrow\n");
    assert_eq!(get(&site, "/about", "").field("x-a").unwrap(), "wide");
    assert_eq!(get(&site, "/news/", "").field("x-a").unwrap(), "narrow");
}

#[test]
fn rules_that_never_apply_are_known() {
    let text =
        "/a /x\n/a /y\n/b/* /x\n/b/c /y\n/b/:d /y\n/b/e /y 301!\n/* /index.html 200\n/z /y\n/* /q 301\n";
    let rules = sitar_site::Rules::compile(None, Some(text.as_bytes())).unwrap();
    let lines: Vec<_> = rules.shadowed().iter().map(|rule| (rule.line, rule.by)).collect();
    // The fallback of line 7 leaves paths of assets to the rules after it.
    assert_eq!(lines, [(2, 1), (4, 3), (5, 3)]);
}

#[test]
fn an_archive_and_a_directory_bring_the_same_rules() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("html");
    std::fs::create_dir(&root).unwrap();
    for (name, text) in [
        ("index.html", "home"),
        ("_headers", "/\n  X-A: b\n"),
        ("_redirects", "/old /new 308\n"),
        ("404.html", "no"),
    ] {
        std::fs::write(root.join(name), text).unwrap();
    }
    let archive = folder.path().join("site.tar");
    let tar = std::process::Command::new("tar")
        .arg("-C")
        .arg(folder.path())
        .arg("-cf")
        .arg(&archive)
        .arg("html")
        .status();
    assert!(tar.unwrap().success());
    let prefix = Options { prefix: Some("html".to_owned()), ..Options::default() };
    for site in [
        Site::open(&root, &Options::default()).unwrap(),
        Site::open(folder.path(), &prefix).unwrap(),
        Site::open(&archive, &prefix).unwrap(),
    ] {
        assert_eq!(get(&site, "/", "").field("x-a").unwrap(), "b");
        assert_eq!(
            (get(&site, "/old", "").status, get(&site, "/old", "").location().as_str()),
            (308, "/new")
        );
        assert_eq!((get(&site, "/x", "").status, get(&site, "/x", "").body.as_str()), (404, "no"));
        assert_eq!((get(&site, "/_headers", "").status, get(&site, "/_redirects", "").status), (404, 404));
    }
    std::fs::write(root.join("_redirects"), "/old\n").unwrap();
    let refused = Site::open(&root, &Options::default()).map(|site| site.len()).unwrap_err().to_string();
    assert!(
        refused.ends_with("html: _redirects:1: there is no target: '/old'; a rule is: /source /target 301"),
        "{refused}"
    );
}
