//! Fields that several rules set, on which answers it goes out, and files that are
//! stored encoded.

use super::ask::{Answered, ask, get, site};
use super::ruled;

/// The values of a header, one for each of its lines.
fn lines<'a>(answer: &'a Answered, name: &str) -> Vec<&'a str> {
    let lines = answer.head.split("\r\n").skip(1).map(|line| line.split_once(": ").unwrap());
    lines.filter(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect()
}

#[test]
fn of_a_field_with_one_value_the_last_rule_counts() {
    for (name, wide, narrow) in [
        ("Content-Type", "text/plain", "text/x-narrow"),
        ("Cache-Control", "max-age=60", "no-store"),
        ("CDN-Cache-Control", "max-age=60", "no-store"),
        ("Content-Disposition", "inline", "attachment; filename=\"a, b\""),
        ("Access-Control-Allow-Origin", "https://a.example", "*"),
        ("Access-Control-Allow-Credentials", "true", "false"),
        ("Access-Control-Max-Age", "60", "600"),
        ("X-Frame-Options", "DENY", "SAMEORIGIN"),
        ("Strict-Transport-Security", "max-age=60", "max-age=31536000; includeSubDomains"),
        ("Referrer-Policy", "no-referrer", "same-origin"),
        ("X-Content-Type-Options", "nosniff", "x"),
        ("Cross-Origin-Opener-Policy", "same-origin", "unsafe-none"),
        ("Cross-Origin-Embedder-Policy", "require-corp", "unsafe-none"),
        ("Cross-Origin-Resource-Policy", "same-origin", "cross-origin"),
        ("Expires", "0", "Sun, 06 Nov 1994 08:49:37 GMT"),
        ("Content-Location", "/a", "/b"),
        ("X-XSS-Protection", "0", "1"),
        ("Origin-Agent-Cluster", "?0", "?1"),
        ("SourceMap", "/a.map", "/b.map"),
    ] {
        let lower = name.to_lowercase();
        let site = ruled("", &format!("/*\n  {name}: {wide}\n/news/*\n  {lower}: {narrow}\n"));
        assert_eq!(lines(&get(&site, "/about", ""), name), [wide], "{name}");
        assert_eq!(lines(&get(&site, "/news/today", ""), name), [narrow], "{name}");
        assert_eq!(lines(&get(&site, "/news/today", "Range: bytes=0-1\r\n"), name), [narrow], "{name}");
        // The rule that stands last, not the narrower one.
        let site = ruled("", &format!("/news/*\n  {name}: {narrow}\n/*\n  {name}: {wide}\n"));
        assert_eq!(lines(&get(&site, "/news/today", ""), name), [wide], "{name}");
        // Filled in, it is no different.
        let site = ruled("", &format!("/*\n  {name}: {wide}\n/news/:page\n  {name}: :page\n"));
        assert_eq!(lines(&get(&site, "/news/today", ""), name), ["today"], "{name}");
    }
}

#[test]
fn within_one_rule_the_last_line_counts_and_directives_are_one_list() {
    let site = ruled(
        "",
        "/*\n  X-Frame-Options: DENY\n  Content-Type: text/a\n  x-frame-options: SAMEORIGIN\n  Content-Type: text/b\n  \
         Cache-Control: public\n  Cache-Control: max-age=60\n/news/*\n  Cache-Control: no-cache\n  Cache-Control: private\n",
    );
    let answer = get(&site, "/about", "");
    assert_eq!(lines(&answer, "x-frame-options"), ["SAMEORIGIN"]);
    assert_eq!(lines(&answer, "content-type"), ["text/b"]);
    assert_eq!(lines(&answer, "cache-control"), ["public, max-age=60"]);
    assert_eq!(lines(&get(&site, "/news/today", ""), "cache-control"), ["no-cache, private"]);
}

