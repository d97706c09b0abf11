//! Cloudflare Pages: "Redirects" and "Headers" of its documentation.

use super::ask::{ask, get, site};
use super::ruled;

#[test]
fn the_complete_example_of_redirects() {
    let site = ruled(
        "/home301 / 301\n\
         /home302 / 302\n\
         /querystrings /?query=string 301\n\
         /twitch https://twitch.tv\n\
         /trailing /trailing/ 301\n\
         /notrailing/ /nottrailing 301\n\
         /page/ /page2/#fragment 301\n\
         /blog/* https://blog.my.domain/:splat\n\
         /products/:code/:name /products?code=:code&name=:name\n",
        "",
    );
    for (path, status, location) in [
        ("/home301", 301, "/"),
        ("/home302", 302, "/"),
        ("/querystrings", 301, "/?query=string"),
        // Without a status: 301, as with Netlify; Cloudflare says 302.
        ("/twitch", 301, "https://twitch.tv"),
        ("/trailing", 301, "/trailing/"),
        ("/notrailing/", 301, "/nottrailing"),
        ("/page/", 301, "/page2/#fragment"),
        ("/blog/2024/01/post", 301, "https://blog.my.domain/2024/01/post"),
        ("/products/12/chair", 301, "/products?code=12&name=chair"),
    ] {
        let answer = get(&site, path, "");
        assert_eq!((answer.status, answer.location().as_str()), (status, location), "{path}");
    }
    // What only adds a slash does not apply to what has it.
    assert_eq!(get(&site, "/trailing/", "").status, 404);
    assert_eq!(get(&site, "/nottrailing", "").status, 404);
    // The fragment comes last, behind a query that is passed on.
    assert_eq!(get(&site, "/page/?a=1", "").location(), "/page2/?a=1#fragment");
}

#[test]
fn the_first_of_two_rules_for_a_path_counts() {
    let site = ruled("/a /first 302\n/a /second 302\n", "");
    assert_eq!(get(&site, "/a", "").location(), "/first");
}

#[test]
fn every_redirect_status() {
    let site = ruled("/a /x 301\n/b /x 302\n/c /x 303\n/d /x 307\n/e /x 308\n", "");
    for (path, status, body) in [
        ("/a", 301, "301 Moved Permanently\n"),
        ("/b", 302, "302 Found\n"),
        ("/c", 303, "303 See Other\n"),
        ("/d", 307, "307 Temporary Redirect\n"),
        ("/e", 308, "308 Permanent Redirect\n"),
    ] {
        let answer = get(&site, path, "");
        assert_eq!((answer.status, answer.body.as_str()), (status, body));
    }
}

#[test]
fn placeholders_are_single_segments() {
    let site = ruled(
        "/movies/:title /media/:title\n/blog/:year/:month/:date/:slug /news/:year/:month/:date/:slug\n",
        "",
    );
    assert_eq!(get(&site, "/movies/alien", "").location(), "/media/alien");
    assert_eq!(get(&site, "/movies/alien/3", "").status, 404);
    assert_eq!(get(&site, "/blog/2024/02/03/hello", "").location(), "/news/2024/02/03/hello");
}

#[test]
fn a_rewrite_shows_one_page_and_no_further_rule_applies() {
    let site = site(&[
        ("b.html", "page b"),
        ("c.html", "page c"),
        ("about/faqs.html", "faqs"),
        ("_redirects", "/a /b 200\n/b /c 200!\n/about/faq/* /about/faqs 200\n/blog/* /news/:splat 200\n"),
        ("news/x.html", "news x"),
        ("_headers", "/about/faq/*\n  Link: </about/faqs>; rel=\"canonical\"\n"),
    ]);
    assert_eq!(get(&site, "/a", "").body, "page b");
    assert_eq!(get(&site, "/b", "").body, "page c");
    assert_eq!(get(&site, "/blog/x", "").body, "news x");
    assert_eq!(get(&site, "/blog/y", "").status, 404);
    let answer = get(&site, "/about/faq/1", "");
    assert_eq!((answer.status, answer.body.as_str()), (200, "faqs"));
    assert_eq!(answer.field("link").unwrap(), "</about/faqs>; rel=\"canonical\"");
}

