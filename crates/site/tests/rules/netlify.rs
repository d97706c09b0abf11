//! Netlify: "Redirects and rewrites", "Redirect options", "Rewrites and proxies" and "Custom
//! headers" of its documentation.

use super::ask::{get, site};
use super::{refused, ruled};

#[test]
fn redirects_in_order_with_301_unless_something_else_is_said() {
    let site = ruled(
        "# Redirects from what the browser requests to what we serve\n\
         /home              /\n\
         /blog/my-post.php  /blog/my-post\n\
         /news-old          /blog\n\
         /cuties            https://www.petsofnetlify.com\n\
         \n\
         /blog/my-old-title /blog/my-new-title\n\
         /blog/my-old-title /blog/an-even-better-title\n\
         /commented         /x  # why this is so\n",
        "",
    );
    for (path, location) in [
        ("/home", "/"),
        ("/blog/my-post.php", "/blog/my-post"),
        ("/news-old", "/blog"),
        ("/cuties", "https://www.petsofnetlify.com"),
        ("/blog/my-old-title", "/blog/my-new-title"),
        ("/commented", "/x"),
    ] {
        let answer = get(&site, path, "");
        assert_eq!((answer.status, answer.location().as_str()), (301, location), "{path}");
    }
}

#[test]
fn status_codes() {
    let site = ruled(
        "/home         /              301\n\
         /my-redirect  /              302\n\
         /pass-through /index.html    200\n\
         /ecommerce    /store-closed  404\n",
        "",
    );
    assert_eq!((get(&site, "/home", "").status, get(&site, "/my-redirect", "").status), (301, 302));
    let passed = get(&site, "/pass-through", "");
    assert_eq!((passed.status, passed.body.as_str()), (200, "home"));
    let closed = get(&site, "/ecommerce", "");
    assert_eq!((closed.status, closed.body.as_str()), (404, "closed"));
    assert_eq!(closed.field("content-type").unwrap(), "text/html; charset=utf-8");
    assert_eq!((closed.field("etag"), closed.field("accept-ranges")), (None, None));
}

#[test]
fn a_404_page_for_each_language() {
    let site = site(&[
        ("en/404.html", "nothing here"),
        ("de/404.html", "hier ist nichts"),
        ("en/index.html", "hello"),
        ("_redirects", "/en/* /en/404.html 404\n/de/* /de/404.html 404\n"),
    ]);
    let answer = get(&site, "/de/x/y", "");
    assert_eq!((answer.status, answer.body.as_str()), (404, "hier ist nichts"));
    assert_eq!(get(&site, "/en/x", "").body, "nothing here");
    assert_eq!(get(&site, "/en/", "").body, "hello");
}

#[test]
fn splats_and_placeholders() {
    let site = ruled(
        "/news/*  /blog/:splat\n/archive/:month/:date/:year/:slug  /blog/:year/:month/:date/:slug\n",
        "",
    );
    assert_eq!(get(&site, "/news/2004/01/10/my-story", "").location(), "/blog/2004/01/10/my-story");
    assert_eq!(get(&site, "/archive/02/12/2004/my-story", "").location(), "/blog/2004/02/12/my-story");
    // Without a target's placeholder what was captured is dropped.
    let site = ruled("/gone/*  /blog/\n", "");
    assert_eq!(get(&site, "/gone/a/b", "").location(), "/blog/");
}

#[test]
fn query_parameters() {
    let site = ruled(
        "/store id=:id  /blog/:id  301\n\
         /articles id=:id tag=:tag /posts/:tag/:id 301\n\
         /path/* param1=:value1 param2=:value2 /otherpath/:value1/:value2/:splat 301\n\
         /path/* param1=:value1 /otherpath/:value1/:splat 301\n\
         /path/* param2=:value2 /otherpath/:value2/:splat 301\n\
         /path/* /otherpath/:splat 301\n\
         /fixed lang=de /de/ 301\n",
        "",
    );
    for (target, location) in [
        ("/store?id=my-blog-post", "/blog/my-blog-post"),
        ("/store?x=1&id=a&y", "/blog/a"),
        ("/articles?tag=t&id=1", "/posts/t/1"),
        ("/path/foo?param1=A&param2=B", "/otherpath/A/B/foo"),
        ("/path/foo?param1=A", "/otherpath/A/foo"),
        ("/path/foo?param2=B", "/otherpath/B/foo"),
        ("/path/foo", "/otherpath/foo"),
        ("/fixed?lang=de", "/de/"),
    ] {
        assert_eq!(get(&site, target, "").location(), location, "{target}");
    }
    for target in
        ["/store", "/store?ID=x", "/store?id=", "/articles?id=1", "/fixed?lang=en", "/fixed?lang=de2"]
    {
        assert_eq!(get(&site, target, "").status, 404, "{target}");
    }
}

#[test]
fn the_query_is_passed_on_unless_the_target_has_one() {
    let site = ruled("/a /b\n/c /d?own=1\n/e https://other.example/f\n/g/* /h/:splat\n", "");
    assert_eq!(get(&site, "/a?x=1&y=%20", "").location(), "/b?x=1&y=%20");
    assert_eq!(get(&site, "/c?x=1", "").location(), "/d?own=1");
    assert_eq!(get(&site, "/e?x=1", "").location(), "https://other.example/f?x=1");
    assert_eq!(get(&site, "/g/1?x", "").location(), "/h/1?x");
}

