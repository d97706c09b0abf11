//! An index that is damaged, or that an enemy has written.

use super::*;
use sitar_site::raw::format::{Flags, Footer, LINES_MAX, Record, VERSION};
use sitar_site::raw::{PackProbe, find, sha256};
use sitar_site::{Budget, OpenFault, Options, Site};

/// The index of a pack knows everything but the bodies.
#[test]
fn a_file_of_a_pack_is_described_without_being_read() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "a.bin", &[7; 200_000]);
    let (mut bytes, _) = packed(folder.path());
    let PackProbe::Pack(found) = find(&bytes.as_slice()).unwrap() else { panic!("no index") };
    for (_, record) in found.members() {
        bytes[record.offset as usize] ^= 1;
    }
    let site = open(&write(folder.path(), ".t", &bytes));
    let budget = Budget::new(1 << 20, 1 << 20);
    for file in site.file_ids() {
        assert!(!site.body_size(file, &budget).unwrap().is_unread);
        assert!(site.describe(file, &budget, std::time::SystemTime::now()).is_ok());
        assert!(site.load(file, &budget, std::time::SystemTime::now()).is_err(), "the body is damaged");
    }
    assert_eq!(budget.left(), 1 << 20);
}

#[test]
fn damage_is_noticed_wherever_it_is() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "a.html", &text("a"));
    write(folder.path(), "b.bin", b"binary");
    let (good, _) = packed(folder.path());
    let PackProbe::Pack(found) = find(&good.as_slice()).unwrap() else { panic!("no index") };
    let index = good.len() - 1024 - 512 - 512;
    // A body: a request for it gets an error, others get their files.
    let mut bytes = good.clone();
    bytes[found.members().nth(4).unwrap().1.offset as usize] ^= 1;
    let archive = write(folder.path(), ".t", &bytes);
    let site = open(&archive);
    let budget = Budget::new(1 << 20, 1 << 20);
    let results: Vec<_> =
        site.file_ids().map(|file| site.load(file, &budget, std::time::SystemTime::now())).collect();
    let failed: Vec<_> = results.iter().filter_map(|result| result.as_ref().err()).collect();
    assert_eq!(failed.len(), 1);
    assert_eq!(failed[0].to_string(), "it is not what was packed; copy the archive again, or pack it again");
    // The rules: refused, as they decide about everything.
    write(folder.path(), "_headers", b"/*\n  X-A: b\n");
    let (mut bytes, _) = packed(folder.path());
    let at = bytes.windows(6).position(|window| window == b"X-A: b").unwrap();
    bytes[at + 5] = b'c';
    let opened = Site::open(&write(folder.path(), ".t", &bytes), &Options::default());
    let error = opened.map(|site| site.len()).unwrap_err().to_string();
    assert!(error.contains("its rules do not have the hash that the index says"), "{error}");
    // The index: refused, whichever byte it is.
    for at in (index..good.len() - 1024).step_by(7) {
        let mut bytes = good.clone();
        bytes[at] ^= 0x10;
        match find(&bytes.as_slice()) {
            Err(OpenFault::DamagedPack { .. }) => {}
            Ok(PackProbe::Plain) => assert!((good.len() - 1536..good.len() - 1520).contains(&at), "{at}"),
            Ok(PackProbe::Newer) => assert!((good.len() - 1520..good.len() - 1516).contains(&at), "{at}"),
            other => panic!("{at}: {other:?}"),
        }
    }
    // Cut short: no index there, and no archive either.
    for cut in [1, 512, 1024, 2000] {
        let archive = write(folder.path(), ".t", &good[..good.len() - cut]);
        let opened = Site::open(&archive, &Options::default());
        assert!(matches!(opened.map(|site| site.len()), Err(_) | Ok(5)), "{cut}");
    }
}

pub(super) type Members = Vec<(Box<[u8]>, Record)>;
type Change = fn(&mut Members);

/// The same archive with another index, well sealed.
pub(super) fn reindexed(archive: &[u8], change: impl FnOnce(&mut Members)) -> Vec<u8> {
    rewritten(archive, change, |_| {}, |_| {})
}

