use crate::{Options, Site, Warning};
use rustix::fs::{CWD, FileType, Mode};
use std::cell::Cell;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

thread_local! {
    static WALKING: Cell<bool> = const { Cell::new(false) };
}

/// Whether the directories that this thread opens have no `openat2`.
pub(super) fn is_walking() -> bool {
    WALKING.get()
}

/// Runs a test once more, without `openat2`.
pub(crate) fn walking(test: fn()) {
    WALKING.set(true);
    test();
    WALKING.set(false);
}

/// Makes of each test another one, without `openat2`.
macro_rules! walking_too {
    ($($test:ident)*) => {
        mod walking {
            $(#[test]
            fn $test() {
                crate::open::directory::tests::walking(super::$test);
            })*
        }
    };
}
pub(crate) use walking_too;

walking_too! {
    links_to_the_inside_are_served_however_they_are_written
    links_are_followed_out_of_the_site_when_that_is_wanted
    followed_links_have_bounds
    a_followed_link_that_leads_elsewhere_by_now
}

fn write(root: &Path, name: &str, text: &str) {
    let path = root.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// The names of a site's files, and its warnings.
fn listed(root: &Path, options: &Options) -> (Vec<String>, Vec<String>) {
    let site = Site::open(root, options).unwrap();
    let mut names: Vec<_> =
        site.index.source_names().map(|name| String::from_utf8_lossy(name).into_owned()).collect();
    names.sort();
    // Few of these folders have an index, and that is not what is tested.
    let warnings =
        site.warnings().iter().filter(|warning| !matches!(warning, Warning::NoIndex | Warning::NoPages));
    (names, warnings.map(ToString::to_string).collect())
}

fn out(name: &str) -> String {
    format!("'{name}' is left out: it is a link that leads out of the site (--follow-links)")
}

#[test]
fn links_to_the_inside_are_served_however_they_are_written() {
    let folder = tempfile::tempdir().unwrap();
    let top = folder.path().canonicalize().unwrap();
    let root = top.join("srv/site");
    write(&root, "a/x.html", "x");
    write(&root, ".hidden/y.html", "y");
    write(&top, "srv/site2/secret.html", "s");
    symlink("srv", top.join("www")).unwrap();
    for (link, target) in [
        ("absolute.html", root.join("a/x.html")),
        ("by-another-name.html", top.join("www/site/a/x.html")),
        ("climbs.html", "../site/a/x.html".into()),
        ("a/climbs.html", "../../../srv/site/a/../.hidden/y.html".into()),
        ("folder", root.join("a")),
        ("beside.html", root.join("../site2/secret.html")),
        ("sibling.html", top.join("srv/site2/secret.html")),
        ("above", "..".into()),
        ("whole", root.clone()),
    ] {
        symlink(target, root.join(link)).unwrap();
    }
    let expected =
        ["a/climbs.html", "a/x.html", "absolute.html", "climbs.html", "folder/climbs.html", "folder/x.html"];
    let whole = "'whole' is left out: it is a link to a folder that contains it".to_owned();
    let options = Options::default();
    let (names, warnings) = listed(&root, &options);
    assert_eq!(names, expected);
    let refused = ["above", "beside.html", "by-another-name.html", "sibling.html"].map(out);
    assert_eq!(warnings, [&refused[..], std::slice::from_ref(&whole)].concat());
    // The site's path as it was given counts as well as the one without links.
    let (names, warnings) = listed(&top.join("www/site"), &options);
    assert_eq!(names, [&expected[..3], &["by-another-name.html"], &expected[3..]].concat());
    let refused = ["above", "beside.html", "sibling.html"].map(out);
    assert_eq!(warnings, [&refused[..], &[whole]].concat());
    // Below a prefix, that folder is the root.
    let prefix = Options { prefix: Some("folder/".to_owned()), ..Options::default() };
    let (names, warnings) = listed(&root, &prefix);
    assert_eq!((names, warnings), (vec!["x.html".to_owned()], vec![out("climbs.html")]));
}

#[test]
fn links_are_followed_out_of_the_site_when_that_is_wanted() {
    let folder = tempfile::tempdir().unwrap();
    let top = folder.path();
    let root = top.join("site");
    write(&root, "index.html", "own");
    write(top, "store/page.html", "page");
    write(top, "store/more/deep.html", "deep");
    write(top, "store/.hidden/x.html", "x");
    write(top, "headers", "/*\n  A: b\n");
    symlink(top.join("store/page.html"), root.join("page.html")).unwrap();
    symlink("../store", root.join("store")).unwrap();
    symlink("../../site/index.html", top.join("store/more/back.html")).unwrap();
    symlink("../headers", root.join("_headers")).unwrap();
    let follow = Options { follow_links: true, ..Options::default() };
    let (names, warnings) = listed(&root, &follow);
    let expected =
        ["index.html", "page.html", "store/more/back.html", "store/more/deep.html", "store/page.html"];
    assert_eq!(names, expected);
    assert_eq!(warnings, [""; 0]);
    let site = Site::open(&root, &follow).unwrap();
    let (status, fields, body) = crate::open::opening::tests::ask(&site, "GET /store/page", "");
    assert_eq!((status, body.as_str()), (200, "page"));
    assert!(fields.contains("A: b\r\n"), "{fields}");

    let plain = Options::default();
    fs::remove_file(root.join("_headers")).unwrap();
    assert_eq!(listed(&root, &plain), (vec!["index.html".to_owned()], vec![out("page.html"), out("store")]));
}

#[test]
fn followed_links_have_bounds() {
    let folder = tempfile::tempdir().unwrap();
    let top = folder.path();
    let root = top.join("site");
    write(&root, "index.html", "own");
    for (link, target) in [
        ("above", ".."),
        ("device", "/dev/null"),
        ("environment", "/proc/self/environ"),
        ("input", "/proc/self/fd/0"),
        ("kernel", "/proc"),
        ("magic", "/proc/self/root"),
        ("self", "self"),
        ("system", "/sys/kernel/uevent_seqnum"),
    ] {
        symlink(target, root.join(link)).unwrap();
    }
    rustix::fs::mknodat(CWD, top.join("pipe"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    symlink("../pipe", root.join("pipe")).unwrap();
    let (names, warnings) = listed(&root, &Options { follow_links: true, ..Options::default() });
    // One folder up, and there is the site once more, which contains that link.
    assert_eq!(names, ["index.html"]);
    let made_up = "it lies in a file system that the kernel makes up, such as /proc";
    let expected = [
        ("above/pipe", "it is a device, a socket or a named pipe"),
        ("above/site", "it is a link to a folder that contains it"),
        ("device", "it is a device, a socket or a named pipe"),
        ("environment", made_up),
        ("input", made_up),
        ("kernel", made_up),
        ("magic", made_up),
        ("pipe", "it is a device, a socket or a named pipe"),
        ("self", "it is a link that leads to itself"),
        ("system", made_up),
    ];
    assert_eq!(warnings, expected.map(|(name, why)| format!("'{name}' is left out: {why}")));
}

#[test]
fn a_followed_link_that_leads_elsewhere_by_now() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("site");
    write(folder.path(), "store/page.html", "page");
    fs::create_dir(&root).unwrap();
    symlink("../store/page.html", root.join("page.html")).unwrap();
    let site = Site::open(&root, &Options { follow_links: true, ..Options::default() }).unwrap();
    let load = || site.load(crate::FileId(0), &crate::Budget::new(0, 0), std::time::SystemTime::now());
    assert!(load().is_ok());
    // A directory, a device, a pipe without a writer, the process's own memory of its start,
    // and nothing.
    rustix::fs::mknodat(CWD, folder.path().join("pipe"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    for target in ["../store", "/dev/zero", "../pipe", "/proc/self/environ", "/proc/version", "../none"] {
        fs::remove_file(root.join("page.html")).unwrap();
        symlink(target, root.join("page.html")).unwrap();
        assert!(load().is_err(), "{target}");
    }
}

#[test]
fn mount_points_below_a_directory() {
    let text = b"22 1 254:0 / / rw shared:1 - ext4 /dev/vda rw\n\
        30 22 0:5 /page.html /srv/site/page.html ro - ext4 /dev/vda rw\n\
        31 22 0:5 / /srv/site rw - tmpfs t rw\n\
        32 22 0:5 / /srv/site2/x rw - tmpfs t rw\n\
        33 22 0:5 /a /srv/site/a\\040b\\134c rw - ext4 /dev/vda rw\n\
        cut\n";
    let sorted = |own: &[u8]| {
        let mut all: Vec<_> = super::mounts_in(text, own).into_iter().collect();
        all.sort();
        all
    };
    assert_eq!(sorted(b"/srv/site"), [&b"a b\\c"[..], b"page.html"]);
    assert_eq!(sorted(b"/srv/none"), [&b""[..]; 0]);
    assert_eq!(sorted(b"/").len(), 4);
}
