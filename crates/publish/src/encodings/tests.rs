use super::*;
use crate::sidecar::{Comparison, compare};
use sitar_http::semantics::Coding;
use sitar_site::Options;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Older than any grain of time stamps.
const SETTLED: Duration = Duration::from_millis(120);

/// A text for which all three encodings are kept.
fn numbers(salt: &str) -> String {
    (0..400).map(|number| format!("<p>{number:016b}</p>\n")).collect::<String>() + salt
}

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), files);
    folder
}

fn write(folder: &Path, files: &[(&str, &str)]) {
    for (name, content) in files {
        fs::write(folder.join(name), content).unwrap();
    }
    std::thread::sleep(SETTLED);
}

/// What a run made: the report, and the file.
struct Run {
    encoded: Encoded,
    file: Option<Arc<Encodings>>,
    bytes: Vec<u8>,
}

impl Run {
    /// Names, whether each is at its best, and its codings.
    fn all(&self) -> Vec<(String, bool, Vec<Coding>)> {
        let manifest = self.file.as_ref().unwrap().manifest();
        let all = manifest.originals().enumerate().map(|(place, (name, original))| {
            let codings = manifest.encodings(place).iter().map(|encoding| encoding.coding).collect();
            (String::from_utf8(name.to_vec()).unwrap(), original.is_best, codings)
        });
        all.collect()
    }
}

fn run(site: &Path, level: Level, earlier: Option<&Run>) -> Run {
    run_with(site, level, earlier, u64::MAX, &mut || false)
}

fn run_with(
    site: &Path,
    level: Level,
    earlier: Option<&Run>,
    room: u64,
    is_over: &mut dyn FnMut() -> bool,
) -> Run {
    let site = Site::open(site, &Options::default()).unwrap();
    let mut bytes = Vec::new();
    let earlier = earlier.and_then(|run| run.file.as_deref());
    let encoded = encode_site(&site, &mut bytes, EncodeOptions { level, earlier, room, is_over }).unwrap();
    let open = |bytes: &[u8]| {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        Arc::new(Encodings::open(file.into()).unwrap())
    };
    let file = (!encoded.is_unchanged).then(|| open(&bytes));
    assert_eq!(encoded.bytes, bytes.len() as u64);
    Run { encoded, file, bytes }
}

const ALL: [Coding; 3] = [Coding::Br, Coding::Gzip, Coding::Zstd];

#[test]
fn what_a_pack_would_encode_is_encoded_and_decodes_to_it() {
    let text = numbers("");
    let folder = folder(&[
        ("a.html", &text),
        ("b.js", &text[1..]),
        ("c.css", "short"),
        ("d.png", &text),
        ("e.html", &text),
        ("e.html.gz", "own"),
        ("f.html", &text),
        ("_headers", "/f.html\n  Content-Encoding: gzip\n"),
    ]);
    let made = run(folder.path(), Level::Best, None);
    // Zstandard pays for one of them by a byte.
    let one = |name: &str, codings: &[Coding]| (name.to_owned(), true, codings.to_vec());
    assert_eq!(made.all(), [one("b.js", &ALL[..2]), one("a.html", &ALL)]);
    assert_eq!(
        made.encoded,
        Encoded { files: 2, made: 2, bytes: made.bytes.len() as u64, ..Encoded::default() }
    );
    let file = made.file.as_ref().unwrap();
    for (place, content) in [(0, &text[1..]), (1, &text[..])] {
        for encoding in file.manifest().encodings(place) {
            let body = file.body(encoding).unwrap();
            assert_eq!(compare(encoding.coding, &body, content.as_bytes()), Comparison::Same);
        }
    }
    // And the site takes it.
    let mut site = Site::open(folder.path(), &Options::default()).unwrap();
    site.attach(Arc::clone(file));
    assert_eq!(site.gain().files, 2);
}

