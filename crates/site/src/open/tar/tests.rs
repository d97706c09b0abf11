use super::*;
use proptest::prelude::*;
use std::path::Path;
use std::process::Command;

impl Members for Vec<Member> {
    fn add(&mut self, member: Member, _: &mut Warnings) -> Result<(), OpenFault> {
        self.push(member);
        Ok(())
    }

    fn file(&self, name: &[u8]) -> Option<(Stored, Option<&Map>)> {
        self.iter().rev().find(|member| member.name == name).and_then(|member| match &member.kind {
            MemberKind::File(stored) => Some((*stored, None)),
            MemberKind::Sparse(stored, map) => Some((*stored, Some(map))),
            _ => None,
        })
    }
}

/// All members, or the fault.
pub(crate) fn members(bytes: &[u8]) -> Result<Vec<Member>, OpenFault> {
    let mut members = Vec::new();
    scan(&bytes, &mut Warnings::default(), &mut members)?;
    Ok(members)
}

/// Names and contents of the files.
fn files(bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
    let file = |member: Member| match member.kind {
        MemberKind::File(Stored { offset, size, .. }) => Some((
            String::from_utf8_lossy(&member.name).into_owned(),
            bytes[offset as usize..][..size as usize].to_vec(),
        )),
        _ => None,
    };
    members(bytes).unwrap().into_iter().filter_map(file).collect()
}

fn message(bytes: &[u8]) -> String {
    members(bytes).unwrap_err().to_string()
}

/// A v7 header made by hand, with a right checksum.
pub(crate) fn header(name: &[u8], flag: u8, size: u64, link: &[u8]) -> [u8; 512] {
    let mut block = [0; 512];
    block[..name.len()].copy_from_slice(name);
    block[100..108].copy_from_slice(b"0000644\0");
    block[124..136].copy_from_slice(format!("{size:011o}\0").as_bytes());
    block[136..148].copy_from_slice(b"14524770700\0");
    block[156] = flag;
    block[157..157 + link.len()].copy_from_slice(link);
    seal(&mut block);
    block
}

