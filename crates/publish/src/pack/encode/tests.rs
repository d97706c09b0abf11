use super::*;

#[test]
fn what_is_tried() {
    for (name, expected) in [
        ("a.html", Worth::Yes),
        ("a.js", Worth::Yes),
        ("a.svg", Worth::Yes),
        ("a.wasm", Worth::Yes),
        ("a.ttf", Worth::Yes),
        ("favicon.ico", Worth::Yes),
        ("LICENSE", Worth::Perhaps),
        ("search.idx", Worth::Perhaps),
        ("a.plist", Worth::Yes),
        ("a.m3u8", Worth::Yes),
        ("a.topojson", Worth::Yes),
        ("a.obj", Worth::Perhaps),
        ("a.usdz", Worth::Perhaps),
        ("a.svgz", Worth::No),
        ("a.rpm", Worth::No),
        ("a.js.br", Worth::No),
        ("a.tar.gz", Worth::No),
        ("a.png", Worth::No),
        ("a.svgz", Worth::No),
        ("A.SVGZ", Worth::No),
        ("a.woff2", Worth::No),
        ("a.mp4", Worth::No),
        ("a.pdf", Worth::No),
        ("a.zip", Worth::No),
        ("a.sqlite", Worth::Yes),
        ("a.sql", Worth::Yes),
        ("a.srt", Worth::Yes),
        ("a.ipa", Worth::No),
    ] {
        assert_eq!(worth(name.as_bytes()), expected, "{name}");
    }
}

/// A text for which all three encodings are kept: binary numbers are of the few things that
/// Zstandard makes notably smaller than brotli does.
fn numbers() -> String {
    (0..400).map(|number| format!("<p>{number:016b}</p>\n")).collect()
}

#[test]
fn encodings_are_smaller_and_decode() {
    let text = numbers();
    let encoded = encode(text.as_bytes(), Worth::Yes, Level::Best);
    let gz = encoded[1].as_ref().unwrap().len();
    for (place, encoded) in encoded.iter().enumerate() {
        let encoded = encoded.as_ref().unwrap();
        assert!(encoded.len() < 900, "{place}: {}", encoded.len());
        assert!(decodes_to(place, encoded, text.as_bytes()), "{place}");
        assert!(!decodes_to(place, encoded, &text.as_bytes()[1..]), "{place}");
        assert!(!decodes_to(place, encoded, &text.as_bytes()[..text.len() - 1]), "{place}");
        assert!(!decodes_to(place, &encoded[..encoded.len() - 1], text.as_bytes()), "{place}");
        assert!(!decodes_to((place + 1) % 3, encoded, text.as_bytes()), "{place}");
        assert!(place == 1 || encoded.len() < gz, "{place}");
    }
}

/// Bytes that nothing can compress.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..length).map(|_| next()).collect()
}

#[test]
fn what_does_not_pay_is_left_out() {
    let none = [None, None, None];
    let text = numbers();
    assert_eq!(encode(&noise(5000), Worth::Yes, Level::Best), none);
    assert_eq!(encode(&noise(5000), Worth::Perhaps, Level::Best), none);
    assert_eq!(encode(text.as_bytes(), Worth::No, Level::Best), none);
    assert_eq!(encode(&text.as_bytes()[..199], Worth::Yes, Level::Best), none);
    assert!(encode(text.as_bytes(), Worth::Perhaps, Level::Best).iter().all(Option::is_some));
    // Words, which Zstandard makes no smaller than brotli.
    let words = "words and words ".repeat(300);
    let made = encode(words.as_bytes(), Worth::Yes, Level::Best).map(|encoded| encoded.is_some());
    assert_eq!(made, [true, true, false]);
}