#[test]
fn the_slash_at_the_end_makes_no_difference() {
    let site = ruled("/blog/title/ /x\n/blog/other /y\n", "");
    for path in ["/blog/title", "/blog/title/"] {
        assert_eq!(get(&site, path, "").location(), "/x", "{path}");
    }
    for path in ["/blog/other", "/blog/other/"] {
        assert_eq!(get(&site, path, "").location(), "/y", "{path}");
    }
}

#[test]
fn an_application_of_one_page_with_its_files_unharmed() {
    let site = ruled("/*    /index.html   200\n", "");
    for path in ["/settings", "/users/42/edit", "/users/john.doe", "/v1.2", "/deep/", "/page.html"] {
        let answer = get(&site, path, "");
        assert_eq!((answer.status, answer.body.as_str()), (200, "home"), "{path}");
        assert_eq!(answer.field("content-type").unwrap(), "text/html; charset=utf-8");
    }
    assert_eq!(get(&site, "/app.js", "").body, "script");
    assert_eq!(get(&site, "/about", "").body, "about");
    // Not as with Netlify: a file that is missing is missing.
    for path in [
        "/old.js",
        "/assets/x.css",
        "/logo.svg",
        "/a.png",
        "/font.woff2",
        "/x.json",
        "/app.js.map",
        "/m.wasm",
        "/robots.txt",
        "/site.webmanifest",
        "/feed.xml",
    ] {
        assert_eq!(get(&site, path, "").status, 404, "{path}");
    }
}

#[test]
fn files_are_replaced_only_by_force() {
    let site = ruled("/about.html /news/ 301\n/app/* /app.js 200!\n/news/* /about 200!\n", "");
    assert_eq!(get(&site, "/about.html", "").body, "about");
    assert_eq!(get(&site, "/news/today.html", "").body, "about");
    let site = ruled("/about.html /news/ 301!\n", "");
    assert_eq!(get(&site, "/about.html", "").location(), "/news/");
}

#[test]
fn rules_for_one_host() {
    let site = ruled("http://blog.yoursite.com/* https://www.yoursite.com/blog/:splat 301!\n", "");
    let moved = super::ask::ask(&site, "GET", "/about", "blog.yoursite.com", "");
    assert_eq!(moved.location(), "https://www.yoursite.com/blog/about");
    assert_eq!(super::ask::ask(&site, "GET", "/about", "www.yoursite.com", "").body, "about");
}

#[test]
fn what_needs_more_than_files_is_refused() {
    for (rule, reason) in [
        ("/api/*  https://api.example.com/:splat  200", "sitar serves files and is no proxy"),
        ("/  /anz  302  Country=au,nz", "conditions on country, language, role or cookie do not exist here"),
        ("/china/*  /china/zh-cn/:splat  302  Language=zh", "conditions on country"),
        ("/admin/*  /admin/:splat  200!  Role=admin", "conditions on country"),
        ("/*  /preview/:splat  302  Cookie=preview", "conditions on country"),
        ("/*  /:splat  301!", "the rule leads to itself"),
    ] {
        let errors = refused(rule, "");
        assert_eq!(errors.len(), 1, "{rule}");
        assert!(errors[0].starts_with("_redirects:1: ") && errors[0].contains(reason), "{}", errors[0]);
    }
}

#[test]
fn custom_headers_with_several_values() {
    let site = site(&[
        ("templates/index.html", "t"),
        ("templates/index2.html", "t2"),
        ("index.html", "home"),
        (
            "_headers",
            "# a path:\n\
             /templates/index.html\n\
             \x20 # headers for that path:\n\
             \x20 X-Frame-Options: DENY\n\
             # another path:\n\
             /templates/index2.html\n\
             \x20 X-Frame-Options: SAMEORIGIN\n\
             /*\n\
             \x20 cache-control: max-age=0\n\
             \x20 cache-control: no-cache\n\
             \x20 cache-control: no-store\n\
             \x20 cache-control: must-revalidate\n",
        ),
    ]);
    let answer = get(&site, "/templates/index.html", "");
    assert_eq!(answer.field("x-frame-options").unwrap(), "DENY");
    assert_eq!(answer.field("cache-control").unwrap(), "max-age=0, no-cache, no-store, must-revalidate");
    assert_eq!(get(&site, "/templates/index2.html", "").field("x-frame-options").unwrap(), "SAMEORIGIN");
    assert_eq!(get(&site, "/", "").field("x-frame-options"), None);
}

#[test]
fn headers_that_are_the_servers_are_refused() {
    for name in [
        "Accept-Ranges",
        "Age",
        "Allow",
        "Connection",
        "Content-Encoding",
        "Content-Length",
        "Content-Range",
        "Date",
        "Location",
        "Server",
        "Trailer",
        "Transfer-Encoding",
        "Upgrade",
        "ETag",
        "Last-Modified",
        "Keep-Alive",
        "TE",
    ] {
        let errors = refused("", &format!("/*\n  {name}: x\n"));
        assert_eq!(errors.len(), 1, "{name}");
        assert!(errors[0].starts_with("_headers:2: this header is the server's own"), "{}", errors[0]);
        assert_eq!(refused("", &format!("/*\n  ! {name}\n")).len(), 1, "{name}");
    }
    assert!(refused("", "/*\n  Basic-Auth: somepath:a\n")[0].contains("sent to everybody"));
}
