//! Limits: Cloudflare's fit, and past ours there is a clear refusal.

use super::ask::{get, site, try_site};
use super::refused;
use std::fmt::Write as _;

#[test]
fn what_cloudflare_allows_is_allowed() {
    let mut redirects = String::new();
    for n in 0..2_000 {
        writeln!(redirects, "/static/{n} /to/{n} 301").unwrap();
    }
    for n in 0..100 {
        writeln!(redirects, "/dynamic{n}/* /to{n}/:splat 302").unwrap();
    }
    // 1,000 characters for a redirect, 2,000 for a header line, some of which take four bytes.
    writeln!(redirects, "/{} /long 301", "x".repeat(985)).unwrap();
    let mut headers = String::new();
    for n in 0..100 {
        let name = format!("  X-Name-{n}: ");
        writeln!(headers, "/dir{n}/*\n{name}{}", "𝒳".repeat(2_000 - name.len())).unwrap();
    }
    let site = site(&[("dir7/a.html", "a"), ("_redirects", &redirects), ("_headers", &headers)]);
    assert_eq!(get(&site, "/static/1999", "").location(), "/to/1999");
    assert_eq!(get(&site, "/dynamic99/a/b", "").location(), "/to99/a/b");
    assert_eq!(get(&site, &format!("/{}", "x".repeat(985)), "").location(), "/long");
    assert_eq!(get(&site, "/dir7/a", "").field("x-name-7").unwrap().chars().count(), 1_988);
}

#[test]
fn what_is_too_much_is_refused() {
    let many = |count: usize, line: &dyn Fn(usize) -> String| (0..count).map(line).collect::<String>();
    for (redirects, headers, reason) in [
        (many(10_001, &|n| format!("/{n} /x\n")), String::new(), "_redirects:10001: too many rules"),
        (many(501, &|n| format!("/{n}/* /x\n")), String::new(), "_redirects:501: too many rules"),
        (many(501, &|n| format!("/{n} a=b /x\n")), String::new(), "_redirects:501: too many rules"),
        (String::new(), many(501, &|n| format!("/{n}\n  X-A: b\n")), "_headers:1001: more than 500 rules"),
        (
            format!("/{} /x", "a".repeat(9_000)),
            String::new(),
            "_redirects:1: the line is longer than 8192 bytes",
        ),
        (
            format!("/a /{}", "a".repeat(901)),
            String::new(),
            "_redirects:1: the target is longer than 900 bytes",
        ),
        (
            String::new(),
            format!("/*\n  X-A: {}\n", "a".repeat(9_000)),
            "_headers:2: the line is longer than 8192 bytes",
        ),
        ("#".repeat((1 << 20) + 1), String::new(), "_redirects: the file is larger than 1 MiB"),
        (String::new(), "\n".repeat((1 << 20) + 1), "_headers: the file is larger than 1 MiB"),
        // Rules that meet on one path have to fit into one answer; those that cannot meet need not.
        (
            String::new(),
            many(13, &|n| format!("/a/*\n  X-{n}: {}\n", "a".repeat(1_000))),
            "_headers:1: with the rules that can meet it",
        ),
        (
            String::new(),
            format!("/*\n{}", many(65, &|n| format!("  X-{n}: a\n"))),
            "_headers:1: with the rules that can meet it",
        ),
        (
            String::new(),
            format!("/*\n  X: :splat/{}\n", "a".repeat(400)),
            "_headers:1: with the rules that can meet it",
        ),
    ] {
        let errors = refused(&redirects, &headers);
        assert!(errors.first().is_some_and(|error| error.starts_with(reason)), "{reason}: {errors:?}");
    }
    assert_eq!(refused("", &many(100, &|n| format!("/a{n}/*\n  X-{n}: {}\n", "a".repeat(1_000)))), [""; 0]);
}

#[test]
fn mistakes_are_told_together_but_not_without_end() {
    let errors = refused(&"/a\n".repeat(50), &"x\n".repeat(50));
    assert_eq!(errors.len(), 40);
    assert_eq!(
        errors[0],
        "_headers:1: a header line before the first path: 'x'; put the path above it, on a line of its own: /*"
    );
    assert_eq!(errors[20], "_redirects:1: there is no target: '/a'; a rule is: /source /target 301");
    let message =
        try_site(&[("a", ""), ("_redirects", "/a\n/b\n")]).map(|site| site.len()).unwrap_err().to_string();
    assert_eq!(
        message,
        "_redirects:1: there is no target: '/a'; a rule is: /source /target 301; \
         _redirects:2: there is no target: '/b'; a rule is: /source /target 301"
    );
}

#[test]
fn a_line_that_cannot_be_filled_in_is_left_out_and_a_location_that_cannot_is_414() {
    let site = site(&[
        ("index.html", "home"),
        ("_headers", "/*\n  X-Path: :splat\n  X-Other: y\n"),
        ("_redirects", "/r/* /to/:splat 301\n"),
    ]);
    let long = "a".repeat(2_000);
    let answer = get(&site, &format!("/{long}"), "");
    assert_eq!(
        (answer.status, answer.field("x-path"), answer.field("x-other").as_deref()),
        (404, None, Some("y"))
    );
    assert_eq!(get(&site, "/abc", "").field("x-path").unwrap(), "abc");
    assert_eq!(get(&site, &format!("/r/{long}"), "").status, 414);
}
