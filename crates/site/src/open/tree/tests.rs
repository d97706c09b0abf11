use crate::open::error::{OpenFault, Warning, Warnings};
use crate::open::tar::tests::{archive, header, member};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// Files as name and body, and warnings.
type Listed = (Vec<(String, String)>, Vec<String>);

/// Names with their bodies, and the warnings' text.
fn listed(bytes: &[u8], prefix: Option<&str>) -> Result<Listed, OpenFault> {
    let mut warnings = Warnings::default();
    let files = crate::open::opening::list(&bytes, prefix, &mut warnings)?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (names, bodies) = files.0;
    let files = names
        .iter()
        .zip(bodies)
        .map(|(name, stored)| (text(name), text(&bytes[stored.offset as usize..][..stored.size as usize])))
        .collect();
    Ok((files, warnings.finish().iter().map(Warning::to_string).collect()))
}

fn names(parts: &[Vec<u8>]) -> (Vec<String>, Vec<String>) {
    let (files, warnings) = listed(&archive(parts), None).unwrap();
    (files.into_iter().map(|(name, body)| format!("{name}={body}")).collect(), warnings)
}

fn file(name: &str, body: &str) -> Vec<u8> {
    member(name, b'0', body.as_bytes())
}

fn symlink(name: &str, target: &str) -> Vec<u8> {
    header(name.as_bytes(), b'2', 0, target.as_bytes()).to_vec()
}

fn hardlink(name: &str, target: &str) -> Vec<u8> {
    header(name.as_bytes(), b'1', 0, target.as_bytes()).to_vec()
}

#[test]
fn names_are_cleaned_and_the_last_member_wins() {
    let (files, warnings) = names(&[
        file("./a", "1"),
        file("/b//c", "2"),
        file("a", "3"),
        file("../x", "4"),
        file("d/../e", "5"),
    ]);
    assert_eq!(files, ["a=3", "b/c=2"]);
    assert_eq!(
        warnings,
        ["'../x' is left out: its name contains '..'", "'d/../e' is left out: its name contains '..'"]
    );
}

#[test]
fn a_folder_and_a_file_of_one_name() {
    let (files, warnings) =
        names(&[file("a", "1"), file("a/b", "2"), file("c/d", "3"), file("c", "4"), member("c", b'5', b"")]);
    assert_eq!(files, ["a/b=2"]);
    assert_eq!(
        warnings,
        [
            "'a' is left out: a later member needs a folder of that name",
            "'c' is left out: this folder is replaced by a later member that is none",
        ]
    );
    let (files, _) = names(&[file("a/b", "1"), member("a/", b'5', b"")]);
    assert_eq!(files, ["a/b=1"]);
}

#[test]
fn links_resolve_inside() {
    let (files, warnings) = names(&[
        file("v1/index.html", "one"),
        file("v1/js/app.js", "js"),
        symlink("latest", "v1"),
        symlink("v1/js/alias.js", "app.js"),
        symlink("up.js", "./latest/js/../js/alias.js"),
        hardlink("hard.js", "v1/js/app.js"),
        hardlink("hard-of-link", "latest"),
        hardlink("chain.js", "./hard.js"),
    ]);
    assert_eq!(
        files,
        [
            "chain.js=js",
            "hard-of-link/index.html=one",
            "hard-of-link/js/alias.js=js",
            "hard-of-link/js/app.js=js",
            "hard.js=js",
            "latest/index.html=one",
            "latest/js/alias.js=js",
            "latest/js/app.js=js",
            "up.js=js",
            "v1/index.html=one",
            "v1/js/alias.js=js",
            "v1/js/app.js=js",
        ]
    );
    assert_eq!(warnings, [""; 0]);
}

#[test]
fn links_that_lead_nowhere_are_left_out() {
    let (files, warnings) = names(&[
        symlink("absolute", "/etc/passwd"),
        symlink("d/out", "../../etc/passwd"),
        symlink("d/round", "../d/../../site/a"),
        symlink("dangling", "nothing"),
        symlink("self", "self"),
        symlink("x", "y"),
        symlink("y", "x"),
        symlink("through", "self/a"),
        symlink("d/via", "../absolute"),
        symlink("file-as-folder", "a/b"),
        symlink("d/whole", ".."),
        hardlink("forward", "zz"),
        hardlink("outside", "../zz"),
        file("a", "1"),
        file("zz", "2"),
    ]);
    assert_eq!(files, ["a=1", "zz=2"]);
    let out = "it is a link that leads out of the site";
    let gone = "it is a link to something that is not there";
    let itself = "it is a link that leads to itself";
    let hard = "it is a hard link to something that is not in the archive before it";
    let expected = [
        ("forward", hard),
        ("outside", hard),
        ("absolute", out),
        ("d/out", out),
        ("d/round", out),
        ("d/via", out),
        ("d/whole", "it is a link to a folder that contains it"),
        ("dangling", gone),
        ("file-as-folder", gone),
        ("self", itself),
        ("through", itself),
        ("x", itself),
        ("y", itself),
    ];
    assert_eq!(warnings, expected.map(|(name, why)| format!("'{name}' is left out: {why}")));
}