#[test]
fn every_other_field_leaves_as_one_list_and_cookies_apart() {
    let site = ruled(
        "",
        "/*\n  Content-Security-Policy: default-src 'self'\n  Link: </a>; rel=preload\n  Set-Cookie: a=1\n  X-One: 1\n\
         /news/*\n  X-Robots-Tag: noindex\n  content-security-policy: img-src *\n  Set-Cookie: b=2\n  Set-Cookie: c=3\n\
         /:folder/:page\n  Link: </:page>; rel=next\n  X-Robots-Tag: nofollow\n\
         /news/today\n  Link: </b>\n  X-Robots-Tag: noarchive\n  X-Robots-Tag: nosnippet\n",
    );
    let answer = get(&site, "/news/today", "");
    assert_eq!(lines(&answer, "content-security-policy"), ["default-src 'self', img-src *"]);
    assert_eq!(lines(&answer, "x-robots-tag"), ["noindex, nofollow, noarchive, nosnippet"]);
    assert_eq!(lines(&answer, "link"), ["</a>; rel=preload, </today>; rel=next, </b>"]);
    assert_eq!(lines(&answer, "set-cookie"), ["a=1", "b=2", "c=3"]);
    assert_eq!(lines(&answer, "x-one"), ["1"]);
    let answer = get(&site, "/about", "");
    assert_eq!(lines(&answer, "content-security-policy"), ["default-src 'self'"]);
    assert_eq!(lines(&answer, "link"), ["</a>; rel=preload"]);
    assert_eq!(lines(&get(&site, "/news/x", ""), "x-robots-tag"), ["noindex, nofollow"]);
}

/// A line that does not fit with a long path is left out; one that needs nothing filled in stays.
#[test]
fn a_list_that_cannot_be_filled_in_goes_without_that_part() {
    let site = ruled("", "/*\n  X-List: a\n/x/*\n  X-List: :splat\n/*\n  X-List: b\n");
    assert_eq!(lines(&get(&site, "/x/y", ""), "x-list"), ["a, y, b"]);
    assert_eq!(lines(&get(&site, &format!("/x/{}", "y".repeat(2000)), ""), "x-list"), ["a, b"]);
}

#[test]
fn vary_of_the_rules_is_joined_to_the_servers_own() {
    let with = |headers: &str| {
        site(&[("a.js", "script"), ("a.js.gz", "gz"), ("b.js", "script"), ("_headers", headers)])
    };
    for (headers, encoded, plain) in [
        ("/*\n  Vary: Origin\n", "Accept-Encoding, Origin", "Origin"),
        ("/*\n  Vary: Origin\n/a*\n  Vary: Cookie\n", "Accept-Encoding, Origin, Cookie", "Origin"),
        ("/*\n  Vary: Origin, accept-encoding\n", "Origin, accept-encoding", "Origin, accept-encoding"),
        ("/*\n  Vary: *\n", "*", "*"),
        ("/*\n  Vary: *\n/*\n  ! Vary\n", "Accept-Encoding", ""),
        (
            "/*\n  Vary: Origin\n  Content-Type: text/a\n  Cache-Control: c\n",
            "Accept-Encoding, Origin",
            "Origin",
        ),
    ] {
        let site = with(headers);
        for accept in ["", "Accept-Encoding: gzip\r\n"] {
            let answer = get(&site, "/a.js", accept);
            assert_eq!(lines(&answer, "vary"), [encoded], "{headers:?} {accept}");
            let etag = answer.field("etag").unwrap();
            let known = get(&site, "/a.js", &format!("{accept}If-None-Match: {etag}\r\n"));
            assert_eq!((known.status, lines(&known, "vary")), (304, vec![encoded]), "{headers:?} {accept}");
            let no_part = get(&site, "/a.js", &format!("{accept}Range: bytes=99-\r\n"));
            assert_eq!((no_part.status, lines(&no_part, "vary")), (416, vec![encoded]), "{headers:?}");
        }
        let answer = get(&site, "/b.js", "");
        assert_eq!(answer.field("vary").unwrap_or_default(), plain, "{headers:?}");
        assert!(lines(&answer, "vary").len() < 2, "{headers:?}");
    }
}

const OPEN: &str = "/*\n  Access-Control-Allow-Origin: https://a.example\n  Access-Control-Allow-Methods: GET\n  \
    Access-Control-Allow-Headers: X-Own\n  Access-Control-Max-Age: 600\n  Vary: Origin\n  Timing-Allow-Origin: *\n  \
    Cross-Origin-Resource-Policy: cross-origin\n  Referrer-Policy: no-referrer\n  X-Robots-Tag: noindex\n  \
    Strict-Transport-Security: max-age=60\n  Cache-Control: max-age=60\n  Content-Language: en\n  Content-Type: text/x\n  \
    Content-Security-Policy: default-src 'self'\n  X-Policy: p\n";

