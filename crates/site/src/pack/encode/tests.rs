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
    ] {
        assert_eq!(worth(name.as_bytes()), expected, "{name}");
    }
}

#[test]
fn encodings_are_smaller_and_decode() {
    let text = "the same words again and again, the same words again. ".repeat(80);
    let encoded = encode(text.as_bytes(), Worth::Yes, 0, Level::Best);
    let gz = encoded[1].as_ref().unwrap().len();
    for (place, encoded) in encoded.iter().enumerate() {
        let encoded = encoded.as_ref().unwrap();
        assert!(encoded.len() < 120, "{place}: {}", encoded.len());
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
    let text = "words and words ".repeat(300);
    assert_eq!(encode(&noise(5000), Worth::Yes, 0, Level::Best), none);
    assert_eq!(encode(&noise(5000), Worth::Perhaps, 0, Level::Best), none);
    assert_eq!(encode(text.as_bytes(), Worth::No, 0, Level::Best), none);
    assert_eq!(encode(&text.as_bytes()[..199], Worth::Yes, 0, Level::Best), none);
    assert!(encode(text.as_bytes(), Worth::Perhaps, 0, Level::Best).iter().all(Option::is_some));
}

#[test]
fn the_encoders_are_those_of_the_lock_file() {
    let lock = include_str!("../../../../../Cargo.lock");
    let version = |name: &str| {
        let (_, rest) = lock.split_once(&format!("name = \"{name}\"\nversion = \"")).unwrap();
        rest.split('"').next().unwrap().to_owned()
    };
    // Changed with them: the text that says which encodings of an earlier pack are still what would be made today.
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
        assert!(expected.len() <= super::super::format::ENCODERS_MAX);
    }
}

#[test]
fn an_encoding_saves_more_than_it_costs() {
    let all = [true, true, true];
    let none = [false, false, false];
    for (content, brotli, gzip, zstd, expected) in [
        // A page of 500 bytes, of 1,400 and of 2,000: less than a segment is saved.
        (500, 150, 180, 170, none),
        (1_400, 400, 500, 450, none),
        (2_000, 600, 700, 650, none),
        (2_160, 600, 700, 650, [false, true, false]),
        // A segment to the byte.
        (5_000, 3_541, 3_541, 3_541, none),
        (5_000, 3_540, 3_540, 3_540, [false, true, false]),
        // A tenth to the byte.
        (20_000, 18_001, 18_001, 18_001, none),
        (20_000, 18_000, 18_000, 18_000, [false, true, false]),
        // gzip and brotli take 1,664 bytes each in the pack; with a third the page has to save 4,992.
        (4_000, 700, 900, 800, [false, true, false]),
        (4_027, 700, 900, 800, [false, true, false]),
        (4_028, 700, 900, 800, [true, true, false]),
        (5_691, 700, 900, 800, [true, true, false]),
        (5_692, 700, 900, 800, all),
        // Ten segments, at any price.
        (100_000, 85_401, 85_500, 85_450, [false, true, false]),
        (100_000, 75_000, 85_500, 76_000, all),
        (30_000, 15_401, 17_000, 16_999, [false, true, false]),
        (30_000, 15_400, 17_000, 16_999, [true, true, false]),
        // A tenth or a segment less than gzip, to the byte.
        (100_000, 9_001, 10_000, 9_001, [false, true, false]),
        (100_000, 9_000, 10_000, 9_001, [true, true, false]),
        (100_000, 38_541, 40_000, 38_540, [false, true, true]),
        // Nothing saved at all.
        (5_000, 5_000, 6_000, 5_001, none),
        (0, 1, 20, 9, none),
    ] {
        let sizes = [Some(brotli), Some(gzip), Some(zstd)];
        assert_eq!(choose(content, sizes, 0), expected, "{content} {sizes:?}");
    }
    // A name above 100 bytes takes two blocks or more, once for each encoding.
    let sizes = [Some(700), Some(900), Some(800)];
    assert_eq!(choose(6_075, sizes, 2), [false, true, false]);
    assert_eq!(choose(6_076, sizes, 2), [true, true, false]);
    // What could not be made counts for nothing.
    assert_eq!(choose(5_692, [Some(700), None, None], 0), [true, false, false]);
    assert_eq!(choose(5_692, [None; 3], 0), none);
}
