use super::*;
use crate::Budget;
use crate::open::error::{OpenFault, Warning};
use crate::open::index::FileId;
use crate::open::opening::Options;
use crate::open::site::Site;
use crate::open::tar::tests::{archive, header, member, members};
use crate::open::tar::{Member, MemberKind, ReadAt};
use proptest::prelude::*;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

fn message(bytes: &[u8]) -> String {
    members(bytes).unwrap_err().to_string()
}

/// The name and the content of the only member, and how many parts it is stored in (0: as a file
/// without holes).
fn only(bytes: &[u8]) -> (String, Vec<u8>, usize) {
    let [Member { name, kind }] = &members(bytes).unwrap()[..] else { panic!("not one member") };
    let name = String::from_utf8(name.clone()).unwrap();
    match kind {
        MemberKind::File(stored) => {
            (name, bytes[stored.offset as usize..][..stored.size as usize].to_vec(), 0)
        }
        MemberKind::Sparse(stored, map) => {
            let mut content = vec![9; stored.size as usize];
            map.read(&mut content, 0, |part, at| bytes.read_exact_at(part, at)).unwrap();
            (name, content, map.extents().len())
        }
        other => panic!("{other:?}"),
    }
}

fn sealed(mut block: [u8; 512]) -> Vec<u8> {
    block[148..156].copy_from_slice(b"        ");
    let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block.to_vec()
}

/// A pax header of these records.
fn pax(records: &[(&str, &str)]) -> Vec<u8> {
    let mut body = String::new();
    for (key, value) in records {
        let rest = format!(" {key}={value}\n");
        let len = (rest.len()..).find(|len| len.to_string().len() + rest.len() == *len).unwrap();
        body += &format!("{len}{rest}");
    }
    member("PaxHeaders/x", b'x', body.as_bytes())
}

