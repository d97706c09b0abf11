//! Properties that hold for any input, stated once for property tests, fuzzing and the replay of their corpus.
//! Not part of the interface.

use crate::error::Warnings;
use crate::index::{Index, Slot};
use crate::path::{NAME_MAX, is_public, normalize, plain, resolve};

/// Any bytes as an archive: the index holds exactly the public names that were listed, and every body lies inside.
/// Returns how many files there are.
pub fn archive(bytes: &[u8]) -> Result<usize, crate::OpenFault> {
    let mut warnings = Warnings::default();
    let (listed, _) = crate::site::list(&bytes, None, &mut warnings)?;
    let index = Index::new(listed.iter().map(|(name, _)| &**name))?;
    for (name, stored) in &listed {
        assert!(stored.offset >= 512 && stored.size <= bytes.len() as u64, "a body outside of the archive");
        assert!(stored.offset + stored.size <= bytes.len() as u64, "a body outside of the archive");
        assert_eq!(normalize(name).ok().flatten().as_deref(), Some(&**name), "a name that is not a key");
        assert_eq!(
            matches!(index.get(name), Some(Slot::File(_))),
            is_public(name),
            "a name lost or invented"
        );
    }
    assert!(warnings.finish().len() <= 101, "warnings without bound");
    Ok(index.files)
}

/// Any bytes as a pack, its hash put right: what is accepted could have been packed. Returns how many files there are, and
/// `None` when there is no index.
pub fn index(bytes: &[u8]) -> Result<Option<usize>, crate::OpenFault> {
    let mut bytes = bytes.to_vec();
    crate::pack::read::reseal(&mut bytes);
    let crate::pack::read::Found::Pack(packed) = crate::pack::read::find(&bytes.as_slice())? else {
        return Ok(None);
    };
    let mut free = 0;
    for (name, record) in &packed.members {
        let rules = matches!(&**name, b"_headers" | b"_redirects");
        assert!(is_public(name) || rules, "a hidden name");
        assert_eq!(normalize(name).ok().flatten().as_deref(), Some(&**name), "a name that is not a key");
        assert!(record.offset >= free + 512, "a body in another");
        free = record.offset + record.size;
    }
    assert!(free + 512 <= bytes.len() as u64, "a body outside of the archive");
    for block in packed.blocks.iter().flat_map(|blocks| [&blocks.content, &blocks.not_modified]) {
        let mut lines = block.split_inclusive(|&byte| byte == b'\n');
        assert!(lines.all(|line| line.ends_with(b"\r\n") && line.len() > 3), "a head that could end early");
        assert!(!block.contains(&0), "a zero byte in a head");
        let text = block.to_ascii_lowercase();
        for field in ["content-length", "transfer-encoding", "connection"] {
            assert!(!text.starts_with(format!("{field}:").as_bytes()), "framing in a head");
            let later = format!("\n{field}:");
            assert!(!text.windows(later.len()).any(|window| window == later.as_bytes()), "framing in a head");
        }
    }
    let index = Index::new(packed.members.iter().map(|(name, _)| &**name))?;
    if index.has_clash {
        return Err(crate::OpenFault::DamagedPack { offset: 0, what: "a name clashes" });
    }
    Ok(Some(index.files))
}

/// Any bytes as a request's path: the key, if there is one, is a plain name below the root.
pub fn path(raw: &[u8]) {
    let mut buffer = [0; NAME_MAX];
    let resolved = resolve(raw, &mut buffer);
    if let Ok(resolved) = resolved {
        assert!(!resolved.key.contains(&0), "a zero byte");
        if resolved.key.is_empty() {
            assert!(resolved.slash, "the root is a directory");
        } else {
            for segment in resolved.key.split(|&byte| byte == b'/') {
                assert!(!matches!(segment, b"" | b"." | b".."), "a segment that moves");
            }
        }
        let mut url = Vec::new();
        crate::path::encode(resolved.key, &mut url);
        assert!(url.iter().all(u8::is_ascii_graphic), "a Location that could end its line");
        url.insert(0, b'/');
        if url.len() <= NAME_MAX {
            let mut again = [0; NAME_MAX];
            assert_eq!(
                resolve(&url, &mut again).map(|found| found.key),
                Ok(resolved.key),
                "a key that moves when sent back"
            );
        }
    }
    // The short way is only ever a shorter way; names too long for the buffer are in no index either.
    if let Some(short) = plain(raw)
        && short.key.len() <= NAME_MAX
    {
        assert_eq!(resolved, Ok(short), "two ways to read one path");
    }
}
