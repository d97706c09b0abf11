use super::*;
use crate::open::hash::sha256;
use sitar_http::semantics::Coding;

/// A manifest's parts, before they are put together.
#[derive(Debug, Clone)]
pub(crate) struct Parts {
    pub(crate) bodies: Vec<u8>,
    pub(crate) originals: Vec<(&'static [u8], Original)>,
    pub(crate) encodings: Vec<Encoding>,
}

impl Parts {
    /// An encodings file of these parts.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.bodies.clone();
        let mut names = Vec::new();
        for (name, original) in &self.originals {
            original.write(name.len() as u16, &mut bytes);
            names.extend_from_slice(name);
        }
        self.encodings.iter().for_each(|encoding| encoding.write(&mut bytes));
        bytes.extend_from_slice(&names);
        let footer = Footer {
            version: 1,
            offset: self.bodies.len() as u64,
            originals: self.originals.len() as u32,
            encodings: self.encodings.len() as u32,
            names: names.len() as u32,
            encoders: b"some".to_vec(),
            hash: [0; 32],
        };
        footer.write(&mut bytes);
        let hash = sha256(&bytes[self.bodies.len()..]);
        bytes.extend_from_slice(&hash);
        bytes
    }
}

/// Two originals, of which the first has two encodings.
fn parts() -> Parts {
    let original = |encodings| Original {
        version: [1; 32],
        hash: sha256(b"content"),
        size: 7,
        is_best: encodings == 0,
        encodings,
    };
    Parts {
        bodies: b"abcdef".to_vec(),
        originals: vec![(b"a/b.js", original(2)), (b"c", original(0))],
        encodings: vec![
            Encoding { coding: Coding::Br, offset: 0, size: 2, hash: sha256(b"ab") },
            Encoding { coding: Coding::Zstd, offset: 3, size: 3, hash: sha256(b"def") },
        ],
    }
}

fn read(parts: &Parts) -> Result<Manifest, String> {
    Manifest::read(&&*parts.bytes()).map_err(|error| error.to_string())
}

#[test]
fn a_manifest_comes_back_as_it_was_written() {
    let written = parts();
    let manifest = read(&written).unwrap();
    let originals: Vec<_> = manifest.originals().map(|(name, original)| (name, *original)).collect();
    assert_eq!(originals, written.originals);
    assert_eq!(manifest.encodings(0), written.encodings);
    assert_eq!(manifest.encodings(1), []);
    assert_eq!(manifest.encodings(2), []);
    assert_eq!((manifest.encoders(), manifest.len()), (&b"some"[..], 2));
    let empty = Parts { bodies: Vec::new(), originals: Vec::new(), encodings: Vec::new() };
    assert!(read(&empty).unwrap().is_empty());
}

#[test]
fn what_no_writer_makes_is_refused() {
    type Change = fn(&mut Parts);
    let cases: &[(Change, &str)] = &[
        (|parts| parts.originals[0].0 = b"../etc", "it has a name that cannot be served"),
        (|parts| parts.originals[0].0 = b"/etc/a", "it has a name that cannot be served"),
        (|parts| parts.originals[0].0 = b"a//b", "it has a name that cannot be served"),
        (|parts| parts.originals[0].0 = b".env", "it has a name that cannot be served"),
        (|parts| parts.originals[0].0 = b"", "it has a name that cannot be served"),
        (|parts| parts.originals[0].0 = b"a\0b", "it has a name that cannot be served"),
        (|parts| parts.originals[0].1.encodings = 1, "it has other encodings than its originals say"),
        (|parts| parts.originals[1].1.encodings = 1, "it has other encodings than its originals say"),
        (|parts| parts.originals[1].1.encodings = 4, "an original is of another version"),
        (|parts| parts.encodings[1].coding = Coding::Br, "an original has two encodings of one coding"),
        (|parts| parts.encodings[1].coding = Coding::Identity, "an encoding is of another version"),
        (|parts| parts.encodings[1].offset = 1, "it has an encoding that lies outside of it or in another"),
        (|parts| parts.encodings[1].offset = 4, "it has an encoding that lies outside of it or in another"),
        (
            |parts| parts.encodings[1].offset = u64::MAX,
            "it has an encoding that lies outside of it or in another",
        ),
        (|parts| parts.encodings[0].size = 0, "it has an encoding that lies outside of it or in another"),
        (|parts| parts.originals[0].1.size = 3, "it has an encoding that lies outside of it or in another"),
    ];
    for (number, (change, why)) in cases.iter().enumerate() {
        let mut parts = parts();
        change(&mut parts);
        assert_eq!(read(&parts).unwrap_err(), *why, "case {number}");
    }
}

