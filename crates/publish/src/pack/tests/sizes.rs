//! The price and the use of encodings, and packs that were made by other rules.

use super::*;

/// Makes a page of this size, which is similar to the others and not equal.
fn page(number: usize, bytes: usize) -> Vec<u8> {
    let mut page = format!("<!DOCTYPE html>\n<title>Page {number}</title>\n").into_bytes();
    let mut word = number;
    while page.len() < bytes {
        word = word.wrapping_mul(2_654_435_761).wrapping_add(40_503) % 1_000_003;
        page.extend_from_slice(format!("<p>Words and {word:x} that come again.</p>\n").as_bytes());
    }
    page.truncate(bytes);
    page
}

#[test]
fn small_files_make_small_packs() {
    // Bytes of a page; of a plain tar of 40 of them; of the pack; and for how many each encoding is
    // made. Header and index take 4,096 bytes for 40 records, and 11,264 for 120. Below 512 bytes
    // an encoding takes two blocks.
    for (bytes, plain, archive, encoded) in [
        (0, 21_504, 25_600, [0, 0, 0]),
        (500, 41_984, 46_080, [0, 0, 0]),
        (1_000, 62_464, 66_560, [0, 0, 0]),
        (1_500, 82_944, 87_040, [0, 0, 0]),
        (2_000, 103_424, 196_608, [40, 40, 0]),
        (3_000, 144_384, 237_568, [40, 40, 0]),
        // Both encodings take three blocks.
        (6_000, 267_264, 401_408, [40, 40, 0]),
    ] {
        let folder = tempfile::tempdir().unwrap();
        for number in 0..40 {
            write(folder.path(), &format!("p{number}.html"), &page(number, bytes));
        }
        let (_, done) = packed(folder.path());
        let members = 40 * (512 + bytes.next_multiple_of(512) as u64) + 1024;
        assert_eq!(members, plain, "{bytes}");
        assert_eq!(done.archive, archive, "{bytes}");
        assert_eq!(done.encodings.iter().map(|sum| sum.files).collect::<Vec<_>>(), encoded, "{bytes}");
    }
}

#[test]
fn what_was_decided_by_a_look_at_the_beginning_is_not_reused_for_a_type_that_needs_none() {
    // 64 KiB that nothing compresses, and a text: worth it as a whole, not by its beginning.
    let mut state = 1_u64;
    let mut content: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    })
    .take(64 << 10)
    .collect();
    content.extend_from_slice(&text("end").repeat(2));
    for (earlier, name, encoded) in [("a.bin", "a.txt", [0, 1, 0]), ("a.txt", "a.bin", [0, 0, 0])] {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        write(one.path(), earlier, &content);
        write(other.path(), name, &content);
        let earlier = write(one.path(), ".earlier.tar", &packed(one.path()).0);
        let mut again = Vec::new();
        let done =
            pack(other.path(), &mut again, options(2, Some(NOVEMBER), Some(&earlier)), &Quiet).unwrap();
        assert_eq!(done.encodings.iter().map(|sum| sum.files).collect::<Vec<_>>(), encoded, "{name}");
        assert!(again == packed(other.path()).0, "{name}");
        assert_eq!(done.reused, 0, "{name}");
    }
}

/// A pack that was made by the rules before these: encodings of a page of 456 bytes, and a sidecar
/// that was stale.
const RULES_1: &[u8] = include_bytes!("rules1.tar");

#[test]
fn a_pack_made_by_other_rules_is_served_and_its_encodings_are_not_reused() {
    let folder = tempfile::tempdir().unwrap();
    let page = "<p>an old page of words and words</p>\n".repeat(12);
    write(folder.path(), "index.html", page.as_bytes());
    let archive = write(folder.path(), ".old.tar", RULES_1);
    let site = open(&archive);
    assert!(site.is_pack());
    for accept in ["br", "gzip", "zstd"] {
        let (status, fields, body) = ask(&site, "/", accept);
        assert!(status == 200 && body.len() < 100, "{accept}: {fields}");
        assert!(fields.contains(&format!("Content-Encoding: {accept}\r\n")), "{fields}");
    }
    assert_eq!(ask(&site, "/", "").2, page.as_bytes());
    // The sidecar is older than its file by years.
    assert_eq!(ask(&site, "/style.css", "gzip").2, "a { color: red }\n".repeat(20).as_bytes());
    assert_eq!(
        site.warnings().iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["1 encoding is older than its file and is not sent for it: 'style.css.gz'; \
          make it again, or use sitar pack, which does"]
    );
    let (full, _) = packed(folder.path());
    let mut again = Vec::new();
    let done = pack(folder.path(), &mut again, options(2, Some(NOVEMBER), Some(&archive)), &Quiet).unwrap();
    assert!(again == full && done.reused == 0);
}
