//! Listings by a configuration: a worker in its sandbox makes them, for a folder and for a pack.

use std::fs;

use serde_json::Value;
use tempfile::TempDir;

use crate::common::{Server, eventually, have, run, run_with, sitar};

const CONFIG: &str = r#"
[[listen]]
address = "127.0.0.1:0"

[[site]]
hosts = "localhost"
root = "folder"
listing = true

[[site]]
hosts = "pack.localhost"
root = "site.tar"
listing = true

[[site]]
hosts = "without.localhost"
root = "folder"
"#;

/// Asks for a path of a host, with curl and its further arguments.
fn ask(server: &Server, host: &str, path: &str, more: &[&str]) -> String {
    let port = server.address().port();
    let mut curl = std::process::Command::new("curl");
    curl.args(["-sk", "--resolve", &format!("{host}:{port}:127.0.0.1")]).args(more);
    run_with(curl.arg(format!("https://{host}:{port}{path}")), b"").ok().text()
}

fn names(server: &Server, host: &str, path: &str) -> Vec<String> {
    let text = ask(server, host, path, &["-H", "Accept: application/json"]);
    let listing: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    let entries = listing["entries"].as_array().unwrap();
    entries.iter().map(|entry| entry["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_worker_lists_folders_and_packs() {
    if !have(&["curl", "tar"]) {
        return;
    }
    let folder = TempDir::new().unwrap();
    let root = folder.path().join("folder");
    for name in ["docs/b.txt", "docs/a.txt", "docs/.hidden", "docs/more/c.txt", "index.html"] {
        crate::common::site::write(&root, name, "<p>content of a file that is worth packing</p>".repeat(50));
    }
    let archive = folder.path().join("site.tar");
    let home = TempDir::new().unwrap();
    let mut pack = sitar(home.path());
    run_with(pack.arg("pack").arg(&root).arg("-o").arg(&archive), b"").ok();
    assert!(run("tar", ["-tf", archive.to_str().unwrap()]).ok().text().contains("docs/a.txt.br"));
    let config = folder.path().join("sitar.toml");
    fs::write(&config, CONFIG).unwrap();
    let server = Server::start_configured(&config);
    for host in ["localhost", "pack.localhost"] {
        assert_eq!(names(&server, host, "/docs/"), ["more", "a.txt", "b.txt"], "{host}");
        for version in ["--http1.1", "--http2"] {
            let page = ask(&server, host, "/docs/", &[version, "-i"]);
            assert!(page.contains("<a href=\"./a.txt\"><bdi>a.txt</bdi></a>"), "{page}");
            let first = page.lines().next().unwrap();
            assert!(first.contains(" 200"), "{first}");
            let tag = page.lines().find_map(|line| line.to_lowercase().strip_prefix("etag: ").map(str::len));
            assert!(tag.is_some(), "{page}");
        }
        assert!(ask(&server, host, "/", &[]).starts_with("<p>content"));
    }
    assert_eq!(
        ask(&server, "without.localhost", "/docs/", &["-o", "/dev/null", "-w", "%{http_code}"]),
        "404"
    );
    // A change of the folder is one of its listing.
    fs::write(root.join("docs/new.txt"), "new").unwrap();
    eventually("the new name", || {
        names(&server, "localhost", "/docs/") == ["more", "a.txt", "b.txt", "new.txt"]
    });
    fs::remove_file(root.join("docs/a.txt")).unwrap();
    eventually("one name less", || names(&server, "localhost", "/docs/") == ["more", "b.txt", "new.txt"]);
    assert_eq!(names(&server, "pack.localhost", "/docs/"), ["more", "a.txt", "b.txt"]);
}
