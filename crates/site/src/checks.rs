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
