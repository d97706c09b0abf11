//! `_redirects` and `_headers`, as Netlify and Cloudflare Pages document them, and what sitar adds
//! and refuses.
//!
//! The cases are the documented examples of both, written again with what they are documented to
//! do. Where the two differ, the expectation is sitar's choice, and says so.

#![allow(clippy::unwrap_used, clippy::panic, reason = "all of this file is a test, its functions too")]

#[path = "../ask/mod.rs"]
mod ask;
mod cloudflare;
mod fields;
mod limits;
mod loops;
mod netlify;
mod own;
mod paths;
mod statuses;
mod targets;

/// A site with these rules, and pages for them to meet.
fn ruled(redirects: &str, headers: &str) -> sitar_site::Site {
    ask::site(&[
        ("index.html", "home"),
        ("about.html", "about"),
        ("news/index.html", "news"),
        ("news/today.html", "today"),
        ("app.js", "script"),
        ("image.jpg", "picture"),
        ("store-closed.html", "closed"),
        ("en/404.html", "nothing in English"),
        ("_redirects", redirects),
        ("_headers", headers),
    ])
}

/// The messages for rules that are refused.
fn refused(redirects: &str, headers: &str) -> Vec<String> {
    match sitar_site::Rules::compile(Some(headers.as_bytes()), Some(redirects.as_bytes())) {
        Ok(_) => Vec::new(),
        Err(errors) => errors.iter().map(ToString::to_string).collect(),
    }
}
