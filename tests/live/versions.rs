//! Versions of a site's files that size and modification time do not tell apart, and sparse files,
//! through the whole program.

use crate::common::client::{Client, Response};
use crate::common::{Server, eventually, h2, have, run};
use std::fs::{self, File, FileTimes};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, SystemTime};
use tempfile::TempDir;

/// Bytes of a file that is sent from the disk: more than an eighth of the one MiB of `--memory`.
const LARGE: usize = 300_000;
/// 1985-10-26 08:15:00, what npm gives all files.
const DATE: &str = "Sat, 26 Oct 1985 08:15:00 GMT";

fn give_date(path: &Path) {
    let date = SystemTime::UNIX_EPOCH + Duration::from_secs(499_162_500);
    File::options().write(true).open(path).unwrap().set_times(FileTimes::new().set_modified(date)).unwrap();
}

/// A client of each version of HTTP.
struct Clients(Client, h2::Client);

impl Clients {
    fn new(server: &Server) -> Clients {
        Clients(Client::connect(server), h2::Client::connect(server))
    }

    /// The answers of both, which are the same.
    fn ask(&mut self, method: &str, path: &str, fields: &[(&str, &str)]) -> Response {
        let one = self.0.request(method, path, fields).unwrap();
        let lower: Vec<_> = fields.iter().map(|(name, value)| (name.to_lowercase(), *value)).collect();
        let lower: Vec<_> = lower.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        let two = self.1.request(method, path, &lower).unwrap();
        assert_eq!(one.status, two.status, "{method} {path} {fields:?}");
        assert!(one.body == two.body, "{method} {path} {fields:?}");
        for name in ["etag", "last-modified", "content-length", "content-range"] {
            assert_eq!(one.field(name), two.field(name), "{method} {path} {fields:?}");
        }
        one
    }
}

#[test]
fn versions_of_one_size_and_date_are_not_taken_for_each_other() {
    let folder = TempDir::new().unwrap();
    // A file and an archive of the same, each replaced by a rename while it is served.
    let (site, tar) = (folder.path().join("site"), folder.path().join("site.tar"));
    fs::create_dir(&site).unwrap();
    let put = |byte: u8| {
        let next = folder.path().join("next");
        fs::write(&next, vec![byte; LARGE]).unwrap();
        give_date(&next);
        fs::rename(&next, site.join("a.bin")).unwrap();
        let arguments = ["-cf", "next.tar", "-C", "site", "a.bin"];
        let status = std::process::Command::new("tar").current_dir(folder.path()).args(arguments).status();
        assert!(status.unwrap().success());
        let next = folder.path().join("next.tar");
        give_date(&next);
        fs::rename(&next, &tar).unwrap();
    };
    if !have(&["tar"]) {
        return;
    }
    put(b'1');
    let servers = [&site, &tar].map(|path| Server::start_with([path], &[("SITAR_MEMORY", "1")]));
    let mut clients = servers.each_ref().map(Clients::new);
    // What has only just been changed has a makeshift for an ETag, for as long as its times may not
    // tell.
    let firsts = clients.each_mut().map(|clients| {
        let mut etag = String::new();
        eventually("an ETag that stays", || {
            let before = std::mem::replace(&mut etag, head(clients));
            std::thread::sleep(Duration::from_millis(60));
            etag = head(clients);
            etag == before
        });
        etag
    });
    for (clients, etag) in clients.iter_mut().zip(&firsts) {
        let got = clients.ask("GET", "/a.bin", &[]);
        assert!(got.status == 200 && got.body == vec![b'1'; LARGE]);
        assert_eq!((got.field("etag"), got.field("last-modified")), (Some(etag.as_str()), Some(DATE)));
        assert_eq!(clients.ask("GET", "/a.bin", &[("If-None-Match", etag)]).status, 304);
        assert_eq!(clients.ask("GET", "/a.bin", &[("If-Modified-Since", DATE)]).status, 304);
        let part = clients.ask("GET", "/a.bin", &[("Range", "bytes=5-9"), ("If-Range", etag)]);
        assert_eq!((part.status, &part.body[..]), (206, &b"11111"[..]));
    }
    put(b'2');
    for (clients, before) in clients.iter_mut().zip(&firsts) {
        // Of each connection: shards take a site over one after the other.
        eventually("the other version", || clients.0.get("/a.bin").unwrap().body == vec![b'2'; LARGE]);
        eventually("the other version", || clients.1.get("/a.bin").unwrap().body == vec![b'2'; LARGE]);
        let now = clients.ask("HEAD", "/a.bin", &[]).field("etag").unwrap().to_owned();
        assert!(now != *before && now.starts_with('"'));
        for (fields, status) in [
            (&[("If-None-Match", before.as_str())][..], 200),
            (&[("If-Match", before)], 412),
            (&[("If-Modified-Since", DATE)], 200),
            (&[("If-Unmodified-Since", DATE)], 412),
            (&[("Range", "bytes=5-9"), ("If-Range", before)], 200),
            (&[("Range", "bytes=5-9"), ("If-Range", DATE)], 200),
            (&[("Range", "bytes=5-9"), ("If-Unmodified-Since", DATE)], 412),
            (&[("Range", "bytes=5-9,20-29"), ("If-Range", before)], 200),
        ] {
            let got = clients.ask("GET", "/a.bin", fields);
            assert_eq!(got.status, status, "{fields:?}");
            assert!(status != 200 || got.body == vec![b'2'; LARGE], "{fields:?}");
        }
    }
}