/// The names of the header lines, sorted.
fn names(answer: &Answered) -> Vec<String> {
    let lines = answer.head.split("\r\n").skip(1).map(|line| line.split_once(": ").unwrap());
    let mut names: Vec<_> = lines.map(|(name, _)| name.to_lowercase()).collect();
    names.sort();
    names
}

const ACCESS: [&str; 10] = [
    "access-control-allow-headers",
    "access-control-allow-methods",
    "access-control-allow-origin",
    "access-control-max-age",
    "cross-origin-resource-policy",
    "referrer-policy",
    "strict-transport-security",
    "timing-allow-origin",
    "vary",
    "x-robots-tag",
];

fn access_and(more: &[&str]) -> Vec<String> {
    let mut names: Vec<_> = ACCESS.iter().chain(more).map(|&name| name.to_owned()).collect();
    names.sort();
    names
}

#[test]
fn an_answer_to_options_is_a_preflights_and_never_a_redirect() {
    let site = ruled("/old /new 301\n/about /news/ 302!\n/* /index.html 200\n", OPEN);
    for path in ["/", "/about", "/old", "/news", "/nothing", "/app.js", "/news/%74oday"] {
        let preflight = "Origin: https://a.example\r\nAccess-Control-Request-Method: GET\r\n";
        let answer = ask(&site, "OPTIONS", path, "h", preflight);
        assert_eq!((answer.status, answer.body.as_str()), (204, ""), "{path}");
        assert_eq!(names(&answer), access_and(&["allow"]), "{path}");
        assert_eq!(lines(&answer, "allow"), ["GET, HEAD, OPTIONS"], "{path}");
        assert_eq!(lines(&answer, "access-control-allow-origin"), ["https://a.example"], "{path}");
    }
    // For a path of its own, and with what is filled in.
    let site = ruled("", "/fonts/:name\n  Access-Control-Allow-Origin: https://:name.example\n");
    let answer = ask(&site, "OPTIONS", "/fonts/x", "h", "");
    assert_eq!(lines(&answer, "access-control-allow-origin"), ["https://x.example"]);
    assert_eq!(names(&ask(&site, "OPTIONS", "/other", "h", "")), ["allow"]);
    assert_eq!(ask(&site, "OPTIONS", "/%zz", "h", "").status, 204);
}

#[test]
fn redirects_say_who_may_follow_them() {
    let site = ruled(
        "/old /new 301\n/found https://other.example/ 302\n/see /x 303\n/t /x 307\n/p/* /x/:splat 308\n\
         https://www.example.org/* https://example.org/:splat 301!\n",
        OPEN,
    );
    for (path, status) in
        [("/old", 301), ("/found", 302), ("/see", 303), ("/t", 307), ("/p/a", 308), ("/old?a=1", 301)]
    {
        let answer = get(&site, path, "Origin: https://a.example\r\n");
        assert_eq!(answer.status, status, "{path}");
        let own = ["content-length", "content-type", "location", "x-content-type-options"];
        assert_eq!(names(&answer), access_and(&own), "{path}");
        assert_eq!(lines(&answer, "content-type"), ["text/plain; charset=utf-8"], "{path}");
    }
    // From one host to another: HSTS on the first one too.
    let answer = ask(&site, "GET", "/about", "www.example.org", "");
    assert_eq!((answer.status, answer.location().as_str()), (301, "https://example.org/about"));
    assert_eq!(lines(&answer, "strict-transport-security"), ["max-age=60"]);
    // To a folder or a page, which must not be stored.
    for path in ["/news", "/news?a=1", "/about/"] {
        let answer = get(&site, path, "");
        let own = ["cache-control", "content-length", "content-type", "location", "x-content-type-options"];
        assert_eq!((answer.status, names(&answer)), (301, access_and(&own)), "{path}");
        assert_eq!(lines(&answer, "cache-control"), ["no-store"], "{path}");
    }
    assert_eq!(names(&ask(&site, "HEAD", "/old", "h", "")), names(&get(&site, "/old", "")));
}

