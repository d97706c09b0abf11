use super::*;

const CONTENT: &[u8] = b"hello, hello, hello\n";

pub(crate) fn gz(content: &[u8]) -> Vec<u8> {
    let mut compressor = libdeflater::Compressor::new(libdeflater::CompressionLvl::fastest());
    let mut out = vec![0; compressor.gzip_compress_bound(content.len())];
    let length = compressor.gzip_compress(content, &mut out).unwrap();
    out.truncate(length);
    out
}

pub(crate) fn br(content: &[u8]) -> Vec<u8> {
    sitar_brotli::compress(content, 5).unwrap()
}

pub(crate) fn zst(content: &[u8]) -> Vec<u8> {
    zstd::bulk::compress(content, 3).unwrap()
}

type Encode = fn(&[u8]) -> Vec<u8>;

const CODINGS: [(Coding, Encode); 3] = [(Coding::Br, br), (Coding::Gzip, gz), (Coding::Zstd, zst)];

#[test]
fn each_coding_is_compared() {
    for (coding, encode) in CODINGS {
        let encoded = encode(CONTENT);
        assert_eq!(compare(coding, &encoded, CONTENT), Comparison::Same, "{coding:?}");
        assert_eq!(compare(coding, &encode(b"hello"), CONTENT), Comparison::Other, "{coding:?}: shorter");
        assert_eq!(compare(coding, &encoded, b"hello"), Comparison::Other, "{coding:?}: longer");
        assert_eq!(
            compare(coding, &encode(b"jello, hello, hello\n"), CONTENT),
            Comparison::Other,
            "{coding:?}"
        );
        let cut = &encoded[..encoded.len() - 1];
        assert_eq!(compare(coding, cut, CONTENT), Comparison::Broken, "{coding:?}: cut short");
        assert_eq!(
            compare(coding, CONTENT, CONTENT),
            Comparison::Broken,
            "{coding:?}: a link to the original"
        );
        for content in [CONTENT, b""] {
            assert_eq!(compare(coding, b"", content), Comparison::Broken, "{coding:?}: empty");
        }
        assert_eq!(compare(coding, &encode(b""), b""), Comparison::Same, "{coding:?}: of nothing");
        assert_eq!(compare(coding, &encode(b""), CONTENT), Comparison::Other, "{coding:?}: of nothing");
    }
}

#[test]
fn a_bomb_costs_no_more_than_the_file_is_long() {
    // 1 GiB of zeros could not be held here 30 times; what is compared is the first 20 bytes and
    // one.
    let zeros = vec![0; 64 << 20];
    for (coding, encode) in [(Coding::Gzip, gz as Encode), (Coding::Zstd, zst)] {
        let bomb = encode(&zeros);
        assert_eq!(compare(coding, &bomb, CONTENT), Comparison::Other);
        assert_eq!(compare(coding, &bomb, &zeros[..1 << 20]), Comparison::Other);
    }
}

#[test]
fn what_browsers_do_not_decode_to_the_end_is_broken() {
    // Several members are one file for gunzip; browsers read the first and ignore the rest, curl
    // fails.
    let two = [gz(&CONTENT[..7]), gz(&CONTENT[7..])].concat();
    assert_eq!(compare(Coding::Gzip, &two, CONTENT), Comparison::Other);
    for more in [&gz(b"")[..], &gz(CONTENT), b"\0", b"garbage that is no member"] {
        assert_eq!(compare(Coding::Gzip, &[&gz(CONTENT), more].concat(), CONTENT), Comparison::Broken);
    }
    // curl fails at bytes behind the end of any coding.
    for (coding, encode) in CODINGS {
        for more in [&b"\0"[..], b"x", b"more than that"] {
            let encoded = [&encode(CONTENT), more].concat();
            assert_eq!(compare(coding, &encoded, CONTENT), Comparison::Broken, "{coding:?} {more:?}");
        }
    }
    // A checksum that is not the content's.
    let mut wrong = gz(CONTENT);
    let at = wrong.len() - 8;
    wrong[at] ^= 1;
    assert_eq!(compare(Coding::Gzip, &wrong, CONTENT), Comparison::Broken);
    // Several frames are one content, for browsers too; a window above 8 MiB is not for HTTP.
    let two = [zst(&CONTENT[..7]), zst(&CONTENT[7..])].concat();
    assert_eq!(compare(Coding::Zstd, &two, CONTENT), Comparison::Same);
    let content = vec![b'x'; 100 << 10];
    for (log, expected) in [(23, Comparison::Same), (24, Comparison::Broken)] {
        let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(log).unwrap();
        std::io::Write::write_all(&mut encoder, &content).unwrap();
        assert_eq!(compare(Coding::Zstd, &encoder.finish().unwrap(), &content), expected, "{log}");
    }
}

#[test]
fn sidecars_that_no_encoder_makes_need_not_be_read() {
    for (encoded, content, expected) in [
        (20, 0, false),
        (1_100, 1_000, false),
        (65_536, 0, false),
        (65_537, 0, true),
        (1 << 20, 1 << 20, false),
        (2 << 20, 1 << 20, true),
    ] {
        assert_eq!(is_oversized(encoded, content), expected, "{encoded} {content}");
    }
}