#[test]
fn what_is_known_is_not_encoded_again() {
    let folder = folder(&[("a.html", &numbers("a")), ("b.html", &numbers("bb"))]);
    let first = run(folder.path(), Level::Fast, None);
    assert_eq!((first.encoded.made, first.encoded.taken_over), (2, 0));
    assert!(first.all().iter().all(|(_, is_best, _)| !is_best));
    let again = run(folder.path(), Level::Fast, Some(&first));
    assert!(again.encoded.is_unchanged && again.bytes.is_empty());
    assert_eq!((again.encoded.made, again.encoded.taken_over), (0, 2));
    // One with the same content under another name, one that was written again, and one that is
    // new.
    fs::rename(folder.path().join("b.html"), folder.path().join("c.html")).unwrap();
    write(folder.path(), &[("a.html", &numbers("a")), ("d.html", &numbers("ddd"))]);
    let next = run(folder.path(), Level::Fast, Some(&first));
    assert_eq!((next.encoded.made, next.encoded.taken_over, next.encoded.left), (1, 2, 0));
    assert_eq!(
        next.all().iter().map(|(name, ..)| &**name).collect::<Vec<_>>(),
        ["a.html", "c.html", "d.html"]
    );
    // A file that is gone leaves nothing.
    fs::remove_file(folder.path().join("a.html")).unwrap();
    let last = run(folder.path(), Level::Fast, Some(&next));
    assert!(!last.encoded.is_unchanged);
    assert_eq!(last.all().len(), 2);
}

#[test]
fn the_best_ones_replace_others_and_stay() {
    let folder = folder(&[("a.html", &numbers("a")), ("b.html", &numbers("bb"))]);
    let fast = run(folder.path(), Level::Fast, None);
    // There is time for one of them.
    let mut asked = 0;
    let half = run_with(folder.path(), Level::Best, Some(&fast), u64::MAX, &mut || {
        asked += 1;
        asked > 1
    });
    assert_eq!((half.encoded.made, half.encoded.left), (1, 1));
    assert_eq!(half.all().iter().map(|one| one.1).collect::<Vec<_>>(), [true, false]);
    let best = run(folder.path(), Level::Best, Some(&half));
    assert_eq!((best.encoded.made, best.encoded.taken_over), (1, 1));
    assert!(best.all().iter().all(|(_, is_best, codings)| *is_best && codings.len() >= 2));
    for level in [Level::Best, Level::Fast] {
        assert!(run(folder.path(), level, Some(&best)).encoded.is_unchanged);
    }
}

#[test]
fn a_file_that_was_changed_a_moment_ago_waits() {
    let folder = folder(&[("a.html", &numbers("a"))]);
    let path = folder.path().join("b.html");
    // Until the write and the look fall into one grain of time.
    for _ in 0..100 {
        fs::write(&path, numbers("b")).unwrap();
        let made = run(folder.path(), Level::Fast, None);
        if made.encoded.left == 1 {
            assert_eq!(made.all().len(), 1);
            return;
        }
    }
    panic!("no write was recent");
}

#[test]
fn where_there_is_no_room_for_all_there_is_for_some() {
    let texts: Vec<String> = (1..=8).map(|many| numbers("x").repeat(many)).collect();
    let names: Vec<String> = (1..=8).map(|number| format!("{number}.html")).collect();
    let files: Vec<(&str, &str)> =
        names.iter().map(|name| &**name).zip(texts.iter().map(|text| &**text)).collect();
    let folder = folder(&files);
    let whole = run(folder.path(), Level::Fast, None);
    assert_eq!(whole.encoded.without_room, 0);
    for room in [0, 300, 700, 2_000, whole.bytes.len() as u64 - 1, whole.bytes.len() as u64] {
        let made = run_with(folder.path(), Level::Fast, None, room, &mut || false);
        assert!(made.bytes.len() as u64 <= room.max(256), "{room}: {}", made.bytes.len());
        assert_eq!(made.encoded.without_room > 0, room < whole.bytes.len() as u64, "{room}");
        // The smaller ones first.
        let with: Vec<bool> = made.all().iter().map(|(.., codings)| !codings.is_empty()).collect();
        assert!(with.is_sorted_by(|a, b| a >= b), "{room}: {with:?}");
        // What there was no room for is not tried again while nothing changes.
        let again = run_with(folder.path(), Level::Fast, Some(&made), room, &mut || false);
        assert!(
            again.encoded.made == 0 || room < whole.bytes.len() as u64 - 1,
            "{room}: {:?}",
            again.encoded
        );
    }
}