#[test]
fn what_is_not_the_content_carries_policies_too() {
    let site = ruled("/r/* /to/:splat 301\n", OPEN);
    let own =
        ["content-length", "content-type", "content-security-policy", "x-content-type-options", "x-policy"];
    let with = |more: &[&str]| access_and(&[&own[..], more].concat());
    assert_eq!(names(&get(&site, "/nothing", "")), with(&[]));
    assert_eq!(names(&get(&site, &format!("/r/{}", "a".repeat(2000)), "")), with(&[]));
    assert_eq!(names(&ask(&site, "POST", "/about", "h", "Content-Length: 0\r\n")), with(&["allow"]));
    assert_eq!(names(&ask(&site, "BREW", "/about", "h", "")), with(&[]));
    let answer = get(&site, "/about", "Range: bytes=99-\r\n");
    assert_eq!((answer.status, names(&answer)), (416, with(&["content-range"])));
    let etag = get(&site, "/about", "").field("etag").unwrap();
    let known = get(&site, "/about", &format!("If-None-Match: {etag}\r\n"));
    // A script's own conditional request sees it, and a cache takes it over.
    assert_eq!((known.status, names(&known)), (304, access_and(&["cache-control", "etag"])));
}

/// The longest name of a folder, escaped byte by byte, and all that rules may add: more than a head
/// has room for.
#[test]
fn a_redirect_to_a_long_name_keeps_within_what_a_head_may_have() {
    let large = format!("/*\n  Access-Control-Allow-Headers: {}\n", "x".repeat(8_000));
    let folder = "[".repeat(200);
    let name = format!("{}/index.html", [&*folder; 20].join("/"));
    let short = site(&[(&name, ""), ("d/index.html", ""), ("_headers", &large)]);
    assert_eq!(lines(&get(&short, "/d", ""), "access-control-allow-headers"), ["x".repeat(8_000)]);
    let path = name.strip_suffix("/index.html").unwrap();
    let answer = get(&short, &format!("/{path}"), "");
    assert_eq!((answer.status, answer.location()), (301, format!("/{}/", path.replace('[', "%5B"))));
    assert_eq!(lines(&answer, "access-control-allow-headers"), [""; 0]);
}

const UNITY: &[(&str, &str)] = &[
    ("Build/g.wasm.gz", "\x1f wasm"),
    ("Build/g.framework.js.br", "br js"),
    ("Build/g.data.unityweb", "\x1f data"),
    ("Build/g.symbols.json.zst", "zst json"),
    ("Build/g.loader.js", "loader"),
    ("app.js", "stored encoded"),
    ("app.js.br", "a sidecar"),
    ("logo.svgz", "\x1f svg"),
    ("logo.svgz.br", "no sidecar"),
    ("only.css.gz", "only"),
    (
        "_headers",
        "/Build/*.gz\n  Content-Encoding: gzip\n/Build/*.br\n  content-encoding: BR\n/*.unityweb\n  Content-Encoding: gzip\n\
         /Build/*.zst\n  Content-Encoding: zstd\n  Content-Type: application/x-own\n/app.js\n  Content-Encoding: deflate\n\
         /only.css\n  Content-Encoding: gzip\n",
    ),
];