#[test]
fn damaged_bytes_are_refused_wherever_they_are() {
    let good = parts().bytes();
    for at in 6..good.len() {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        let error = Manifest::read(&&*bytes).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData, "byte {at}");
    }
    for length in 0..good.len() {
        assert!(Manifest::read(&&good[..length]).is_err(), "cut to {length}");
        assert!(Manifest::read(&&good[good.len() - length..]).is_err(), "the last {length}");
    }
    let longer = [&good[..], b"x"].concat();
    assert_eq!(Manifest::read(&&*longer).unwrap_err().to_string(), "it is no encodings file of this version");
}

#[test]
fn more_than_fits_is_not_read() {
    let mut bytes = parts().bytes();
    let footer = bytes.len() - FOOTER;
    // The number of originals, behind the magic, the version and the offset.
    bytes[footer + 28..footer + 32].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(Manifest::read(&&*bytes).unwrap_err().to_string(), "its footer contradicts itself");
    let mut bytes = parts().bytes();
    bytes[footer + 20..footer + 28].copy_from_slice(&u64::MAX.to_le_bytes());
    assert_eq!(Manifest::read(&&*bytes).unwrap_err().to_string(), "its footer contradicts itself");
}

#[test]
fn a_body_counts_only_with_its_hash() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.encodings");
    std::fs::write(&path, parts().bytes()).unwrap();
    let open = || Encodings::open(std::fs::File::open(&path).unwrap().into()).unwrap();
    let all = parts().encodings;
    assert_eq!(open().body(&all[0]).unwrap(), b"ab");
    assert_eq!(open().body(&all[1]).unwrap(), b"def");
    let opened = open();
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"X", 1).unwrap();
    assert_eq!(opened.body(&all[0]), None);
    assert_eq!(opened.body(&all[1]).unwrap(), b"def");
}

#[test]
fn what_is_no_regular_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let error = Encodings::open(std::fs::File::open(folder.path()).unwrap().into()).unwrap_err();
    assert_eq!(error.to_string(), "it is no regular file");
}

mod properties {
    use super::*;
    use proptest::prelude::*;

    fn hashes() -> impl Strategy<Value = Hash> {
        any::<[u8; 32]>()
    }

    /// Parts as a writer makes them: bodies one behind the other, each smaller than its original.
    fn written() -> impl Strategy<Value = Parts> {
        let names = ["a", "b.html", "c/d.js", "e/f/g.css", "h.svg"];
        let original = (hashes(), hashes(), any::<bool>(), proptest::collection::vec(1..50_u64, 0..=3));
        proptest::collection::vec(original, 0..names.len()).prop_map(move |all| {
            let mut parts = Parts { bodies: Vec::new(), originals: Vec::new(), encodings: Vec::new() };
            for (name, (version, hash, is_best, sizes)) in names.iter().zip(all) {
                for (coding, size) in CODINGS.into_iter().zip(&sizes) {
                    let offset = parts.bodies.len() as u64;
                    parts.encodings.push(Encoding { coding, offset, size: *size, hash });
                    parts.bodies.resize(parts.bodies.len() + *size as usize, 7);
                }
                let encodings = sizes.len() as u8;
                let original = Original { version, hash, size: 50, is_best, encodings };
                parts.originals.push((name.as_bytes(), original));
            }
            parts
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(parts in written()) {
            let manifest = read(&parts).unwrap();
            let originals: Vec<_> = manifest.originals().map(|(name, original)| (name, *original)).collect();
            prop_assert_eq!(originals, parts.originals);
            let all: Vec<_> = (0..manifest.len()).flat_map(|place| manifest.encodings(place)).copied().collect();
            prop_assert_eq!(all, parts.encodings);
        }

        #[test]
        fn any_end_of_any_bytes_is_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let sealed = [&bytes[..], &parts().bytes()[6..]].concat();
            let _ = crate::properties::encodings(&bytes);
            let _ = crate::properties::encodings(&sealed);
        }
    }
}
