//! Each rule fires, and says where.

use super::*;
use crate::metadata::Member;

fn file(path: &str, text: &str) -> SourceFile {
    SourceFile { path: path.into(), text: Some(text.into()) }
}

fn member(name: &str, manifest: &str, dependencies: &[&str]) -> Member {
    Member {
        name: name.into(),
        manifest: manifest.into(),
        dependencies: dependencies.iter().map(|name| (*name).to_string()).collect(),
    }
}

fn said(breaches: impl IntoIterator<Item = Breach>) -> Vec<String> {
    breaches.into_iter().map(|breach| breach.to_string()).collect()
}

#[test]
fn a_clean_tree_has_no_breach() {
    let metadata = Metadata {
        members: vec![member("sitar-http", "crates/http/Cargo.toml", &["memchr"])],
        ..Metadata::default()
    };
    let mut files: Vec<SourceFile> = ["README.md", "ARCHITECTURE.md", "CHANGELOG.md", "deny.toml"]
        .iter()
        .chain(&["LICENSE-MIT", "LICENSE-APACHE"])
        .map(|path| file(path, "text about an issue and a session ticket\n"))
        .collect();
    files.push(file("crates/http/src/lib.rs", "//! Not unsafe.\n"));
    files.push(SourceFile { path: "icon.png".into(), text: None });
    assert_eq!(said(check(&metadata, &files)), [""; 0]);
}

#[test]
fn neighbors_on_one_floor_and_floors_above_are_refused() {
    let metadata = Metadata {
        members: vec![
            member("sitar-http", "crates/http/Cargo.toml", &["sitar-io", "memchr"]),
            member("sitar-site", "crates/site/Cargo.toml", &["sitar-http", "sitar-io", "sitar-server"]),
            member("sitar-server", "crates/server/Cargo.toml", &["sitar-site", "sitar-tls"]),
            member("shed", "crates/shed/Cargo.toml", &[]),
        ],
        ..Metadata::default()
    };
    let files =
        [file("crates/http/Cargo.toml", "[dependencies]\nmemchr = \"2\"\nsitar-io.workspace = true\n")];
    assert_eq!(
        said(directions(&metadata, &files)),
        [
            "crates/http/Cargo.toml:3: `sitar-http` must not depend on `sitar-io` (it may use none of ours)",
            "crates/site/Cargo.toml: `sitar-site` must not depend on `sitar-server` (it may use sitar-io, sitar-http)",
            "crates/shed/Cargo.toml: `shed` has no place in the floor plan",
        ]
    );
}

#[test]
fn git_packages_and_async_runtimes_are_refused() {
    let metadata = Metadata {
        from_git: vec!["beta (git+https://example.com/b#1)".into()],
        shipped: [("tokio".to_string(), "sitar".to_string())].into(),
        ..Metadata::default()
    };
    assert_eq!(
        said(foreign_packages(&metadata)),
        [
            "Cargo.lock: beta (git+https://example.com/b#1) comes from git; only crates.io is allowed",
            "Cargo.lock: `tokio` is an async runtime, brought in by `sitar`; none may enter a worker",
        ]
    );
}

#[test]
fn encoders_and_parsers_are_kept_out_of_the_server() {
    let linked = |member: &str, packages: &[&str]| {
        (member.to_string(), packages.iter().map(ToString::to_string).collect())
    };
    let metadata = Metadata {
        linked: [
            linked("sitar-server", &["html5gum", "rustix", "zstd-sys"]),
            linked("sitar-publish", &["brotli", "html5gum"]),
        ]
        .into(),
        ..Metadata::default()
    };
    assert_eq!(
        said(foreign_packages(&metadata)),
        [
            "Cargo.lock: `html5gum` is linked into `sitar-server`, which encodes nothing and parses no pages",
            "Cargo.lock: `zstd-sys` is linked into `sitar-server`, which encodes nothing and parses no pages",
        ]
    );
}