#[test]
fn the_encoders_are_those_of_the_lock_file() {
    let lock = include_str!("../../../../../Cargo.lock");
    let version = |name: &str| {
        let (_, rest) = lock.split_once(&format!("name = \"{name}\"\nversion = \"")).unwrap();
        rest.split('"').next().unwrap().to_owned()
    };
    // Changed with them: the text that says which encodings of an earlier pack are still what would
    // be made today.
    let (brotli, zstd) = (version("brotli"), version("zstd-sys"));
    let libdeflate = version("libdeflate-sys");
    for (level, expected) in [
        (
            Level::Best,
            format!("brotli {brotli} q11, libdeflate {libdeflate} l12, zstd-sys {zstd} l19, rules 2"),
        ),
        (Level::Fast, format!("brotli {brotli} q5, libdeflate {libdeflate} l6, zstd-sys {zstd} l3, rules 2")),
    ] {
        assert_eq!(level.encoders(), expected);
        assert!(expected.len() <= sitar_site::raw::format::ENCODERS_MAX);
    }
}

#[test]
fn an_encoding_saves_a_segment_and_a_tenth() {
    let all = [true, true, true];
    let none = [false, false, false];
    let gzip_alone = [false, true, false];
    let without_zstd = [true, true, false];
    for (content, brotli, gzip, zstd, expected) in [
        // A page of 500 bytes, of 1,400 and of 2,000: less than a segment is saved.
        (500, 150, 180, 170, none),
        (1_400, 400, 500, 450, none),
        (2_000, 600, 700, 650, none),
        // A segment of the file, to the byte.
        (2_159, 700, 700, 700, none),
        (2_160, 700, 701, 701, [true, false, false]),
        (2_160, 700, 700, 700, gzip_alone),
        (5_000, 3_541, 3_541, 3_541, none),
        (5_000, 3_540, 3_540, 3_540, gzip_alone),
        // A tenth of the file, to the byte; of 20,001 it is 2,001.
        (20_000, 18_001, 18_001, 18_001, none),
        (20_000, 18_000, 18_000, 18_000, gzip_alone),
        (20_001, 18_001, 18_001, 18_001, none),
        (20_001, 18_000, 18_000, 18_000, gzip_alone),
        // Pages that brotli makes a tenth smaller than gzip, and Zstandard does not make smaller
        // than brotli.
        (2_160, 600, 700, 650, without_zstd),
        (4_000, 700, 900, 800, without_zstd),
        (100_000, 10_000, 20_000, 15_000, without_zstd),
        // A tenth less than gzip, to the byte; of 10,001 it is 1,001.
        (100_000, 9_001, 10_000, 9_001, gzip_alone),
        (100_000, 9_000, 10_000, 9_001, without_zstd),
        (100_000, 9_001, 10_001, 9_001, gzip_alone),
        (100_000, 9_000, 10_001, 9_001, without_zstd),
        // A segment less than gzip, to the byte.
        (100_000, 38_541, 40_000, 38_541, gzip_alone),
        (100_000, 38_540, 40_000, 38_541, without_zstd),
        // Zstandard: a tenth or a segment less than brotli, to the byte.
        (100_000, 10_000, 12_000, 9_001, without_zstd),
        (100_000, 10_000, 12_000, 9_000, all),
        (100_000, 30_000, 40_000, 28_541, without_zstd),
        (100_000, 30_000, 40_000, 28_540, all),
        // An encoding that is left out is not what the next one is compared with.
        (100_000, 9_001, 10_000, 9_000, [false, true, true]),
        (100_000, 38_541, 40_000, 38_540, [false, true, true]),
        (100_000, 21_000, 20_000, 18_541, gzip_alone),
        (100_000, 21_000, 20_000, 18_540, [false, true, true]),
        (20_000, 17_999, 18_001, 16_540, [true, false, false]),
        (20_000, 17_999, 18_001, 16_539, [true, false, true]),
        // Nothing saved at all.
        (5_000, 5_000, 6_000, 5_001, none),
        (0, 1, 20, 9, none),
    ] {
        let sizes = [Some(brotli), Some(gzip), Some(zstd)];
        assert_eq!(choose(content, sizes), expected, "{content} {sizes:?}");
    }
    // What could not be made counts for nothing.
    assert_eq!(choose(5_692, [Some(700), None, None]), [true, false, false]);
    assert_eq!(choose(5_692, [None, None, Some(800)]), [false, false, true]);
    assert_eq!(choose(5_692, [None; 3]), none);
}