/// An old GNU header: entries of the header, blocks of further ones, the file's size, and what is
/// stored.
fn old(entries: &[(u64, u64)], more: &[&[(u64, u64)]], size: u64, stored: &[u8]) -> Vec<u8> {
    let mut block = header(b"old.bin", b'S', stored.len() as u64, b"");
    block[257..265].copy_from_slice(b"ustar  \0");
    let put = |room: &mut [u8], entries: &[(u64, u64)]| {
        for ((at, len), room) in entries.iter().zip(room.chunks_exact_mut(24)) {
            room.copy_from_slice(format!("{at:011o}\0{len:011o}\0").as_bytes());
        }
    };
    put(&mut block[386..482], entries);
    block[482] = u8::from(!more.is_empty());
    block[483..495].copy_from_slice(format!("{size:011o}\0").as_bytes());
    let mut bytes = sealed(block);
    for (number, entries) in more.iter().enumerate() {
        let mut block = [0; 512];
        put(&mut block[..504], entries);
        block[504] = u8::from(number + 1 < more.len());
        bytes.extend_from_slice(&block);
    }
    bytes.extend_from_slice(stored);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

/// A member of version 1.0 with that text as its map.
fn text(map: &str, size: &str, stored: &[u8]) -> Vec<u8> {
    let mut body = map.as_bytes().to_vec();
    body.resize(body.len().next_multiple_of(512), 0);
    body.extend_from_slice(stored);
    let records = [
        ("GNU.sparse.major", "1"),
        ("GNU.sparse.minor", "0"),
        ("GNU.sparse.name", "real.bin"),
        ("GNU.sparse.realsize", size),
    ];
    archive(&[pax(&records), member("GNUSparseFile.1/real.bin", b'0', &body)])
}

/// A file of 2 MB with data in `pieces` places, and its content.
fn with_holes(path: &Path, pieces: u64) -> Vec<u8> {
    let file = std::fs::File::create(path).unwrap();
    let mut content = vec![0; 2_000_000];
    file.set_len(2_000_000).unwrap();
    for piece in 0..pieces {
        let at = 8192 + piece * 16_384;
        let data = vec![b'a' + (piece % 26) as u8; 3000];
        file.write_all_at(&data, at).unwrap();
        content[at as usize..][..3000].copy_from_slice(&data);
    }
    content
}

#[test]
fn every_version_of_gnu_tar() {
    let folder = tempfile::tempdir().unwrap();
    // More entries than an old header has, than one block behind it has; none at all.
    for pieces in [0, 1, 4, 5, 26, 100] {
        let content = with_holes(&folder.path().join("holes.bin"), pieces);
        for format in [
            &["--format=gnu"][..],
            &["--format=pax", "--sparse-version=0.0"],
            &["--format=pax", "--sparse-version=0.1"],
            &["--format=pax", "--sparse-version=1.0"],
        ] {
            let output = Command::new("tar")
                .current_dir(folder.path())
                .args(format)
                .args(["--sparse", "--hole-detection=raw", "-cf", "-", "holes.bin"])
                .output()
                .unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            assert!(output.stdout.len() < 900_000, "stored with its holes");
            let (name, read, parts) = only(&output.stdout);
            assert_eq!(name, "holes.bin", "{format:?}");
            assert!(read == content, "{format:?}, {pieces} pieces");
            assert_eq!(parts, pieces as usize, "{format:?}");
        }
    }
}

#[test]
fn maps_by_hand() {
    let expected = b"\0\0ab\0\0\0cde\0".to_vec();
    let stored = b"abcde";
    let of_records =
        |records: &[(&str, &str)]| archive(&[pax(records), member("GNUSparseFile.0/real.bin", b'0', stored)]);
    // As bsdtar ends a map: with an empty part at the end of the file.
    let text = text("3\n2\n2\n7\n3\n11\n0\n", "11", stored);
    assert_eq!(only(&text), ("real.bin".to_owned(), expected.clone(), 2));
    let pairs = [
        ("GNU.sparse.size", "11"),
        ("GNU.sparse.numblocks", "2"),
        ("GNU.sparse.offset", "2"),
        ("GNU.sparse.numbytes", "2"),
        ("GNU.sparse.offset", "7"),
        ("GNU.sparse.numbytes", "3"),
        ("path", "dir/pairs.bin"),
    ];
    assert_eq!(only(&of_records(&pairs)), ("dir/pairs.bin".to_owned(), expected.clone(), 2));
    let list = [
        ("GNU.sparse.name", "dir/list.bin"),
        ("GNU.sparse.size", "11"),
        ("GNU.sparse.numblocks", "3"),
        ("GNU.sparse.map", "2,1,3,1,7,3"),
    ];
    assert_eq!(only(&of_records(&list)), ("dir/list.bin".to_owned(), expected.clone(), 2));
    assert_eq!(only(&archive(&[old(&[(2, 2), (7, 3)], &[], 11, stored)])).1, expected);
    assert_eq!(only(&archive(&[old(&[(2, 2)], &[&[(7, 3)]], 11, stored)])).1, expected);
    // Holes alone, nothing at all, and no holes: the last two are ordinary files.
    assert_eq!(only(&archive(&[old(&[], &[], 3, b"")])), ("old.bin".to_owned(), vec![0; 3], 0));
    assert_eq!(only(&archive(&[old(&[(0, 0)], &[], 0, b"")])), ("old.bin".to_owned(), vec![], 0));
    assert_eq!(only(&archive(&[old(&[(0, 2), (2, 3)], &[], 5, stored)])).2, 0);
    // A member behind a sparse one is found.
    let both = archive(&[old(&[(2, 2)], &[&[(7, 3)]], 11, stored), member("b", b'0', b"b")]);
    assert_eq!(members(&both).unwrap()[1].name, b"b");
}

#[test]
fn maps_that_contradict_themselves_are_refused() {
    let damaged = |what: &str| format!("the archive is damaged at byte 0, member 'old.bin': {what}");
    for (entries, size, what) in [
        (&[(2, 2), (1, 1)][..], 11, "a sparse file's map is out of order, or has parts that overlap"),
        (&[(2, 2), (3, 2)], 11, "a sparse file's map is out of order, or has parts that overlap"),
        (&[(2, 2), (2, 2)], 11, "a sparse file's map is out of order, or has parts that overlap"),
    ] {
        // Found while the map is read, behind the header.
        let message = message(&archive(&[old(entries, &[], size, b"abcde")]));
        assert_eq!(message, damaged(what).replace("byte 0", "byte 512"));
    }
    let beyond_end = archive(&[old(&[(9, 3)], &[], 11, b"abcde")]);
    assert_eq!(message(&beyond_end), damaged("a sparse file's map leads beyond the end of the file"));
    let more = archive(&[old(&[(0, 6)], &[], 11, b"abcde")]);
    assert_eq!(message(&more), damaged("a sparse file's map names more bytes than are stored"));

    for (map, size, what) in [
        ("x\n", "1", "a sparse file's map is malformed"),
        ("\n", "1", "a sparse file's map is malformed"),
        ("1\n-1\n1\n", "1", "a sparse file's map is malformed"),
        ("1\n0\n", "1", "a sparse file's map is malformed"),
        ("99999999999999999999\n", "1", "a sparse file's map is malformed"),
        ("0000000000000000000000001\n", "1", "a sparse file's map is malformed"),
        ("1048577\n", "1", "a sparse file's map is too long"),
        ("1\n18446744073709551615\n2\n", "1", "a sparse file's map leads beyond any file"),
        ("1\n9223372036854775807\n1\n", "1", "a sparse file's map leads beyond any file"),
        ("1\n0\n1\n", "9223372036854775808", "a sparse file's size is not a number"),
        ("1\n0\n6\n", "11", "a sparse file's map names more bytes than are stored"),
    ] {
        let message = message(&text(map, size, b"abcde"));
        assert!(message.ends_with(&format!("member 'real.bin': {what}")), "{map:?}: {message}");
    }
    let is_incomplete = "a sparse file's map is not complete";
    let cut = pax(&[("GNU.sparse.major", "1"), ("GNU.sparse.minor", "0"), ("GNU.sparse.realsize", "9")]);
    for body in [&b""[..], b"1\n", &[b'0'; 100]] {
        let message = message(&archive(&[cut.clone(), member("a", b'0', body)]));
        assert!(message.ends_with(is_incomplete), "{message}");
    }
    for records in [
        &[("GNU.sparse.size", "9"), ("GNU.sparse.numblocks", "1")][..],
        &[("GNU.sparse.size", "9"), ("GNU.sparse.offset", "1")],
    ] {
        let message = message(&archive(&[pax(records), member("a", b'0', b"a")]));
        assert!(message.ends_with(is_incomplete), "{message}");
    }
    for records in [
        &[("GNU.sparse.numbytes", "9")][..],
        &[("GNU.sparse.offset", "1"), ("GNU.sparse.offset", "2")],
        &[("GNU.sparse.map", "1")],
        &[("GNU.sparse.map", "1,2,")],
        &[("GNU.sparse.map", "1;2")],
    ] {
        let message = message(&archive(&[pax(records), member("a", b'0', b"a")]));
        assert!(message.ends_with("a sparse file's map is malformed"), "{message}");
    }
    let sizeless = archive(&[pax(&[("GNU.sparse.map", "0,1")]), member("a", b'0', b"a")]);
    assert!(message(&sizeless).ends_with("a sparse file's size is not a number"));
    // Only one file can be sparse.
    let other = "it says that something other than one file is sparse";
    let folder = archive(&[pax(&[("GNU.sparse.size", "9")]), member("a", b'5', b"")]);
    assert!(message(&folder).ends_with(other));
    let global = member("g", b'g', b"21 GNU.sparse.size=9\n");
    assert!(message(&archive(&[global, member("a", b'0', b"a")])).ends_with(other));
    // Versions that do not exist, and star's, which has its map elsewhere.
    for records in [&[("GNU.sparse.major", "2")][..], &[("GNU.sparse.x", "2")], &[("SCHILY.realsize", "2")]] {
        let message = message(&archive(&[pax(records), member("a", b'0', b"a")]));
        assert!(message.contains("member 'a' is stored as a sparse file in a way"), "{message}");
    }
    let mut star = header(b"star", b'S', 0, b"");
    star[257..265].copy_from_slice(b"ustar\x0000");
    assert!(message(&archive(&[sealed(star)])).contains("member 'star' is stored as a sparse file in a way"));
}

#[test]
fn a_map_that_is_cut_anywhere_is_told() {
    let stored = [b'x'; 900];
    let old = archive(&[old(&[(0, 100)], &[&[(200, 300)], &[(800, 500)]], 2000, &stored)]);
    let text = text("3\n0\n100\n200\n300\n800\n500\n", "2000", &stored);
    for good in [old, text] {
        assert_eq!(only(&good).2, 3);
        for cut in (512..good.len() - 1024).step_by(100) {
            assert!(matches!(members(&good[..cut]), Err(OpenFault::Truncated { .. })), "{cut}");
        }
    }
}

#[test]
fn links_to_sparse_files_and_sparse_sidecars_are_served() {
    let of = |name: &str, entries: &[(u64, u64)], stored: &[u8]| {
        [pax(&[("path", name)]), old(entries, &[], 11, stored)].concat()
    };
    let symlink = header(b"symlink", b'2', 0, b"a.js");
    let bytes = archive(&[
        of("a.js", &[(2, 2), (7, 3)], b"abcde"),
        header(b"link", b'1', 0, b"a.js").to_vec(),
        symlink.to_vec(),
        of("a.js.br", &[(1, 1)], b"x"),
        member("plain", b'0', b"plain"),
    ]);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    let site = Site::open(file.path(), &Options::default()).unwrap();
    let (a, br) = (&b"\0\0ab\0\0\0cde\0"[..], &b"\0x\0\0\0\0\0\0\0\0\0"[..]);
    let mut seen = Vec::new();
    for id in 0..site.files() as u32 {
        let name = site.name_of(FileId(id)).unwrap();
        for budget in [Budget::new(100, 100), Budget::new(0, 100), Budget::new(0, 0)] {
            let loaded = site.load(FileId(id), &budget, std::time::SystemTime::now()).unwrap();
            let (content, len) = loaded.beginning(100).unwrap();
            assert_eq!(content.len() as u64, len);
            seen.push((name.clone(), content));
        }
    }
    seen.sort();
    seen.dedup();
    let expected =
        [("a.js", a), ("a.js", br), ("a.js.br", br), ("link", a), ("plain", b"plain"), ("symlink", a)];
    let mut expected = expected.map(|(name, content)| (name.to_owned(), content.to_vec()));
    expected.sort();
    assert_eq!(seen, expected);
}

#[test]
fn the_body_of_a_link_to_a_sparse_file_is_compared_with_that() {
    // An archive with a hole behind its first member's header.
    let inner = archive(&[header(b"inner", b'0', 0, b"").to_vec()]);
    let file = [
        pax(&[("path", "a")]),
        old(&[(0, 512)], &[], inner.len() as u64, &inner[..512]),
        header(b"link", b'1', inner.len() as u64, b"a").to_vec(),
        inner.clone(),
        member("b", b'0', b"b"),
    ];
    let found: Vec<_> = members(&archive(&file)).unwrap().into_iter().map(|member| member.name).collect();
    assert_eq!(found, [b"a".to_vec(), b"link".to_vec(), b"b".to_vec()]);
}

/// The search for secrets reads the file, and not the archive from the file's first part on.
#[test]
fn a_sparse_file_is_no_secret_for_what_lies_behind_its_parts() {
    let of = |name: &str, entries: &[(u64, u64)], stored: &[u8]| {
        [pax(&[("path", name)]), old(entries, &[], 900, stored)].concat()
    };
    let bytes = archive(&[
        member("index.html", b'0', b"<p>"),
        of("parts.pem", &[(0, 12), (500, 14)], b"-----BEGIN PRIVATE KEY----"),
        of("hole.pem", &[], b""),
        member("text.html", b'0', b"how to keep a PRIVATE KEY"),
        of("key.pem", &[(100, 28)], b"\n-----BEGIN PRIVATE KEY-----"),
    ]);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    let site = Site::open(file.path(), &Options::default()).unwrap();
    let secrets: Vec<_> = site
        .warnings()
        .iter()
        .filter_map(|warning| match warning {
            Warning::Secret { name, .. } => Some(name.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(secrets, ["key.pem"]);
}

#[test]
fn a_hole_of_eight_tebibytes_is_only_a_number() {
    let size = 8_796_093_022_208_u64;
    let bytes = text("1\n8796093022200\n5\n", "8796093022208", b"abcde");
    let [Member { kind: MemberKind::Sparse(stored, map), .. }] = &members(&bytes).unwrap()[..] else {
        panic!("not sparse")
    };
    assert_eq!((stored.size, map.extents().len()), (size, 1));
    assert_eq!(map.place(&(0..size)), Place::Hole { len: 8_796_093_022_200 });
    assert_eq!(map.place(&(size - 8..size)), Place::File { offset: stored.offset, len: 5 });
    assert_eq!(map.place(&(size - 6..size)), Place::File { offset: stored.offset + 2, len: 3 });
    assert_eq!(map.place(&(size - 3..size)), Place::Hole { len: 3 });
    let mut end = [1; 12];
    map.read(&mut end, size - 12, |part, at| bytes.as_slice().read_exact_at(part, at)).unwrap();
    assert_eq!(&end, b"\0\0\0\0abcde\0\0\0");
}

#[test]
fn parts_are_counted_over_the_whole_archive() {
    let entries: Vec<String> = (0..60_000).map(|n| format!("{},1", n * 2)).collect();
    let map = entries.join(",");
    let one =
        [pax(&[("GNU.sparse.size", "120000"), ("GNU.sparse.map", &map)]), member("a", b'0', &[b'x'; 60_000])]
            .concat();
    assert_eq!(members(&archive(&vec![one.clone(); 17])).unwrap().len(), 17);
    assert_eq!(message(&archive(&vec![one; 18])), "more than 1048576 parts of sparse files");
    // One map in many headers, which would take memory before its member comes; the global ones
    // have none.
    for flag in [b'x', b'g'] {
        let headers: Vec<_> = (0..18)
            .map(|header: u64| {
                let entries: Vec<_> =
                    (0..60_000).map(|n| format!("{},1", (header * 60_000 + n) * 2)).collect();
                let mut bytes = pax(&[("GNU.sparse.map", &entries.join(","))]);
                bytes[156] = flag;
                sealed(*bytes.first_chunk().unwrap()).into_iter().chain(bytes.split_off(512)).collect()
            })
            .collect();
        assert!(message(&archive(&headers)).ends_with("a sparse file's map is too long"));
    }
}

proptest! {
    /// A map reads the bytes of a file with those parts.
    #[test]
    fn any_range_of_any_map(
        gaps in prop::collection::vec((0_u64..40, 0_u64..40), 0..12),
        tail in 0_u64..40,
        from in any::<prop::sample::Index>(),
        to in any::<prop::sample::Index>(),
    ) {
        let (mut entries, mut content, mut stored) = (Entries::default(), Vec::new(), vec![7; 5]);
        for (gap, len) in gaps {
            content.resize(content.len() + gap as usize, 0);
            entries.push(content.len() as u64, len).unwrap();
            for _ in 0..len {
                let byte = 1 + (content.len() % 255) as u8;
                content.push(byte);
                stored.push(byte);
            }
        }
        content.resize(content.len() + tail as usize, 0);
        let len = stored.len() as u64 - 5;
        if let Some(map) = entries.finish(content.len() as u64, 5, len).unwrap() {
            let (a, b) = (from.index(content.len() + 1), to.index(content.len() + 1));
            let range = a.min(b)..a.max(b);
            let mut read = vec![9; range.len()];
            map.read(&mut read, range.start as u64, |part, at| stored.as_slice().read_exact_at(part, at)).unwrap();
            prop_assert_eq!(&read, &content[range]);
        } else {
            prop_assert_eq!(&content[..], &stored[5..]);
        }
    }
}