#[test]
fn files_that_are_stored_encoded_are_sent_as_what_they_are() {
    let site = site(UNITY);
    for (path, coding, media, body) in [
        ("/Build/g.wasm.gz", Some("gzip"), "application/wasm", "\x1f wasm"),
        ("/Build/g.framework.js.br", Some("BR"), "text/javascript; charset=utf-8", "br js"),
        ("/Build/g.data.unityweb", Some("gzip"), "application/octet-stream", "\x1f data"),
        ("/Build/g.symbols.json.zst", Some("zstd"), "application/x-own", "zst json"),
        ("/Build/g.loader.js", None, "text/javascript; charset=utf-8", "loader"),
        ("/app.js", Some("deflate"), "text/javascript; charset=utf-8", "stored encoded"),
        ("/app.js.br", None, "application/octet-stream", "a sidecar"),
        ("/logo.svgz", Some("gzip"), "image/svg+xml; charset=utf-8", "\x1f svg"),
    ] {
        // It is not negotiated: the same for every client, so nothing varies.
        let plain = get(&site, path, "");
        for accept in ["", "Accept-Encoding: br, gzip, zstd\r\n", "Accept-Encoding: identity\r\n"] {
            let answer = get(&site, path, accept);
            assert_eq!((answer.status, answer.body.as_str()), (200, body), "{path} {accept}");
            assert_eq!(answer.head, plain.head, "{path} {accept}");
        }
        assert_eq!(lines(&plain, "content-encoding"), Vec::from_iter(coding), "{path}");
        assert_eq!(lines(&plain, "content-type"), [media], "{path}");
        assert_eq!((plain.field("vary"), lines(&plain, "etag").len()), (None, 1), "{path}");
        // Ranges are of the bytes that are sent, under the same validator.
        let etag = plain.field("etag").unwrap();
        let part = get(&site, path, &format!("Range: bytes=0-1\r\nIf-Range: {etag}\r\n"));
        assert_eq!((part.status, part.body.as_str()), (206, &body[..2]), "{path}");
        assert_eq!(part.field("etag").unwrap(), etag, "{path}");
        assert_eq!(lines(&part, "content-encoding"), Vec::from_iter(coding), "{path}");
        assert_eq!(lines(&part, "content-type"), [media], "{path}");
        let known = get(&site, path, &format!("If-None-Match: {etag}\r\n"));
        assert_eq!((known.status, known.field("content-encoding"), known.field("vary")), (304, None, None));
        let no_part = get(&site, path, "Range: bytes=99-\r\n");
        assert_eq!(
            (no_part.status, no_part.field("content-encoding"), no_part.field("vary")),
            (416, None, None)
        );
    }
    // RFC 9110 §15.3.7.2: a frame of several parts would have no coding, so the first one has to
    // do.
    let content = "x".repeat(4000);
    let long = super::ask::site(&[("a.gz", &content), ("_headers", "/*\n  Content-Encoding: gzip\n")]);
    let part = get(&long, "/a.gz", "Range: bytes=0-0,3000-3000\r\n");
    assert_eq!((part.status, part.body.as_str()), (206, "x"));
    assert_eq!(lines(&part, "content-range"), ["bytes 0-0/4000"]);
    // Where there is nothing but that coding as a sidecar, that is it; an error is not of the
    // file's coding.
    let only = get(&site, "/only.css", "");
    assert_eq!((only.status, only.body.as_str()), (200, "only"));
    assert_eq!(lines(&only, "content-encoding"), ["gzip"]);
    let missing = get(&site, "/Build/gone.gz", "");
    assert_eq!((missing.status, missing.field("content-encoding")), (404, None));
    // Its own name is all that it is: no second decoding.
    assert_eq!(get(&site, "/logo.svgz.br", "").field("content-encoding"), None);
}

#[test]
fn a_rule_takes_the_coding_of_those_before_it_away() {
    let site = site(&[
        ("a.tgz", "an archive"),
        ("a.tgz.br", "br"),
        ("down/a.tgz", "a download"),
        ("down/a.tgz.br", "br"),
        ("down/in/a.tgz", "br again"),
        (
            "_headers",
            "/*.tgz\n  Content-Encoding: gzip\n/down/*\n  ! Content-Encoding\n/down/in/*\n  ! Content-Encoding\n  \
             Content-Encoding: br\n",
        ),
    ]);
    let accept = "Accept-Encoding: br\r\n";
    for (path, accept, coding, vary, body) in [
        ("/a.tgz", "", Some("gzip"), None, "an archive"),
        ("/a.tgz", accept, Some("gzip"), None, "an archive"),
        ("/down/a.tgz", "", None, Some("Accept-Encoding"), "a download"),
        ("/down/a.tgz", accept, Some("br"), Some("Accept-Encoding"), "br"),
        ("/down/in/a.tgz", "", Some("br"), None, "br again"),
    ] {
        let answer = get(&site, path, accept);
        assert_eq!(lines(&answer, "content-encoding"), Vec::from_iter(coding), "{path} {accept}");
        assert_eq!(lines(&answer, "vary"), Vec::from_iter(vary), "{path} {accept}");
        assert_eq!(answer.body, body, "{path} {accept}");
    }
    // From what sitar negotiates no rule takes it.
    let errors = super::refused("", "/down/*\n  ! Content-Encoding\n/*.tgz\n  Content-Encoding: gzip\n");
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(
        errors[0].starts_with("_headers:1: ! Content-Encoding, and no rule before it sets one"),
        "{errors:?}"
    );
}