#[test]
fn every_package_has_the_lints_of_the_workspace() {
    let lints = "unsafe_code = \"forbid\"\ntodo = \"warn\"\n";
    let root = format!("[workspace.lints.rust]\n{lints}\n[workspace.lints.clippy]\n# Why.\nall = \"warn\"\n");
    let io = "[lints.rust]\ntodo = \"warn\"\n\n[lints.clippy]\nall = \"warn\"\n\n[dependencies]\n";
    let package = "[lints]\nworkspace = true\n";
    let all = |tls: &str, io: &str| {
        let files =
            [file("Cargo.toml", &root), file("crates/io/Cargo.toml", io), file("crates/tls/Cargo.toml", tls)];
        said(super::lints(&files))
    };
    assert_eq!(all(package, io), [""; 0]);
    assert_eq!(
        all("[package]\n", &io.replace("todo", "dbg")),
        [
            "crates/tls/Cargo.toml: takes the workspace's lints: `[lints]`, `workspace = true`",
            "crates/io/Cargo.toml: [lints.rust] is the workspace's but for unsafe_code",
        ]
    );
}

#[test]
fn long_files_are_named_and_tests_are_not_counted() {
    let long = "x\n".repeat(501);
    let tested = format!("{}#[cfg(test)]\nmod tests {{\n{}}}\n", "x\n".repeat(500), "y\n".repeat(300));
    assert_eq!(
        said(length(&file("crates/site/src/a.rs", &long))),
        ["crates/site/src/a.rs: 501 lines without tests; at most 500, so that it reads in one sitting"]
    );
    assert_eq!(length(&file("crates/site/src/a.rs", &tested)), None);
    let between = format!("a\n{}b\n", "#[cfg(test)]\n#[path = \"x.rs\"]\nmod tests {\n    y\n}\n");
    assert_eq!(lines_without_tests(&between), 2);
    assert_eq!(lines_without_tests("a\n#[cfg(test)]\nmod tests;\nb\n"), 4);
    assert_eq!(lines_without_tests("#[cfg(test)]\nfn f() {\n}\n#[cfg(test)]"), 4);
    assert_eq!(length(&file("crates/site/src/a/tests.rs", &long)), None);
    assert_eq!(length(&file("tests/clients.rs", &long)), None);
    assert_eq!(
        said(length(&file("crates/program/src/main.rs", &"x\n".repeat(101)))),
        ["crates/program/src/main.rs: 101 lines without tests; at most 100, so that it reads in one sitting"]
    );
}

#[test]
fn machine_paths_and_numbers_of_issues_are_found() {
    let text = format!("see {}home\nok\nsee issue {}12\n", concat!("/ro", "ot/"), "#");
    assert_eq!(
        said(words(&file("a.md", &text))),
        [
            format!("a.md:1: `{}` is a path of one machine", concat!("/ro", "ot/")),
            "a.md:3: say the reason itself, not the number of an issue".to_string(),
        ]
    );
}

#[test]
fn a_file_of_tests_that_would_not_run_is_named() {
    let files = [
        file("tests/main.rs", "mod a;\n"),
        file("tests/a.rs", ""),
        file("tests/a/deep.rs", ""),
        file("tests/b.rs", ""),
        file("crates/io/tests/main.rs", "mod a;\n"),
        file("crates/io/Cargo.toml", "[[test]]\nname = \"c\"\n"),
        file("crates/io/tests/c.rs", ""),
        file("crates/io/tests/d.rs", ""),
    ];
    assert_eq!(
        said(stray_tests(&files)),
        [
            "tests/b.rs: is no module of tests/main.rs, so its tests do not run",
            "crates/io/tests/d.rs: is no module of crates/io/tests/main.rs, so its tests do not run",
        ]
    );
}

#[test]
fn long_lines_of_comments_and_prose_are_found() {
    let long = "x".repeat(101);
    let rust = format!("let a = \"{long}\";\n    // {long}\n    // https://{long}\n// ü{}\n", "x".repeat(96));
    assert_eq!(said(columns(&file("a.rs", &rust))), ["a.rs:2: 108 columns; at most 100"]);
    let prose = format!("| {long} |\n{long}\n");
    assert_eq!(said(columns(&file("a.md", &prose))), ["a.md:2: 101 columns; at most 100"]);
    let toml = format!("a = \"{long}\"\n  # {long}\n# https://{long}\n");
    assert_eq!(said(columns(&file("a.toml", &toml))), ["a.toml:2: 105 columns; at most 100"]);
    assert_eq!(said(columns(&file("a.html", &prose))), [""; 0]);
}

#[test]
fn a_missing_file_is_named() {
    let files =
        [file("README.md", ""), file("LICENSE-MIT", ""), file("deny.toml", ""), file("CHANGELOG.md", "")];
    assert_eq!(
        said(required_files(&files)),
        [
            "ARCHITECTURE.md: is missing; every release needs it",
            "LICENSE-APACHE: is missing; every release needs it",
        ]
    );
}