#[test]
fn the_table_of_requests_and_their_headers() {
    let site = site(&[
        ("secure/page.html", "secure"),
        ("static/image.jpg", "picture"),
        ("static/styles.css", "style"),
        ("home.html", "home"),
        (
            "_headers",
            "# This is a comment\n\
             /secure/page\n\
             \x20 X-Frame-Options: DENY\n\
             \x20 X-Content-Type-Options: nosniff\n\
             \x20 Referrer-Policy: no-referrer\n\
             \n\
             /static/*\n\
             \x20 Access-Control-Allow-Origin: *\n\
             \x20 X-Robots-Tag: nosnippet\n\
             \n\
             https://myproject.pages.dev/*\n\
             \x20 X-Robots-Tag: noindex\n",
        ),
    ]);
    for (host, path, expected) in [
        ("custom.domain", "/secure/page", ["DENY", "nosniff", "no-referrer", "", ""]),
        ("custom.domain", "/static/image.jpg", ["", "nosniff", "", "*", "nosnippet"]),
        ("myproject.pages.dev", "/home", ["", "nosniff", "", "", "noindex"]),
        ("myproject.pages.dev", "/secure/page", ["DENY", "nosniff", "no-referrer", "", "noindex"]),
        ("myproject.pages.dev", "/static/styles.css", ["", "nosniff", "", "*", "nosnippet, noindex"]),
        // The port makes no difference.
        ("myproject.pages.dev:8443", "/home", ["", "nosniff", "", "", "noindex"]),
    ] {
        let answer = ask(&site, "GET", path, host, "");
        let names = [
            "x-frame-options",
            "x-content-type-options",
            "referrer-policy",
            "access-control-allow-origin",
            "x-robots-tag",
        ];
        let found = names.map(|name| answer.field(name).unwrap_or_default());
        assert_eq!((answer.status, found), (200, expected.map(str::to_owned)), "{host}{path}");
    }
}

#[test]
fn a_header_is_taken_away_from_a_wider_rule() {
    let site = ruled(
        "",
        "/*\n  Content-Security-Policy: default-src 'self';\n\n/*.jpg\n  ! Content-Security-Policy\n",
    );
    assert_eq!(get(&site, "/", "").field("content-security-policy").unwrap(), "default-src 'self';");
    assert_eq!(get(&site, "/image.jpg", "").field("content-security-policy"), None);
}

#[test]
fn header_values_with_captures() {
    let site = site(&[
        ("movies/alien.html", "film"),
        ("index.html", "home"),
        (
            "_headers",
            "/movies/:title\n  x-movie-name: You are watching \":title\"\n\
             https://:project.pages.dev/*\n  Access-Control-Allow-Origin: https://staging.:project.pages.dev/\n\
             https://:version.:project.pages.dev/*\n  X-Robots-Tag: noindex\n\
             /files/*\n  X-File: :splat\n",
        ),
    ]);
    assert_eq!(get(&site, "/movies/alien", "").field("x-movie-name").unwrap(), "You are watching \"alien\"");
    let answer = ask(&site, "GET", "/", "mine.pages.dev", "");
    assert_eq!(answer.field("access-control-allow-origin").unwrap(), "https://staging.mine.pages.dev/");
    assert_eq!(answer.field("x-robots-tag"), None);
    assert_eq!(ask(&site, "GET", "/", "v1.mine.pages.dev", "").field("x-robots-tag").unwrap(), "noindex");
    assert_eq!(get(&site, "/files/a/b", "").field("x-file").unwrap(), "a/b");
}

#[test]
fn cross_origin_and_hardening() {
    let site = ruled(
        "",
        "/*\n  Access-Control-Allow-Origin: *\n\n\
         /static/*\n  Cache-Control: public, max-age=31556952, immutable\n\n\
         /news/*\n\
         \x20 X-Frame-Options: DENY\n\
         \x20 X-Content-Type-Options: nosniff\n\
         \x20 Referrer-Policy: no-referrer\n\
         \x20 Permissions-Policy: document-domain=()\n\
         \x20 Content-Security-Policy: script-src 'self'; frame-ancestors 'none';\n",
    );
    let answer = get(&site, "/news/today.html", "");
    for (name, value) in [
        ("access-control-allow-origin", "*"),
        ("x-frame-options", "DENY"),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("permissions-policy", "document-domain=()"),
        ("content-security-policy", "script-src 'self'; frame-ancestors 'none';"),
    ] {
        assert_eq!(answer.field(name).as_deref(), Some(value));
    }
}

#[test]
fn a_redirect_comes_before_headers() {
    let site = ruled("/old /new 302\n", "/*\n  X-A: b\n");
    assert_eq!(get(&site, "/old", "").field("x-a"), None);
    assert_eq!(get(&site, "/about", "").field("x-a").unwrap(), "b");
}
