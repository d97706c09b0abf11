//! Packing again, with an earlier pack.

use super::index::reindexed;
use super::*;
use sitar_site::raw::{PackProbe, find};

#[test]
fn packing_again_takes_over_what_is_the_same() {
    let folder = tempfile::tempdir().unwrap();
    site(folder.path());
    let (first, _) = packed(folder.path());
    let earlier = write(folder.path(), ".out.tar", &first);
    write(folder.path(), "docs/index.html", &text("changed"));
    write(folder.path(), "copied.html", &text("start"));
    std::fs::rename(folder.path().join("LICENSE"), folder.path().join("COPYING")).unwrap();
    std::fs::remove_file(folder.path().join("style.css.br")).unwrap();
    let (full, _) = packed(folder.path());
    let mut again = Vec::new();
    let done = pack(folder.path(), &mut again, options(2, Some(NOVEMBER), Some(&earlier)), &Quiet).unwrap();
    assert!(again == full);
    // Start, its copy, the script, the contact, the licence under its new name, the long one; not
    // the changed one, nor the style, for which brotli was undecided. Beside them what is missing
    // and the page with a clean address.
    assert_eq!(done.reused, 8);
    // An archive that is no pack, or a damaged one, helps nothing and harms nothing.
    for (name, bytes) in [
        ("plain", &first[..first.len() - 512]),
        ("damaged", &{
            let mut bytes = first.clone();
            let at = bytes.len() - 3000;
            bytes[at] ^= 1;
            bytes
        }),
    ] {
        let earlier = write(folder.path(), ".other.tar", bytes);
        let mut again = Vec::new();
        let done =
            pack(folder.path(), &mut again, options(2, Some(NOVEMBER), Some(&earlier)), &Quiet).unwrap();
        assert!(again == full && done.reused == 0, "{name}");
    }
}

#[test]
fn a_wrong_encoding_in_the_earlier_pack_is_made_again() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "a.html", &text("right"));
    let (full, _) = packed(folder.path());
    // The encodings of another content, under the right hash: the index of a liar.
    let other = tempfile::tempdir().unwrap();
    write(other.path(), "a.html", &text("wrong"));
    let (lie, _) = packed(other.path());
    let PackProbe::Pack(truth) = find(&full.as_slice()).unwrap() else { panic!("no index") };
    let lie = reindexed(&lie, |members| members[0].1.hash = truth.members().next().unwrap().1.hash);
    let earlier = write(folder.path(), ".out.tar", &lie);
    let mut again = Vec::new();
    let done = pack(folder.path(), &mut again, options(1, Some(NOVEMBER), Some(&earlier)), &Quiet).unwrap();
    assert!(again == full && done.reused == 0);
}
