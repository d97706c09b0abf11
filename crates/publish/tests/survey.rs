//! Warnings about the files of a site, which are the same for a directory, a plain tar and a
//! pack.
#![allow(clippy::unwrap_used, clippy::panic, reason = "all of this file is a test, its functions too")]

use sitar_http::{Field, Method, Request, RequestTarget, Status};
use sitar_publish::{Level, PackOptions, Progress, pack};
use sitar_site::{Options, Route, Scratch, Site, Warning};
use std::fs;
use std::num::NonZeroUsize;
use std::path::Path;
use std::process::Command;

fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        let path = folder.path().join("site").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    folder
}

struct Quiet;

impl Progress for Quiet {
    fn begin(&self, _: usize) {}
    fn advance(&self, _: usize, _: u64) {}
}

/// The folder, a tar of it and a pack of it, each as a site.
fn sites(folder: &Path, options: &Options) -> [Site; 3] {
    let (site, tar, packed) = (folder.join("site"), folder.join("site.tar"), folder.join("pack.tar"));
    assert!(
        Command::new("tar").arg("-cf").arg(&tar).arg("-C").arg(&site).arg(".").status().unwrap().success()
    );
    let packing = PackOptions {
        level: Level::Best,
        threads: NonZeroUsize::MIN,
        newest: None,
        earlier: None,
        follow_links: false,
        config_files: options.config_files,
    };
    pack(&site, fs::File::create(&packed).unwrap(), packing, &Quiet).unwrap();
    [site, tar, packed].map(|path| Site::open(&path, options).unwrap())
}

fn told(files: &[(&str, &[u8])]) -> Vec<String> {
    let folder = folder(files);
    let mut told = sites(folder.path(), &Options::default())
        .map(|site| site.warnings().iter().map(ToString::to_string).collect::<Vec<_>>());
    // In no order.
    told.iter_mut().for_each(|lines| lines.sort());
    let [directory, tar, pack] = told;
    assert_eq!(directory, tar);
    assert_eq!(directory, pack);
    directory
}

/// Whether a path is answered with a file or a redirect.
fn is_there(site: &Site, path: &str, accept: &[u8]) -> bool {
    let mut request = Request::new(Method::Get, RequestTarget::from_origin_form(path.as_bytes()).unwrap());
    request.fields.push(Field::AcceptEncoding, accept).unwrap();
    match site.route(&request, &mut Scratch::new()) {
        Route::File(found) => found.status() == Status::OK,
        Route::Reply(reply) => reply.status.code() < 400,
    }
}

#[test]
fn files_that_configure_other_hosts_are_not_served() {
    let names = [
        "CNAME",
        "CNAME.gz",
        "CNAME.gz.br",
        "_routes.json",
        "_worker.js",
        "netlify.toml",
        "netlify.toml.br",
        "vercel.json",
        "wrangler.json",
        "wrangler.jsonc",
        "wrangler.toml",
        "wrangler.toml.zst",
    ];
    let mut files: Vec<(&str, &[u8])> = names.map(|name| (name, &b"x"[..])).to_vec();
    // A pack takes over what is its file encoded.
    files[1].1 = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\xab\x00\x00\x83\x16\xdc\x8c\x01\x00\x00\x00";
    files.extend([
        ("index.html", &b"<p>"[..]),
        ("docs/CNAME", b"x"),
        ("docs/netlify.toml", b"x"),
        ("cname", b"x"),
        ("CNAME.txt", b"x"),
        ("_headers.gz.br", b"x"),
        ("_redirects", b"/shown /netlify.toml 200\n/any/* /:splat 200\n"),
    ]);
    let folder = folder(&files);
    let told = "12 files configure other hosts and are not served: CNAME, CNAME.gz, CNAME.gz.br, _routes.json, \
                _worker.js, netlify.toml, netlify.toml.br, vercel.json, … (--serve-config-files)";
    let plain = Options::default();
    for (site, what) in sites(folder.path(), &plain).iter().zip(["directory", "tar", "pack"]) {
        let urls = names.map(|name| format!("/{name}"));
        let ways = [
            "/%43NAME",
            "//CNAME",
            "/docs/../CNAME",
            "/shown",
            "/any/CNAME",
            "/any/wrangler.toml",
            "/_headers.gz",
        ];
        for url in urls.iter().map(String::as_str).chain(ways) {
            for accept in ["br, zstd, gzip", ""] {
                assert!(!is_there(site, url, accept.as_bytes()), "{what}: {url} {accept}");
            }
        }
        for url in ["/", "/docs/CNAME", "/docs/netlify.toml", "/cname", "/CNAME.txt", "/any/cname"] {
            assert!(is_there(site, url, b""), "{what}: {url}");
        }
        assert_eq!(site.len(), 5, "{what}");
        if what != "pack" {
            assert_eq!(site.warnings().iter().map(ToString::to_string).collect::<Vec<_>>(), [told], "{what}");
        }
    }
    let all = Options { config_files: true, ..Options::default() };
    for (site, what) in sites(folder.path(), &all).iter().zip(["directory", "tar", "pack"]) {
        for url in ["/CNAME", "/CNAME.gz", "/shown", "/any/wrangler.toml", "/_worker.js"] {
            assert!(is_there(site, url, b"gzip, br, zstd"), "{what}: {url}");
        }
        assert_eq!(site.warnings(), [], "{what}");
    }
    // A pack that has them hides them like the folder it was made of.
    let pack = Site::open(&folder.path().join("pack.tar"), &plain).unwrap();
    assert!(!is_there(&pack, "/CNAME", b"") && is_there(&pack, "/docs/CNAME", b""));
    // The root is where the prefix says.
    let docs = Options { prefix: Some("docs".to_owned()), ..Options::default() };
    for name in ["site", "site.tar", "pack.tar"] {
        let site = Site::open(&folder.path().join(name), &docs).unwrap();
        assert!(site.is_empty() && !is_there(&site, "/CNAME", b""), "{name}");
    }
    // What check is asked about: links to them lead nowhere.
    fs::write(folder.path().join("site/index.html"), "<a href=CNAME>c</a><a href=docs/CNAME>d</a>").unwrap();
    let found = |options| {
        let findings = sitar_publish::check::check(&folder.path().join("site"), options, None).unwrap();
        let lines = findings.problems.iter().map(ToString::to_string);
        (lines.filter(|line| line.starts_with("index.html")).collect::<Vec<_>>(), findings.not_served)
    };
    assert_eq!(found(&plain).0, ["index.html:1: links to CNAME, which is not there"]);
    assert_eq!(found(&plain).1.len(), 12);
    assert_eq!(found(&all), (vec![], vec![]));
}