/// The ETag by a HEAD, of one of the clients: it may change from one question to the next.
fn head(clients: &mut Clients) -> String {
    let got = clients.0.request("HEAD", "/a.bin", &[]).unwrap();
    assert_eq!((got.status, got.field("content-length")), (200, Some("300000")));
    got.field("etag").expect("each body has one").to_owned()
}

/// A file of 700,000 bytes with holes, and parts as long as a block, longer than a send and at the
/// end.
fn holes(path: &Path) -> Vec<u8> {
    let file = File::create(path).unwrap();
    file.set_len(700_000).unwrap();
    let mut content = vec![0; 700_000];
    for (at, len) in [(8192, 512), (65_536, 4096), (131_072, 150_000), (600_064, 512), (699_392, 608)] {
        let data: Vec<u8> = (0..len).map(|byte| 1 + (byte % 251) as u8).collect();
        file.write_all_at(&data, at as u64).unwrap();
        content[at..at + len].copy_from_slice(&data);
    }
    content
}

#[test]
fn sparse_members_are_served_from_memory_and_from_the_file() {
    if !have(&["tar"]) {
        return;
    }
    let folder = TempDir::new().unwrap();
    let inside = folder.path();
    // One archive with each kind of map; the end of one that is behind another's would hide it.
    let (mut archive, mut content) = (Vec::new(), Vec::new());
    let kinds = [("gnu", "1.0"), ("pax", "0.0"), ("pax", "0.1"), ("pax", "1.0")];
    for (number, (format, version)) in kinds.iter().enumerate() {
        let name = format!("{number}.bin");
        content = holes(&inside.join(&name));
        let (format, version) = (format!("--format={format}"), format!("--sparse-version={version}"));
        let arguments =
            [&format, &version, "--sparse", "--hole-detection=raw", "-C", inside.to_str().unwrap()];
        let made = inside.join("one.tar");
        run("tar", arguments.into_iter().chain(["-cf", made.to_str().unwrap(), &name])).ok();
        archive.extend(fs::read(&made).unwrap());
        while archive.ends_with(&[0; 512]) {
            archive.truncate(archive.len() - 512);
        }
    }
    assert!(archive.len() < 4 * 200_000, "stored with its holes");
    archive.resize(archive.len() + 1024, 0);
    let tar = inside.join("site.tar");
    fs::write(&tar, archive).unwrap();
    for memory in ["1", "64"] {
        let server = Server::start_with([&tar], &[("SITAR_MEMORY", memory)]);
        let mut clients = Clients::new(&server);
        for (number, kind) in kinds.iter().enumerate() {
            let path = format!("/{number}.bin");
            let got = clients.ask("GET", &path, &[]);
            assert_eq!((got.status, got.field("content-length")), (200, Some("700000")), "{kind:?}");
            assert!(got.body == content, "{kind:?} {memory}");
            let etag = got.field("etag").unwrap().to_owned();
            assert!(clients.ask("HEAD", &path, &[]).field("etag") == Some(&etag));
            // Within a hole, within a part, over all kinds of borders, and the last byte.
            for (first, last) in [
                (0, 0),
                (100, 5000),
                (8000, 8191),
                (8190, 8195),
                (8700, 66_000),
                (131_072, 281_071),
                (1, 699_998),
                (650_000, 699_999),
                (699_999, 699_999),
            ] {
                let range = format!("bytes={first}-{last}");
                let got = clients.ask("GET", &path, &[("Range", &range), ("If-Range", &etag)]);
                assert_eq!(got.status, 206, "{range}");
                assert_eq!(got.field("content-range"), Some(&*format!("bytes {first}-{last}/700000")));
                assert!(got.body == content[first..=last], "{kind:?} {memory} {range}");
            }
        }
    }
}
