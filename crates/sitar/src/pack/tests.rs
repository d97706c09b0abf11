use std::os::unix::fs::symlink;

use sitar_publish::Encodings;
use sitar_site::Warning;

use super::*;
use crate::cli::{self, Verb};

fn arguments(words: &[&Path]) -> Pack {
    let all = ["sitar", "pack"].map(OsString::from).into_iter();
    match cli::parse(all.chain(words.iter().map(|word| word.as_os_str().to_owned())), None).unwrap() {
        Verb::Pack(pack) => pack,
        other => panic!("{other:?}"),
    }
}

fn pack_to(directory: &Path, output: &Path) -> Result<(), Error> {
    run(&arguments(&[directory, Path::new("-o"), output, Path::new("--source-date-epoch=1700000000")]))
}

fn site() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("public")).unwrap();
    fs::write(folder.path().join("public/index.html"), "<p>words and more words</p>".repeat(50)).unwrap();
    folder
}

pub(super) fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn the_archive_is_replaced_when_the_new_one_is_whole() {
    let folder = site();
    let (directory, output) = (folder.path().join("public"), folder.path().join("site.tar"));
    pack_to(&directory, &output).unwrap();
    let first = fs::read(&output).unwrap();
    pack_to(&directory, &output).unwrap();
    assert_eq!(fs::read(&output).unwrap(), first);
    fs::write(directory.join("new.html"), "new").unwrap();
    let reader = File::open(&output).unwrap();
    pack_to(&directory, &output).unwrap();
    assert_ne!(fs::read(&output).unwrap(), first);
    // Who had it open has the old one, whole.
    let mut old = Vec::new();
    (&reader).read_to_end(&mut old).unwrap();
    assert_eq!(old, first);
    assert_eq!(names(folder.path()), ["public", "site.tar"]);
    // Through a link to where that leads.
    symlink("site.tar", folder.path().join("link.tar")).unwrap();
    pack_to(&directory, &folder.path().join("link.tar")).unwrap();
    assert!(fs::symlink_metadata(folder.path().join("link.tar")).unwrap().is_symlink());
    assert_eq!(names(folder.path()), ["link.tar", "public", "site.tar"]);
}

#[test]
fn a_failure_leaves_what_was_there() {
    let folder = site();
    let (directory, output) = (folder.path().join("public"), folder.path().join("site.tar"));
    pack_to(&directory, &output).unwrap();
    let first = fs::read(&output).unwrap();
    let error = pack_to(&folder.path().join("missing"), &output).unwrap_err().to_string();
    assert!(error.contains("missing: cannot open the directory: No such file or directory"), "{error}");
    assert!(error.contains("hint: DIR is the folder"), "{error}");
    assert_eq!(fs::read(&output).unwrap(), first);
    assert_eq!(names(folder.path()), ["public", "site.tar"]);
}

#[test]
fn outputs_that_must_be_mistakes() {
    let folder = site();
    let directory = folder.path().join("public");
    let refusal = |output: &Path| pack_to(&directory, output).unwrap_err().to_string();
    let error = refusal(&directory.join("site.tar"));
    assert!(error.contains("the next pack would contain it") && error.contains("-o ../site.tar"), "{error}");
    fs::write(folder.path().join("notes.txt"), "x".repeat(1000)).unwrap();
    let error = refusal(&folder.path().join("notes.txt"));
    assert!(error.contains("a file is there that is not a tar archive"), "{error}");
    let error = refusal(Path::new("/dev/null"));
    assert!(error.contains("something is there that is not a file"), "{error}");
    let error = refusal(&folder.path().join("nowhere/site.tar"));
    assert!(error.contains("cannot write") && error.contains("No such file"), "{error}");
    assert_eq!(names(folder.path()), ["notes.txt", "public"]);
    assert_eq!(names(&directory), ["index.html"]);
}

#[test]
fn summaries() {
    let made = |suffix, files, after| Encodings { suffix, files, before: 4096, after };
    let mut packed = Packed {
        files: 3,
        bytes: 5000,
        archive: 6144,
        encodings: vec![
            made("br", 2, 1024),
            made("gz", 1, 2048),
            Encodings { suffix: "zst", ..Encodings::default() },
        ],
        ..Packed::default()
    };
    let plain = arguments(&[Path::new("pub\nlic")]);
    assert_eq!(
        summary::Text { arguments: &plain, packed: &packed }.to_string(),
        "packed pub\\nlic to site.tar\n\
         \x20 files    3, 4.88 KiB\n\
         \x20 archive  6.00 KiB\n\
         \x20 br       2 made, 4.00 KiB become 1.00 KiB (25 %)\n\
         \x20 gz       1 made, 4.00 KiB become 2.00 KiB (50 %)\n\
         \x20 zst      none made\n\
         \x20 caching  0 names carry a fingerprint: kept for a year\n"
    );
    (packed.reused, packed.taken_over, packed.fingerprinted, packed.too_large) = (1, 2, 3, 4);
    packed.replaced = 5;
    (packed.plain, packed.fetched) = (4096, 1024);
    packed.warnings = vec![Warning::NoFiles];
    let shown = summary::Text { arguments: &plain, packed: &packed }.to_string();
    assert!(
        shown.ends_with(
            "  saved    75 %: a browser fetches 1.00 KiB instead of 4.00 KiB for all files\n\
             \x20 reused   encodings of 1 files, from the earlier pack\n\
             \x20 sidecars 2 were there already\n\
             \x20 replaced 5 sidecars that are not their files encoded\n\
             \x20 caching  3 names carry a fingerprint: kept for a year\n\
             \x20 warning  4 files above 64 MiB are not encoded\n\
             \x20 warning  there is no file to serve in it\n"
        ),
        "{shown}"
    );
    let fast = arguments(&[Path::new("public"), Path::new("--fast"), Path::new("-oa\"b")]);
    let shown = summary::Text { arguments: &fast, packed: &packed }.to_string();
    assert!(
        shown.contains("\n  level    fast, for previews: without --fast, encodings are smaller\n"),
        "{shown}"
    );
    let shown = summary::Json { arguments: &plain, packed: &packed }.to_string();
    assert!(shown.starts_with("{\"output\":\"site.tar\",\"level\":\"best\",\"files\":3,"), "{shown}");
    assert_eq!(
        summary::Json { arguments: &fast, packed: &packed }.to_string(),
        "{\"output\":\"a\\\"b\",\"level\":\"fast\",\"files\":3,\"bytes\":5000,\"archive_bytes\":6144,\"plain_bytes\":4096,\"fetched_bytes\":1024,\"sidecars_taken_over\":2,\
         \"sidecars_replaced\":5,\"fingerprinted\":3,\"reused\":1,\"too_large\":4,\"encodings\":{\
         \"br\":{\"files\":2,\"before_bytes\":4096,\"after_bytes\":1024},\
         \"gz\":{\"files\":1,\"before_bytes\":4096,\"after_bytes\":2048},\
         \"zst\":{\"files\":0,\"before_bytes\":0,\"after_bytes\":0}},\
         \"warnings\":[\"there is no file to serve in it\"]}\n"
    );
}