#[test]
fn forty_links_in_a_row_but_not_more() {
    let chain = |length: usize| {
        let mut parts = vec![file("f0", "end")];
        parts.extend((1..=length).map(|n| symlink(&format!("f{n}"), &format!("f{}", n - 1))));
        names(&parts)
    };
    assert_eq!(chain(41).0.len(), 42);
    let (files, warnings) = chain(42);
    assert_eq!(files.len(), 42);
    assert_eq!(warnings, ["'f42' is left out: it is a link that leads to itself"]);
}

#[test]
fn links_that_multiply_are_refused() {
    // Folder n holds ten links to folder n + 1: ten to the twentieth paths in a few kilobytes.
    let mut parts = Vec::new();
    for level in 0..20 {
        for link in 0..10 {
            parts.push(symlink(&format!("d{level}/l{link}"), &format!("../d{}", level + 1)));
        }
    }
    parts.push(member("d20", b'5', b""));
    let refused = listed(&archive(&parts), None).unwrap_err();
    assert_eq!(refused.to_string(), "more than 67108864 steps through links between folders");
}

#[test]
fn hidden_files_are_reached_by_links_only() {
    let (files, _) = names(&[
        file("..data_1/index.html", "k8s"),
        symlink("..data", "..data_1"),
        symlink("index.html", "..data/index.html"),
        file(".git/config", "secret"),
        file("_headers", "rules"),
        file(".well-known/security.txt", "mail"),
    ]);
    assert_eq!(files, [".well-known/security.txt=mail", "index.html=k8s"]);
}

#[test]
fn a_prefix_becomes_the_root() {
    let bytes = archive(&[
        file("html/index.html", "i"),
        file("html/sub/a", "a"),
        symlink("html/out", "../other"),
        hardlink("html/hard", "html/sub/a"),
        file("other", "o"),
        symlink("current", "html"),
    ]);
    for prefix in ["html", "html/", "/html", "./html", "current"] {
        let (files, warnings) = listed(&bytes, Some(prefix)).unwrap();
        let names: Vec<_> = files.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["hard", "index.html", "sub/a"], "{prefix}");
        assert_eq!(warnings, ["'out' is left out: it is a link that leads out of the site"], "{prefix}");
    }
    assert_eq!(listed(&bytes, Some("html/sub")).unwrap().0, [("a".to_owned(), "a".to_owned())]);
    for prefix in ["htm", "other", "..", "html/../.."] {
        let message = listed(&bytes, Some(prefix)).unwrap_err().to_string();
        assert_eq!(message, format!("there is no folder '{prefix}' in it; there is: html"));
    }
}

#[test]
fn too_deep_or_too_long_is_left_out() {
    let long = |segment: &str, times: usize| {
        let name = segment.repeat(times) + "f";
        [member("././@LongLink", b'L', name.as_bytes()), file("short", "x")].concat()
    };
    let (files, warnings) = names(&[long("a/", 256), long("abcdefgh/", 456), long("b/", 255)]);
    assert_eq!(files, ["b/".repeat(255) + "f=x"]);
    assert_eq!(warnings.len(), 2);
}

#[test]
fn warnings_are_counted_not_hoarded() {
    let parts: Vec<_> = (0..150).map(|n| file(&format!("../{n}"), "")).collect();
    let (_, warnings) = names(&parts);
    assert_eq!(warnings.len(), 101);
    assert_eq!(warnings[100], "and 50 more warnings");
}

proptest! {
    /// Plain files in plain folders: the same as a map from name to the last body.
    #[test]
    fn equals_a_map(members in prop::collection::vec(("[a-d]{1,2}(/[a-d]{1,2}){0,2}\\.x", "[a-z]{0,5}"), 0..20)) {
        let mut map = BTreeMap::new();
        let mut parts = Vec::new();
        for (name, body) in &members {
            map.insert(name.clone(), body.clone());
            parts.push(file(name, body));
        }
        let (mut files, warnings) = listed(&archive(&parts), None).unwrap();
        files.sort();
        prop_assert_eq!(files, map.into_iter().collect::<Vec<_>>());
        prop_assert!(warnings.is_empty());
    }
}