#[test]
fn a_page_for_what_is_missing_is_not_of_the_coding_that_was_asked_for() {
    let site =
        site(&[("404.html", "missing"), ("404.html.gz", "gz"), ("_headers", "/*\n  Content-Encoding: br\n")]);
    let answer = get(&site, "/x.br", "");
    assert_eq!((answer.status, answer.body.as_str()), (404, "missing"));
    assert_eq!(answer.field("content-encoding"), None);
    let answer = get(&site, "/x.br", "Accept-Encoding: gzip\r\n");
    assert_eq!((answer.status, answer.body.as_str()), (404, "gz"));
    assert_eq!(lines(&answer, "content-encoding"), ["gzip"]);
    assert_eq!(lines(&answer, "vary"), ["Accept-Encoding"]);
}

#[test]
fn one_coding_that_browsers_decode_and_no_other() {
    for (value, is_coding) in [
        ("gzip", true),
        ("GZip", true),
        ("br", true),
        ("zstd", true),
        ("deflate", true),
        ("identity", false),
        ("compress", false),
        ("gzip, br", false),
        ("gzip;q=1", false),
        (":splat", false),
        ("aes128gcm", false),
    ] {
        let errors = super::refused("", &format!("/*\n  Content-Encoding: {value}\n"));
        assert_eq!(errors.is_empty(), is_coding, "{value}: {errors:?}");
        assert!(errors.iter().all(|error| {
            error.ends_with("write Content-Encoding: gzip, br, zstd or deflate, or take the line out")
        }));
    }
}

#[test]
fn paths_that_can_never_match_are_refused_with_what_to_write() {
    for (path, reason, hint) in [
        ("/x.html # note", "a comment behind a path", "write it on a line of its own, and here /x.html"),
        ("/x.html\t#note", "a comment behind a path", "write it on a line of its own, and here /x.html"),
        ("/a b.html", "a space in a path", "write /a%20b.html"),
        ("/a\tb.html", "a space in a path", "write /a%09b.html"),
        ("/a /b", "two paths in one line", "write a rule for each, with its own header lines"),
        ("/a X-A: b", "a header line behind a path", "write it on the next line"),
        ("/*.{js,css}", "braces in a path", "write a rule for each: /*.js and /*.css"),
        ("/{a}/*", "braces in a path", "write /%7Ba%7D/*"),
        ("/a}", "braces in a path", "write /a%7D"),
        ("/a?b=c", "a path has no query here", "write /a"),
        ("/?", "a path has no query here", "write /"),
        ("/a#b", "a path has no fragment", "write /a"),
        ("/a\\b", "a backslash in a path", "write /a/b"),
        ("/a|b", "a | in a path", "write a rule for each path"),
        ("/(.*)", "a regular expression", "write /*"),
        ("/a/(.*)", "a regular expression", "write /a/*"),
        ("/a/.*", "a regular expression", "write /a/*"),
        ("/x/[0-9]/y", "a regular expression", "write * for any text, or :name for one segment of the path"),
        ("/x.js$", "a $ at the end of a path", "write /x.js"),
        ("/a^b", "a character that no address has", "write /a%5Eb"),
        ("/a\"b", "a character that no address has", "write /a%22b"),
        ("/<a>", "a character that no address has", "write /%3Ca%3E"),
        ("/a\u{1}b", "a control character in a path", "write /a%01b"),
        (
            "//host.example/*",
            "two slashes at the beginning of a path",
            "write /host.example/*, or with a host https://host.example/*",
        ),
        ("/a/./b", "a source with '.' or '..'", "write the path that it stands for"),
        ("/a/../b", "a source with '.' or '..'", "write the path that it stands for"),
        ("/a/%2e%2e/b", "a source with '.' or '..'", "write the path that it stands for"),
        ("/%zz", "a segment is no valid path", "escape bytes as %20"),
        ("/a%", "a segment is no valid path", "escape bytes as %20"),
        ("/%00", "a segment is no valid path", "escape bytes as %20"),
        ("/**", "more than one splat", "keep one"),
        ("HTTPS://a.example/*", "a host stands behind https://", "write https://a.example/*"),
        ("ftp://a.example/*", "a host stands behind https://", "write https://a.example/*"),
        ("https://a.example", "a host without a path", "say which paths of it: https://host/*"),
        ("https://a.example:8443/*", "the host is not valid", "write it as in https://example.com/*"),
        ("https://a.example/x y", "a space in a path", "write https://a.example/x%20y"),
    ] {
        let errors = super::refused("", &format!("/ok\n  X-A: b\n{path}\n  X-A: b\n"));
        assert_eq!(errors.len(), 1, "{path}: {errors:?}");
        assert!(errors[0].starts_with(&format!("_headers:3: {reason}")), "{path}: {}", errors[0]);
        assert!(errors[0].contains(&format!("'; {hint}")), "{path}: {}", errors[0]);
    }
    for path in [
        "/wiki/Foo_(bar)",
        "/app/[slug]/page.js",
        "/a+b!c,d;e=f@g'h",
        "/$a/b$c",
        "/app.*",
        "/.well-known/*",
        "/.well-known/security.txt",
        "/.w*",
        "/a.b/c",
        "/caf\u{e9}",
        "/a%7Bb",
        "/a%20b",
        "/a%23b",
        "/a%3Fb",
        "/a//b",
        "/_headers/x",
        "/_headers",
        "/_redirects",
        "/.git/*",
        "/.vite/*",
        "/a/.env",
        "/a/.x*",
        "/*/.x",
        "/.x:name",
        "/.well-known/.x",
        "https://a.example/*",
        "http://:name.example/*",
    ] {
        assert_eq!(super::refused("", &format!("{path}\n  X-A: b\n")), [""; 0], "{path}");
    }
}