fn seal(block: &mut [u8; 512]) {
    block[148..156].copy_from_slice(b"        ");
    let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

/// A header and its padded body.
pub(crate) fn member(name: &str, flag: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = header(name.as_bytes(), flag, body.len() as u64, b"").to_vec();
    bytes.extend_from_slice(body);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

pub(crate) fn archive(parts: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = parts.concat();
    bytes.extend_from_slice(&[0; 1024]);
    bytes
}

fn gnu_tar(folder: &Path, arguments: &[&str]) -> Vec<u8> {
    let output = Command::new("tar").current_dir(folder).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

#[test]
fn every_format_of_gnu_tar() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("d")).unwrap();
    std::fs::write(folder.path().join("a.txt"), b"hello").unwrap();
    std::fs::write(folder.path().join("d/empty"), b"").unwrap();
    std::fs::write(folder.path().join("d/block"), [7; 512]).unwrap();
    std::fs::write(folder.path().join("d/large"), vec![9; 100_000]).unwrap();
    for format in ["v7", "oldgnu", "gnu", "ustar", "pax"] {
        let bytes = gnu_tar(
            folder.path(),
            &[&format!("--format={format}"), "--sort=name", "--mtime=@1700000000", "-cf", "-", "."],
        );
        assert_eq!(
            files(&bytes),
            [
                ("./a.txt".to_owned(), b"hello".to_vec()),
                ("./d/block".to_owned(), vec![7; 512]),
                ("./d/empty".to_owned(), vec![]),
                ("./d/large".to_owned(), vec![9; 100_000]),
            ],
            "{format}"
        );
        for member in members(&bytes).unwrap() {
            if let MemberKind::File(stored) = member.kind {
                assert_eq!(stored.mtime, Some(1_700_000_000), "{format}");
            }
        }
    }
}

#[test]
fn long_names_and_links_of_every_format() {
    let folder = tempfile::tempdir().unwrap();
    let deep = format!("{}/{}", "d".repeat(120), "e".repeat(120));
    std::fs::create_dir_all(folder.path().join(&deep)).unwrap();
    let name = format!("{deep}/{}", "f".repeat(200));
    std::fs::write(folder.path().join(&name), b"deep").unwrap();
    std::os::unix::fs::symlink(&name, folder.path().join("link")).unwrap();
    std::fs::hard_link(folder.path().join(&name), folder.path().join("hard")).unwrap();
    for format in ["gnu", "oldgnu", "pax"] {
        let bytes =
            gnu_tar(folder.path(), &[&format!("--format={format}"), "-cf", "-", &deep, "link", "hard"]);
        let members = members(&bytes).unwrap();
        assert_eq!(members[1].name, name.as_bytes(), "{format}");
        assert_eq!(members[2].kind, MemberKind::Symlink(name.clone().into_bytes()), "{format}");
        assert_eq!(members[3].kind, MemberKind::HardLink(name.clone().into_bytes()), "{format}");
        assert_eq!(files(&bytes), [(name.clone(), b"deep".to_vec())], "{format}");
    }
    // ustar splits a name over two fields.
    let split = format!("{}/{}", "d".repeat(120), "x".repeat(90));
    std::fs::write(folder.path().join(&split), b"split").unwrap();
    let bytes = gnu_tar(folder.path(), &["--format=ustar", "-cf", "-", &split]);
    assert_eq!(files(&bytes), [(split, b"split".to_vec())]);
}

#[test]
fn what_python_writes() {
    let script = r#"
import io, sys, tarfile
out = io.BytesIO()
tar = tarfile.open(fileobj=out, mode="w", format=getattr(tarfile, sys.argv[1] + "_FORMAT"),
                   pax_headers={"comment": "global"} if sys.argv[1] == "PAX" else None)
for name, body in (("été.html", b"one"), ("n" * 150, b"two")):
    info = tarfile.TarInfo(name); info.size = len(body); info.mtime = 1700000000.5 if sys.argv[1] == "PAX" else 1700000000
    tar.addfile(info, io.BytesIO(body))
tar.close()
sys.stdout.buffer.write(out.getvalue())
"#;
    for format in ["GNU", "PAX"] {
        let output = Command::new("python3").args(["-c", script, format]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let expected = [("été.html".to_owned(), b"one".to_vec()), ("n".repeat(150), b"two".to_vec())];
        assert_eq!(files(&output.stdout), expected, "{format}");
        let members = members(&output.stdout).unwrap();
        assert!(
            matches!(members[0].kind, MemberKind::File(Stored { mtime: Some(1_700_000_000), .. })),
            "{format}"
        );
    }
}

#[test]
fn a_link_may_bring_the_content_of_its_file() {
    let link = |size: u64| header(b"link", b'1', size, b"a").to_vec();
    let body = |bytes: &[u8]| {
        let mut body = bytes.to_vec();
        body.resize(body.len().next_multiple_of(512), 0);
        body
    };
    let (a, after) = (member("a", b'0', b"hello"), member("b", b'0', b"b"));
    let x = member("x", b'x', b"20 mtime=1650000000\n");
    let names = |parts: &[Vec<u8>]| {
        let kinds = members(&archive(parts)).unwrap().into_iter().map(|member| match member.kind {
            MemberKind::File(stored) => format!("{} bytes", stored.size),
            MemberKind::HardLink(target) => format!("link to {}", String::from_utf8(target).unwrap()),
            other => format!("{other:?}"),
        });
        kinds.collect::<Vec<_>>().join(", ")
    };
    // As `pax` and bsdtar's newc conversions write it, in the middle and at the end.
    assert_eq!(names(&[a.clone(), link(5), body(b"hello"), after.clone()]), "5 bytes, 5 bytes, 1 bytes");
    assert_eq!(names(&[a.clone(), link(5), body(b"hello")]), "5 bytes, 5 bytes");
    assert_eq!(names(&[a.clone(), link(700), body(&[b'x'; 700])]), "5 bytes, 700 bytes");
    assert_eq!(
        files(&archive(&[a.clone(), link(5), body(b"other")]))[1],
        ("link".to_owned(), b"other".to_vec())
    );
    // As old writers do: the size is that of the target, and there is no body.
    assert_eq!(names(&[a.clone(), link(5), after.clone()]), "5 bytes, link to a, 1 bytes");
    assert_eq!(names(&[a.clone(), link(5)]), "5 bytes, link to a");
    assert_eq!(names(&[a.clone(), link(u64::from(u32::MAX))]), "5 bytes, link to a");
    assert_eq!(names(&[a.clone(), link(0), after.clone()]), "5 bytes, link to a, 1 bytes");
    // The body is an archive itself, as its file is, with pax headers or without.
    let nested = archive(&[member("inner", b'0', b"")]);
    let size = nested.len() as u64;
    let copied = [member("a", b'0', &nested), link(size), nested.clone(), after.clone()];
    assert_eq!(names(&copied), "1536 bytes, 1536 bytes, 1 bytes");
    assert_eq!(names(&[std::slice::from_ref(&x), &copied].concat()), "1536 bytes, 1536 bytes, 1 bytes");
    // Cut off behind that body: nothing of the body is listed.
    let cut = copied[..3].concat();
    assert!(matches!(members(&cut), Err(OpenFault::Truncated { .. })));
    // Its file is not there: nothing is guessed, unless the archive is at its end.
    assert_eq!(
        message(&archive(&[link(size), nested.clone(), after.clone()])),
        "the archive is damaged at byte 0, member 'link': it cannot be told whether a hard link brings content"
    );
    assert_eq!(names(&[link(300), vec![0; 512]]), "link to a");
    // Its file is something else, so that this is no body, as GNU tar reads it.
    assert!(
        names(&[x.clone(), a.clone(), link(size), nested.clone(), after.clone()])
            .starts_with("5 bytes, link to a, 0 bytes")
    );
    assert!(names(&[a, link(size), nested, after]).starts_with("5 bytes, link to a, 0 bytes"));
    // As programs in Go write pax archives: sizes, and no bodies. Behind a body there would be a
    // header, too.
    let small = member("a", b'0', &[b'x'; 300]);
    let links = [x.clone(), small, link(300), link(300), link(300)];
    assert_eq!(names(&links), "300 bytes, link to a, link to a, link to a");
    // The next file holds a header where a body would end: it names no member.
    let evil = member("evil", b'0', &[&[b'y'; 512][..], &header(b"admin.html", b'0', 0, b"")].concat());
    let large = member("a", b'0', &[b'x'; 1000]);
    assert_eq!(names(&[x, large, link(1000), evil]), "1000 bytes, link to a, 1024 bytes");
}

#[test]
fn unknown_types_are_files_unless_they_are_letters_of_another_program() {
    for (flag, kind) in [(b'8', true), (b'9', true), (b'a', true), (b'~', true), (b'A', false), (b'I', false)]
    {
        let members = members(&archive(&[member("a", flag, b"body"), member("b", b'0', b"")])).unwrap();
        assert_eq!(
            matches!(members[0].kind, MemberKind::File(Stored { size: 4, .. })),
            kind,
            "{}",
            flag as char
        );
        assert_eq!(matches!(members[0].kind, MemberKind::Other("its type is unknown")), !kind);
        assert_eq!(members.len(), 2);
    }
}

#[test]
fn a_size_beyond_four_gibibytes() {
    // A file that exists only as a length: nothing is read but headers.
    struct Huge {
        head: Vec<u8>,
        len: u64,
    }
    impl ReadAt for Huge {
        fn size(&self) -> u64 {
            self.len
        }
        fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> std::io::Result<()> {
            buf.fill(0);
            let Some(head) = self.head.get(offset as usize..) else { return Ok(()) };
            let both = head.len().min(buf.len());
            buf[..both].copy_from_slice(&head[..both]);
            Ok(())
        }
    }
    let mut block = header(b"big", b'0', 0, b"");
    block[124..136].copy_from_slice(b"\x80\0\0\0\0\0\0\x02\x80\0\0\0"); // 10 GiB in base 256
    seal(&mut block);
    let source = Huge { head: block.to_vec(), len: 512 + (10 << 30) + 1024 };
    let mut found = Vec::new();
    let mut scan_it = |source: &Huge| {
        found.clear();
        scan(source, &mut Warnings::default(), &mut found).map(|()| found.len())
    };
    assert_eq!(scan_it(&source).unwrap(), 1);
    // One byte less than the end marker's beginning: cut short.
    assert!(matches!(scan_it(&Huge { len: 512 + (10 << 30), ..source }), Err(OpenFault::Truncated { .. })));
    let stored = Stored { offset: 512, size: 10_737_418_240, mtime: Some(1_700_000_192) };
    assert_eq!(found, [Member { name: b"big".to_vec(), kind: MemberKind::File(stored) }]);
}

#[test]
fn pax_overrides_size_and_name() {
    let pax = member("PaxHeaders/x", b'x', b"15 path=a/b.js\n10 size=3\n");
    let mut file = header(b"short", b'0', 0, b"").to_vec();
    file.extend_from_slice(b"abc");
    file.resize(1024, 0);
    let bytes = archive(&[pax, file.clone()]);
    assert_eq!(files(&bytes), [("a/b.js".to_owned(), b"abc".to_vec())]);
    // A global header holds until the end, and a local one wins over it.
    let global = member("g", b'g', b"22 mtime=1600000000.9\n");
    let local = member("x", b'x', b"20 mtime=1650000000\n");
    let bytes =
        archive(&[global, member("a", b'0', b""), local, member("b", b'0', b""), member("c", b'0', b"")]);
    let times: Vec<_> = members(&bytes)
        .unwrap()
        .into_iter()
        .map(|member| match member.kind {
            MemberKind::File(stored) => stored.mtime,
            _ => None,
        })
        .collect();
    assert_eq!(times, [Some(1_600_000_000), Some(1_650_000_000), Some(1_600_000_000)]);
}

#[test]
fn other_types() {
    let bytes = archive(&[
        member("old-style-folder/", 0, b""),
        member("pipe", b'6', b""),
        member("device", b'3', b""),
        member("contiguous", b'7', b"c"),
        member("label", b'V', b""),
        member("strange", b'Z', b"with a body"),
        header(b"hard", b'1', 5, b"contiguous").to_vec(),
        header(b"folder", b'5', 4096, b"").to_vec(),
    ]);
    let kinds: Vec<_> = members(&bytes).unwrap().into_iter().map(|member| member.kind).collect();
    assert_eq!(kinds[0], MemberKind::Directory);
    assert_eq!(kinds[1], MemberKind::Other("it is a device or a named pipe"));
    assert_eq!(kinds[2], MemberKind::Other("it is a device or a named pipe"));
    assert!(matches!(kinds[3], MemberKind::File(Stored { size: 1, .. })));
    assert_eq!(kinds[4], MemberKind::Other("it is a volume label"));
    assert_eq!(kinds[5], MemberKind::Other("its type is unknown"));
    assert_eq!(kinds[6], MemberKind::HardLink(b"contiguous".to_vec()));
    assert_eq!(kinds[7], MemberKind::Directory);
    assert_eq!(kinds.len(), 8);
    assert_eq!(
        message(&archive(&[member("half", b'M', b"")])),
        "member 'half' continues in another volume; make the archive in one piece"
    );
}

#[test]
fn what_is_no_archive() {
    assert_eq!(message(b""), "the file is empty; a site is a tar archive or a directory");
    let not_tar = "this is not a tar archive; make one with: tar -C FOLDER -cf site.tar .";
    assert_eq!(message(b"<!doctype html>"), not_tar);
    assert_eq!(message(&[b'x'; 2000]), not_tar);
    for (magic, expected) in [
        (&b"\x1f\x8b\x08"[..], "this archive is compressed with gzip; unpack it first: gunzip -k"),
        (b"\x28\xb5\x2f\xfd", "this archive is compressed with Zstandard; unpack it first: unzstd"),
        (b"\xfd7zXZ\0", "this archive is compressed with xz; unpack it first: unxz -k"),
        (b"BZh91AY", "this archive is compressed with bzip2; unpack it first: bunzip2 -k"),
    ] {
        assert_eq!(message(magic), expected);
        assert_eq!(message(&[magic, &[9; 1000]].concat()), expected);
    }
    // An archive of nothing is an archive.
    assert_eq!(members(&[0; 10240]).unwrap(), []);
}

#[test]
fn damage_is_told_with_its_place() {
    let good = archive(&[member("a", b'0', b"one"), member("b", b'0', b"two")]);
    let mut broken = good.clone();
    broken[1024] ^= 1;
    assert_eq!(
        message(&broken),
        "the archive is damaged at byte 1024, member 'a': a header's checksum is wrong"
    );
    let marker_inside = [&good[..1024], &[0; 512], &good[1024..]].concat();
    assert_eq!(
        message(&marker_inside),
        "the archive is damaged at byte 1024, member 'a': an end marker stands in the middle"
    );
    let mut bad_size = header(b"c", b'0', 0, b"");
    bad_size[124..136].copy_from_slice(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff");
    seal(&mut bad_size);
    assert_eq!(
        message(&archive(&[bad_size.to_vec()])),
        "the archive is damaged at byte 0: a size is not a number"
    );
    assert_eq!(
        message(&archive(&[member("x", b'x', b"9 path=abc\n")])),
        "the archive is damaged at byte 0: a pax record is malformed"
    );
    assert_eq!(
        message(&archive(&[member("x", b'x', b"10 path=a\n\n"[..10].as_ref())])),
        "the archive is damaged at byte 1024: an extension header has no member"
    );
    let mut endless = header(b"x", b'x', 2 << 20, b"").to_vec();
    endless.resize(4 << 20, 0);
    assert_eq!(
        message(&endless),
        "the archive is damaged at byte 0: an extension header is longer than 1 MiB"
    );
}

#[test]
fn cut_anywhere_is_told() {
    let good = archive(&[member("a.html", b'0', &[b'x'; 700]), member("b", b'0', b"two")]);
    assert_eq!(good.len(), 512 + 1024 + 512 + 512 + 1024);
    assert_eq!(
        message(&good[..1000]),
        "the archive is cut short at byte 1000, in or after member 'a.html'; copy it again"
    );
    for cut in 512..2560 + 512 {
        assert!(matches!(members(&good[..cut]), Err(OpenFault::Truncated { .. })), "{cut}");
    }
    // One zero block tells that the writer was finished.
    assert_eq!(members(&good[..3072]).unwrap().len(), 2);
    // A size that leads beyond every file.
    let mut block = header(b"far", b'0', 0, b"");
    block[124..136].copy_from_slice(b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff");
    seal(&mut block);
    assert!(matches!(members(&archive(&[block.to_vec()])), Err(OpenFault::Truncated { .. })));
}

#[test]
fn signed_checksums_are_accepted() {
    let mut block = header("é".as_bytes(), b'0', 0, b"");
    // Two bytes above 127: the signed sum is 512 less.
    let stored = std::str::from_utf8(&block[148..154]).unwrap();
    let unsigned = u32::from_str_radix(stored, 8).unwrap();
    block[148..154].copy_from_slice(format!("{:06o}", unsigned - 512).as_bytes());
    assert_eq!(members(&archive(&[block.to_vec()])).unwrap().len(), 1);
}

fn some_archive() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        ("[a-c/.]{1,9}", 0_usize..1500).prop_map(|(name, size)| member(&name, b'0', &vec![b'x'; size])),
        ("[a-c/.]{1,9}", "[a-c/.]{1,9}", prop::sample::select(b"12".to_vec()))
            .prop_map(|(name, link, flag)| header(name.as_bytes(), flag, 0, link.as_bytes()).to_vec()),
        "[a-c/.]{1,9}".prop_map(|name| member(&name, b'5', b"")),
        "[a-c/]{1,600}".prop_map(|name| member("././@LongLink", b'L', name.as_bytes())),
        "[a-c/]{1,9}".prop_map(|name| {
            let record = format!("{} path={name}\n", name.len() + 9);
            member("x", b'x', record.as_bytes())
        }),
    ];
    prop::collection::vec(part, 0..12).prop_map(|parts| archive(&parts))
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..4096)) {
        let _ = crate::properties::archive(&bytes);
    }

    #[test]
    fn archives_of_links_and_names(bytes in some_archive()) {
        let _ = crate::properties::archive(&bytes);
    }

    #[test]
    fn mutated_archives(bytes in some_archive(), at in any::<prop::sample::Index>(), flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6), reseal: bool) {
        let mut bytes = bytes;
        for (place, value) in flips {
            let place = place.index(bytes.len());
            bytes[place] = value;
            // A right checksum lets the damage through to what lies behind it.
            if reseal {
                let start = place / 512 * 512;
                let mut block: [u8; 512] = bytes[start..start + 512].try_into().unwrap();
                seal(&mut block);
                bytes[start..start + 512].copy_from_slice(&block);
            }
        }
        let _ = crate::properties::archive(&bytes);
        let _ = crate::properties::archive(&bytes[..at.index(bytes.len())]);
    }
}