#[test]
fn a_site_whose_root_answers_nothing_is_told() {
    let no_index = "there is no index.html at the top, and no rule for /: a visitor of / gets 404";
    let no_pages = "there is no page in it (no .html file), and no rule for /: a visitor of / gets 404";
    let rules = |text: &'static str| ("_redirects", text.as_bytes());
    let page = ("about.html", &b"<p>"[..]);
    assert_eq!(told(&[page, ("a.css", b"")]), [no_index]);
    assert_eq!(told(&[page, ("docs/index.html", b"")]), [no_index]);
    assert_eq!(told(&[("a.css", b""), ("b/a.png", b"")]), [no_pages]);
    assert_eq!(told(&[("a.txt", b"")]), [no_pages]);
    assert_eq!(told(&[("a.css", b""), ("404.html", b"")]), [no_index]);
    assert_eq!(told(&[page, rules("/about /x 301\n/*.txt /about.html 200\n")]), [no_index]);
    // A rule that shows what is not there answers nothing.
    assert_eq!(told(&[page, rules("/* /index.html 200\n")]), [no_index]);
    assert_eq!(told(&[("about.html.gz", b"x"), ("a.css", b"")]), [no_index]);
    let no_files = "there is no file to serve in it";
    assert_eq!(told(&[rules("/* /index.html 200\n")]), [no_files]);
    assert_eq!(told(&[("UPPER.HTML", b""), ("a.css", b"")]), [no_index]);
    let below = "there is no index.html at the top and everything lies below 'public': use --prefix public";
    assert_eq!(told(&[("public/index.html", b"")]), [below]);
    let answered: [&[(&str, &[u8])]; 11] = [
        // Rules are a site.
        &[rules("/* https://elsewhere.example/:splat 301\n")],
        &[rules("/ https://elsewhere.example/ 302\n")],
        &[("public/index.html", b""), rules("/* /public/:splat 200\n")],
        &[("index.html", b"")],
        &[("index.html.br", b"x"), ("a.css", b"")],
        &[page, rules("/ /about 302\n")],
        &[page, rules("/* /about 200\n")],
        &[page, rules("/* https://elsewhere.example/:splat 301\n")],
        &[page, rules("https://a.example/* /about 200\n")],
        &[page, rules("/ id=:id /about 302\n")],
        &[("a.css", b""), rules("/ /a.css 302\n")],
    ];
    for files in answered {
        assert_eq!(told(files), [""; 0], "{:?}", files[0].0);
    }
}