#[test]
fn sources_of_redirects_that_can_never_match_are_refused_too() {
    for (source, reason, hint) in [
        ("/*.{js,css}", "braces in a path", "write a rule for each: /*.js and /*.css"),
        ("/a/(.*)", "a regular expression", "write /a/*"),
        ("/a\\b", "a backslash in a path", "write /a/b"),
        ("/x.php$", "a $ at the end of a path", "write /x.php"),
        ("/a\u{1}b", "a control character in a path", "write /a%01b"),
        ("//host.example/*", "two slashes at the beginning of a path", "write /host.example/*"),
    ] {
        let errors = super::refused(&format!("{source} /to 301\n"), "");
        assert_eq!(errors.len(), 1, "{source}: {errors:?}");
        assert!(errors[0].starts_with(&format!("_redirects:1: {reason}")), "{source}: {}", errors[0]);
        assert!(errors[0].contains(&format!("'; {hint}")), "{source}: {}", errors[0]);
    }
    // What is never served may lead elsewhere, and a page may be looked for there.
    assert_eq!(super::refused("/.env /404 404\n/.git/* / 301\n/_headers / 301\n", ""), [""; 0]);
}

#[test]
fn rules_hold_where_no_file_is_ever_served() {
    let site = ruled(
        "/.netlify/functions/* https://api.example/:splat 307\n/.app/* /about 200\n",
        "/.netlify/*\n  Access-Control-Allow-Origin: *\n/.app/*\n  Cache-Control: no-store\n/.git/*\n  X-Robots-Tag: \
         noindex\n/_headers\n  X-Robots-Tag: none\n/.vite/*\n  Cache-Control: max-age=60\n",
    );
    for (method, path, status, name, value) in [
        ("GET", "/.netlify/functions/a", 307, "access-control-allow-origin", Some("*")),
        ("OPTIONS", "/.netlify/functions/a", 204, "access-control-allow-origin", Some("*")),
        ("GET", "/.app/x", 200, "cache-control", Some("no-store")),
        ("GET", "/.git/config", 404, "x-robots-tag", Some("noindex")),
        ("GET", "/_headers", 404, "x-robots-tag", Some("none")),
        ("GET", "/.vite/manifest.json", 404, "cache-control", None),
    ] {
        let answer = ask(&site, method, path, "h", "");
        assert_eq!((answer.status, answer.field(name).as_deref()), (status, value), "{method} {path}");
    }
}

#[test]
fn a_line_with_placeholders_goes_out_beside_a_list_that_it_is_too_long_for() {
    let long = format!("default-src {}", "https://long.example ".repeat(55).trim_end());
    let rules = format!(
        "/news/:page\n  Content-Security-Policy: report-uri /:page\n  X-List: :page\n/*\n  Content-Security-Policy: \
         {long}\n  X-List: a\n/news/*\n  Content-Security-Policy: frame-ancestors /:splat\n  X-List: c\n"
    );
    let answer = get(&ruled("", &rules), "/news/today", "");
    assert_eq!(
        lines(&answer, "content-security-policy"),
        [&*long, "report-uri /today, frame-ancestors /today"]
    );
    assert_eq!(lines(&answer, "x-list"), ["today, a, c"]);
}