fn rewritten(
    archive: &[u8],
    members: impl FnOnce(&mut Members),
    lines: impl FnOnce(&mut Vec<u8>),
    footer: impl FnOnce(&mut Footer),
) -> Vec<u8> {
    let PackProbe::Pack(found) = find(&archive).unwrap() else { panic!("no index") };
    let mut all: Members = found.members().map(|(name, record)| (name.into(), record)).collect();
    // Of header lines there is one pair.
    for (_, record) in &mut all {
        (record.own, record.encoded) = (0, 0);
    }
    members(&mut all);
    let (mut bytes, mut names, mut block) = (Vec::new(), Vec::new(), b"A: b\r\n".to_vec());
    lines(&mut block);
    for (name, record) in &all {
        record.write(name.len() as u16, &mut bytes);
        names.extend_from_slice(name);
    }
    bytes.extend_from_slice(&(block.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&0_u32.to_le_bytes());
    bytes.extend_from_slice(&block);
    bytes.extend_from_slice(&names);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    let old = Footer::parse(archive[archive.len() - 1536..][..512].try_into().unwrap()).unwrap();
    let size = (bytes.len() + 512) as u64;
    let mut new = Footer {
        archive: old.offset + size + 1024,
        size,
        members: all.len() as u32,
        pairs: 1,
        lines: block.len() as u32,
        names: names.len() as u32,
        ..old.clone()
    };
    footer(&mut new);
    new.write(&mut bytes);
    let hash = sha256(&bytes);
    let whole = [&archive[..old.offset as usize], &bytes, &hash, &[0; 1024]];
    whole.concat()
}

#[test]
fn an_index_by_an_enemy() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "a.html", b"a page");
    write(folder.path(), "b.html", b"another page");
    let (good, _) = packed(folder.path());
    let refusal = |bytes: &[u8]| {
        let archive = write(folder.path(), ".t", bytes);
        match Site::open(&archive, &Options::default()) {
            Ok(site) => format!("opened with {} files", site.len()),
            Err(error) => match error.fault() {
                OpenFault::DamagedPack { what, .. } => (*what).to_owned(),
                other => other.to_string(),
            },
        }
    };
    assert_eq!(refusal(&reindexed(&good, |_| {})), "opened with 2 files");
    let lies = "the index has a body that lies outside of the archive or in another";
    let changes: [(Change, &str); 18] = [
        (|members| members[1].1.offset = members[0].1.offset, lies),
        (|members| members[1].1.offset += 1, lies),
        (|members| members[1].1.offset += 512, lies),
        (|members| members[1].1.offset = u64::MAX - 511, lies),
        (|members| members[0].1.offset = 0, lies),
        (|members| members[0].1.size = 513, lies),
        (|members| members[1].1.size = u64::MAX, lies),
        (|members| members[1].1.size = 600, lies),
        (|members| members[0].0 = (*b"../a").into(), "the index has a name that cannot be served"),
        (|members| members[0].0 = (*b"/a").into(), "the index has a name that cannot be served"),
        (|members| members[0].0 = (*b"a\0").into(), "the index has a name that cannot be served"),
        (|members| members[0].0 = (*b"").into(), "the index has a name that cannot be served"),
        (|members| members[0].0 = (*b".git/x").into(), "the index has a name that cannot be served"),
        (
            |members| members[0].0 = members[1].0.clone(),
            "the index has a name twice, or as a file and a folder",
        ),
        (
            |members| members[0].0 = (*b"b.html/x").into(),
            "the index has a name twice, or as a file and a folder",
        ),
        (|members| members[0].1.own = 1, "the index names header lines that it does not have"),
        (|members| members[1].1.encoded = 0xfffe, "the index names header lines that it does not have"),
        (|members| members[0].1.flags = Flags(16), "the index has flags of another version"),
    ];
    for (change, expected) in changes {
        assert_eq!(refusal(&reindexed(&good, change)), expected);
    }
    for lines in [
        &b"A: b\r\n\r\n<script>"[..],
        b"Content-Length: 5\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"A: b\rB: c\r\n",
        &[b'x'; LINES_MAX + 1],
        &[&b"A: "[..], &[b'x'; 2044], b"\r\n"].concat(),
        &b"A: b\r\n".repeat(15),
    ] {
        let bytes = rewritten(&good, |_| {}, |block| *block = lines.to_vec(), |_| {});
        assert_eq!(refusal(&bytes), "the index has header lines that may not stand in an answer");
    }
    for lines in [[&b"A: "[..], &[b'x'; 2043], b"\r\n"].concat(), b"A: b\r\n".repeat(14)] {
        let bytes = rewritten(&good, |_| {}, |block| block.clone_from(&lines), |_| {});
        assert_eq!(refusal(&bytes), "opened with 2 files");
    }
    let contradicts: [fn(&mut Footer); 9] = [
        |footer| footer.members += 16,
        |footer| footer.members = u32::MAX,
        |footer| footer.pairs = u32::MAX,
        |footer| footer.lines = u32::MAX,
        |footer| footer.names = u32::MAX,
        |footer| footer.size = u64::MAX - 511,
        |footer| footer.offset = 0,
        |footer| footer.archive += 512,
        |footer| footer.size = 0,
    ];
    for change in contradicts {
        let bytes = rewritten(&good, |_| {}, |_| {}, change);
        assert_eq!(refusal(&bytes), "the index's footer contradicts itself");
    }
    let newer = rewritten(&good, |_| {}, |_| {}, |footer| footer.version = VERSION + 1);
    let site = open(&write(folder.path(), ".t", &newer));
    assert_eq!(
        site.warnings().iter().map(ToString::to_string).collect::<Vec<_>>(),
        [
            "its index is not used, because it was made by a newer sitar: it is served like a plain tar",
            "there is no index.html at the top, and no rule for /: a visitor of / gets 404"
        ]
    );
    assert_eq!(ask(&site, "/b.html", "").2, b"another page");
}
