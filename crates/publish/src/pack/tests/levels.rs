//! The fast level beside the best one.

use super::*;
use sitar_site::raw::{PackProbe, find};

fn at_level(folder: &Path, level: Level, earlier: Option<&Path>) -> (Vec<u8>, Packed) {
    let mut bytes = Vec::new();
    let options = PackOptions { level, ..options(2, Some(NOVEMBER), earlier) };
    let done = pack(folder, &mut bytes, options, &Quiet).unwrap();
    (bytes, done)
}

#[test]
fn no_level_takes_over_the_encodings_of_another() {
    let folder = tempfile::tempdir().unwrap();
    // Words that come again, but not in order, which more work compresses better.
    let mut number = 1_u32;
    let words = std::iter::repeat_with(|| {
        number = number.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        ["sitar ", "tar ", "serves ", "a site ", "of ", "one ", "file ", "over ", "io_uring\n"]
            [number as usize >> 24 & 7]
    });
    let content: String = words.take(8000).collect();
    write(folder.path(), "a.txt", content.as_bytes());
    let (best, best_done) = at_level(folder.path(), Level::Best, None);
    let (fast, fast_done) = at_level(folder.path(), Level::Fast, None);
    assert_eq!(at_level(folder.path(), Level::Fast, None).0, fast);
    for (best, fast) in best_done.encodings.iter().zip(&fast_done.encodings) {
        assert!(best.after < fast.after || fast.files == 0, "{best:?} {fast:?}");
    }
    for (bytes, expected) in [
        (&best, "brotli 9.1.1 q11, libdeflate 1.26.1 l12, zstd-sys 2.1.3+zstd.1.5.7 l19, rules 2"),
        (&fast, "brotli 9.1.1 q5, libdeflate 1.26.1 l6, zstd-sys 2.1.3+zstd.1.5.7 l3, rules 2"),
    ] {
        let PackProbe::Pack(found) = find(&bytes.as_slice()).unwrap() else { panic!("no index") };
        assert_eq!(std::str::from_utf8(found.encoders()).unwrap(), expected);
    }
    let (earlier_best, earlier_fast) =
        (write(folder.path(), ".best.tar", &best), write(folder.path(), ".fast.tar", &fast));
    for (level, earlier, expected, reused) in [
        (Level::Best, &earlier_fast, &best, 0),
        (Level::Best, &earlier_best, &best, 1),
        (Level::Fast, &earlier_best, &fast, 0),
        (Level::Fast, &earlier_fast, &fast, 1),
    ] {
        let (bytes, done) = at_level(folder.path(), level, Some(earlier));
        assert!(bytes == *expected && done.reused == reused, "{level:?} {}", earlier.display());
    }
}