#[test]
fn members_of_an_archive_are_encoded_and_a_pack_is_not() {
    let folder = folder(&[("a.html", &numbers("a"))]);
    let archive = folder.path().join("site.tar");
    let mut tar = std::process::Command::new("tar");
    let done = tar.arg("-cf").arg(&archive).arg("-C").arg(folder.path()).arg("a.html").status().unwrap();
    assert!(done.success());
    std::thread::sleep(SETTLED);
    let made = run(&archive, Level::Fast, None);
    assert_eq!(made.all(), [("a.html".to_owned(), false, ALL[..2].to_vec())]);
    let pack = folder.path().join("pack.tar");
    let options = crate::PackOptions {
        threads: std::num::NonZeroUsize::MIN,
        newest: None,
        level: Level::Fast,
        config_files: false,
        earlier: None,
        follow_links: false,
    };
    struct Quiet;
    impl crate::Progress for Quiet {
        fn begin(&self, _: usize) {}
        fn advance(&self, _: usize, _: u64) {}
    }
    crate::pack(folder.path(), fs::File::create(&pack).unwrap(), options, &Quiet).unwrap();
    let made = run(&pack, Level::Fast, None);
    assert_eq!((made.encoded.files, made.all().len()), (0, 0));
}

#[test]
fn damaged_encodings_are_made_again() {
    let folder = folder(&[("a.html", &numbers("a"))]);
    let mut first = run(folder.path(), Level::Fast, None);
    first.bytes[0] ^= 1;
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&first.bytes).unwrap();
    first.file = Some(Arc::new(Encodings::open(file.into()).unwrap()));
    fs::write(folder.path().join("b.html"), numbers("b")).unwrap();
    std::thread::sleep(SETTLED);
    let made = run(folder.path(), Level::Fast, Some(&first));
    assert_eq!((made.encoded.made, made.all().len()), (2, 2));
}

#[test]
fn an_original_of_another_size_is_not_taken_over() {
    use sitar_site::raw::encodings::{Encoding, Footer, Original, VERSION};
    let text = numbers("a");
    let folder = folder(&[("a.html", &text)]);
    let site = Site::open(folder.path(), &Options::default()).unwrap();
    let (_, file) = site.names().next().unwrap();
    let (version, _) = site.version_of(file).unwrap();
    // Whatever its hashes say: a body may be as long as the content that is claimed for it.
    let mut bytes = b"BR".to_vec();
    let original =
        Original { version, hash: sha256(text.as_bytes()), size: 1 << 40, is_best: true, encodings: 1 };
    original.write(6, &mut bytes);
    Encoding { coding: Coding::Br, offset: 0, size: 2, hash: sha256(b"BR") }.write(&mut bytes);
    bytes.extend_from_slice(b"a.html");
    let encoders = encoders().to_vec();
    Footer { version: VERSION, offset: 2, originals: 1, encodings: 1, names: 6, encoders, hash: [0; 32] }
        .write(&mut bytes);
    let hash = sha256(&bytes[2..]);
    bytes.extend_from_slice(&hash);
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&bytes).unwrap();
    let file = Some(Arc::new(Encodings::open(file.into()).unwrap()));
    let earlier = Run { encoded: Encoded::default(), file, bytes };
    for level in [Level::Fast, Level::Best] {
        let made = run(folder.path(), level, Some(&earlier));
        assert_eq!((made.encoded.made, made.encoded.taken_over), (1, 0));
    }
}

#[test]
fn what_there_was_no_room_for_is_made_when_there_is() {
    let folder = folder(&[("a.html", &numbers("a")), ("b.html", &numbers("bb"))]);
    let whole = run(folder.path(), Level::Best, None);
    let room = whole.bytes.len() as u64 - 1;
    let short = run_with(folder.path(), Level::Best, None, room, &mut || false);
    assert_eq!(short.encoded.without_room, 1);
    let again = run(folder.path(), Level::Best, Some(&short));
    assert_eq!(again.all(), whole.all());
}

#[test]
fn little_is_encoded_for_which_there_is_no_room() {
    let texts: Vec<String> = (1..=20).map(|many| numbers("x").repeat(many)).collect();
    let names: Vec<String> = (101..=120).map(|number| format!("{number}.html")).collect();
    let files: Vec<(&str, &str)> =
        names.iter().map(|name| &**name).zip(texts.iter().map(|text| &**text)).collect();
    let folder = folder(&files);
    let made = run_with(folder.path(), Level::Fast, None, 600, &mut || false);
    assert!(made.encoded.made <= 2, "{:?}", made.encoded);
    assert_eq!(made.encoded.without_room, 20);
}
