//! Warnings of the start and of `sitar check`: a site holds what was hardly meant for everyone, or
//! lacks something.

use crate::common::client::Client;
use crate::common::site::write;
use crate::common::{Server, eventually};
use crate::packs::{command, pack};
use serde_json::Value;
use std::ffi::OsStr;
use tempfile::TempDir;

#[test]
fn files_of_other_hosts_are_hidden_in_each_form_and_the_start_says_so() {
    let folder = TempDir::new().unwrap();
    let (site, packed) = (folder.path().join("public"), folder.path().join("site.tar"));
    for name in ["CNAME", "netlify.toml", "wrangler.toml", "docs/CNAME", "about.html"] {
        write(&site, name, "x");
    }
    write(&site, "keys/id_rsa", "x");
    write(&site, "_redirects", "/shown /CNAME 200\n");
    pack(&site, &packed);
    let secret = "'keys/id_rsa' looks like a private key of SSH, and everyone can fetch it\n";
    let no_index = "there is no index.html at the top, and no rule for /: a visitor of / gets 404\n";
    let hidden = "3 files configure other hosts and are not served: CNAME, netlify.toml, wrangler.toml \
                  (--serve-config-files)\n";
    for (form, path) in [("directory", &site), ("pack", &packed)] {
        let server = Server::start([path]);
        let mut client = Client::connect(&server);
        for (url, status) in [
            ("/CNAME", 404),
            ("/netlify.toml", 404),
            ("/wrangler.toml", 404),
            ("/shown", 404),
            ("/docs/CNAME", 200),
        ] {
            assert_eq!(client.get(url).unwrap().status, status, "{form} {url}");
        }
        // The last of the warnings.
        eventually("the report", || server.said().contains(no_index));
        let said = server.said();
        assert!(said.contains(secret), "{form}: {said}");
        // A pack does not have them at all.
        assert_eq!(said.contains(hidden), form == "directory", "{form}: {said}");
    }
    let server = Server::start_with([&site], &[("SITAR_SERVE_CONFIG_FILES", "1")]);
    let mut client = Client::connect(&server);
    for url in ["/CNAME", "/shown"] {
        assert_eq!(client.get(url).unwrap().body, b"x", "{url}");
    }
    eventually("the report", || server.said().contains(no_index));
    assert!(!server.said().contains("other hosts"), "{}", server.said());
}

#[test]
fn check_groups_links_by_target_and_names_no_empty_page() {
    let folder = TempDir::new().unwrap();
    for page in ["a.html", "b.html", "d/c.html"] {
        write(
            folder.path(),
            page,
            "<!doctype html><noscript><img src=/gone.png></noscript><a href=/CNAME>c</a>\n",
        );
    }
    write(folder.path(), "CNAME", "x");
    let word = OsStr::new;
    let ended = command(&[word("check"), folder.path().as_os_str()]);
    assert_eq!(
        ended.text(),
        "there is no index.html at the top, and no rule for /: a visitor of / gets 404\n\
         a.html:1: loads /gone.png, which is not there (on 3 pages; also b.html, d/c.html)\n\
         a.html:1: links to /CNAME, which is not there (on 3 pages; also b.html, d/c.html)\n\
         not served, because they configure other hosts: CNAME\n\
         3 files, 6 links: 3 problems in 7 places\n"
    );
    let ended =
        command(&[word("check"), word("--json"), word("--serve-config-files"), folder.path().as_os_str()]);
    let report: Value = serde_json::from_slice(&ended.stdout).unwrap();
    let problems = report["problems"].as_array().unwrap();
    assert_eq!((problems.len(), &report["not_served"]), (2, &serde_json::json!([])), "{report:#}");
    assert_eq!((&problems[0]["kind"], &problems[0]["file"]), (&"no-index".into(), &"".into()));
    assert_eq!(
        problems[1],
        serde_json::json!({
            "kind": "broken-link",
            "file": "a.html",
            "line": 1,
            "what": "loads /gone.png, which is not there",
            "target": "/gone.png",
            "times": 3,
            "pages": 3,
            "places": [
                { "file": "a.html", "line": 1 },
                { "file": "b.html", "line": 1 },
                { "file": "d/c.html", "line": 1 },
            ],
        })
    );
}