#[test]
fn what_looks_like_a_secret_is_told() {
    let key =
        b"-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n-----BEGIN PRIVATE KEY-----\nAA==\n";
    let cases: &[(&str, &[u8], Option<&str>)] = &[
        ("id_rsa", b"x", Some("a private key of SSH")),
        ("home/ID_Ed25519", b"x", Some("a private key of SSH")),
        ("id_rsa.pub", b"ssh-rsa AAAA", None),
        ("putty.ppk", b"x", Some("a private key of SSH")),
        ("server.pem", key, Some("a private key")),
        ("ca.pem", b"-----BEGIN CERTIFICATE-----\nAA==\n", None),
        ("tls.key", b"-----BEGIN EC PRIVATE KEY-----", Some("a private key")),
        ("slides.key", b"PK\x03\x04", None),
        ("me.asc", b"-----BEGIN PGP PUBLIC KEY BLOCK-----", None),
        ("my.p12", b"x", Some("a store of keys")),
        ("pass.kdbx", b"x", Some("a password database")),
        ("htpasswd", b"a:b", Some("a file of passwords")),
        ("env", b"# keys\nexport API_KEY=1\n", Some("a file of environment variables")),
        ("env.local", b"KEY=1", Some("a file of environment variables")),
        ("prod.env", b"KEY=1", Some("a file of environment variables")),
        ("env.js", b"KEY=1", None),
        ("environment.html", b"KEY=1", None),
        ("docs/env", b"a page about env\n", None),
        ("wp-config.php", b"<?php", Some("the configuration of WordPress")),
        ("wp-config.php.bak", b"<?php", Some("the configuration of WordPress")),
        ("wp-config-sample.php", b"<?php", None),
        ("dump.sql", b"x", Some("a dump of a database")),
        ("site-backup.sql.gz", b"\x1f\x8b", Some("a dump of a database")),
        ("x.sql", b"-- MySQL dump 10.13", Some("a dump of a database")),
        ("lesson.sql", b"SELECT 1;", None),
        ("credentials", b"x", Some("a file of passwords")),
        ("credentials.json", b"{\"client_secret\":1}", Some("a file of credentials")),
        ("credentials.html", b"<p>secret", None),
        ("client_secret_1.json", b"{\"client_secret\":1}", Some("a file of credentials")),
        ("netrc", b"machine a password b", Some("a file of credentials")),
        ("prod.tfstate", b"{}", Some("the state of Terraform")),
        ("bash_history", b"ls", Some("a history of commands")),
        ("git/HEAD", b"ref: refs/heads/main", Some("a repository of git")),
        ("project.git/HEAD", b"ref: refs/heads/main", None),
        // Pages and data that only speak of such things.
        ("about.key", b"Keep your PRIVATE KEY safe.", None),
        ("guide.asc", b"= Guide\n`-----BEGIN PRIVATE KEY-----`", None),
        ("lessons/insert.sql", b"INSERT INTO a VALUES (1);", None),
        ("locales/de/credentials.json", b"{\"password\":\"Passwort\",\"secret\":\"Geheimnis\"}", None),
        ("docs/credentials", b"<!doctype html><h1>Credentials", None),
        ("mine.asc", b"-----BEGIN PGP PRIVATE KEY BLOCK-----", Some("a private key")),
        ("ssh2_rsa", b"---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----", Some("a private key")),
        ("vpn.ovpn", b"<key>\r\n  -----BEGIN RSA PRIVATE KEY-----\r\n", Some("a private key")),
        ("lite.sql", b"PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;", Some("a dump of a database")),
        // Copies.
        ("server.pem~", key, Some("a private key")),
        ("tls.key.old", key, Some("a private key")),
        ("privkey", key, Some("a private key")),
        ("id_rsa.bak", b"x", Some("a private key of SSH")),
        ("env.orig", b"KEY=1", Some("a file of environment variables")),
        ("env.production.local", b"KEY=1", Some("a file of environment variables")),
        ("index.html.bak", b"KEY=1", None),
    ];
    let mut files: Vec<(&str, &[u8])> = cases.iter().map(|(name, bytes, _)| (*name, *bytes)).collect();
    files.push(("index.html", b""));
    let mut expected: Vec<String> = cases
        .iter()
        .filter_map(|(name, _, what)| {
            Some(format!("'{name}' looks like {}, and everyone can fetch it", (*what)?))
        })
        .collect();
    expected.sort();
    assert_eq!(told(&files), expected);
}

#[test]
fn secrets_come_before_all_other_warnings_and_are_bounded() {
    let names: Vec<String> = (0..150).map(|number| format!("{number}/id_rsa")).collect();
    let mut files: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), &b"x"[..])).collect();
    files.push(("index.html", b""));
    let folder = folder(&files);
    std::os::unix::fs::symlink("/nowhere", folder.path().join("site/a-link")).unwrap();
    let site = Site::open(&folder.path().join("site"), &Options::default()).unwrap();
    let (first, rest) = site.warnings().split_at(100);
    assert!(first.iter().all(|warning| matches!(warning, Warning::Secret { .. })));
    assert!(matches!(rest, [Warning::LeftOut { .. }, Warning::More(50)]), "{rest:?}");
}
