use super::*;
use proptest::prelude::*;

fn limits() -> Limits {
    Limits { body: 1000, ..Limits::default() }
}

fn chunked() -> BodyDrain {
    BodyDrain::new(Framing::Chunked, &limits()).unwrap().unwrap()
}

fn feed(drain: &mut BodyDrain, bytes: &[u8]) -> Result<(usize, bool), u16> {
    let drained = drain.feed(bytes).map_err(|rejection| rejection.status.code())?;
    Ok(match drained {
        Drained::Part => (bytes.len(), false),
        Drained::Whole(len) => (len, true),
    })
}

#[test]
fn nothing_to_drain() {
    assert!(BodyDrain::new(Framing::None, &limits()).unwrap().is_none());
    assert!(BodyDrain::new(Framing::Length(0), &limits()).unwrap().is_none());
}

#[test]
fn a_known_length() {
    let mut drain = BodyDrain::new(Framing::Length(10), &limits()).unwrap().unwrap();
    assert_eq!(feed(&mut drain, b"1234"), Ok((4, false)));
    assert_eq!(feed(&mut drain, b""), Ok((0, false)));
    assert_eq!(feed(&mut drain, b"567890GET /"), Ok((6, true)));
    assert_eq!(feed(&mut drain, b"GET /"), Ok((0, true)));
}

#[test]
fn a_length_over_the_limit() {
    assert!(BodyDrain::new(Framing::Length(1000), &limits()).is_ok());
    for length in [1001, u64::MAX] {
        assert_eq!(BodyDrain::new(Framing::Length(length), &limits()).unwrap_err().status.code(), 413);
    }
}

// RFC 9112 §7.1
#[test]
fn chunked_bodies() {
    let cases: &[&[u8]] = &[
        b"0\r\n\r\n",
        b"5\r\nhello\r\n0\r\n\r\n",
        b"5\r\nhello\r\n6\r\n world\r\n000\r\n\r\n",
        b"a\r\n0\r\n\r\n0\r\n\r\n\r\n0\r\n\r\n",
        b"A\r\n0123456789\r\n0\r\n\r\n",
        b"0000000000000001\r\nx\r\n0\r\n\r\n",
        b"5;x\r\nhello\r\n0\r\n\r\n",
        b"5;x=y;z=\"a b\"\r\nhello\r\n0;last\r\n\r\n",
        b"5 ; x = y\r\nhello\r\n0\r\n\r\n",
        b"5;\r\nhello\r\n0\r\n\r\n",
        b"0\r\nX: y\r\nZ:\r\nContent-Length: 5\r\n\r\n",
        b"3e8\r\n",
    ];
    for (index, body) in cases.iter().enumerate() {
        let mut wire = body.to_vec();
        if index == cases.len() - 1 {
            wire.extend([b'x'; 1000]);
            wire.extend(b"\r\n0\r\n\r\n");
        }
        let text = wire.escape_ascii();
        let len = wire.len();
        for end in 0..len {
            assert_eq!(feed(&mut chunked(), &wire[..end]), Ok((end, false)), "{text} up to {end}");
        }
        let mut drain = chunked();
        let with_next = [&wire[..], b"GET / HTTP/1.1\r\n"].concat();
        assert_eq!(feed(&mut drain, &with_next), Ok((len, true)), "{text}");
        assert_eq!(feed(&mut drain, b"GET"), Ok((0, true)), "{text}");
    }
}

#[test]
fn malformed_chunked_bodies() {
    let cases: &[(&[u8], u16)] = &[
        (b"\r\n", 400),
        (b"x\r\n", 400),
        (b"-1\r\n", 400),
        (b"0x5\r\n", 400),
        (b" 5\r\n", 400),
        (b"5 \r\n", 400),
        (b"5\t\r\n", 400),
        (b";x\r\n", 400),
        // line ends that others take for line ends
        (b"5\n", 400),
        (b"5;x\n", 400),
        (b"5;\"\n\"\r\n", 400),
        (b"5\r\r\n", 400),
        (b"5;x\ry\r\n", 400),
        (b"5;x\0\r\n", 400),
        (b"0\r\n\n", 400),
        (b"0\r\nX: y\n", 400),
        (b"0\r\nX: y\rz\r\n", 400),
        // data longer or shorter than announced
        (b"5\r\nhello!", 400),
        (b"5\r\nhell\r\n", 400),
        (b"5\r\nhello\n", 400),
        (b"5\r\nhello\r\r", 400),
        (b"5\r\nhello\r\n\r\n", 400),
        // trailers
        (b"0\r\nX\r\n", 400),
        (b"0\r\nX : y\r\n", 400),
        (b"0\r\n: y\r\n", 400),
        (b"0\r\n X: y\r\n", 400),
        (b"0\r\nX: \0\r\n", 400),
        (b"0\r\nX: y\r\n z\r\n", 400),
        // sizes
        (b"3e9\r\n", 413),
        (b"10000000000000000\r\n", 413),
        (b"00000000000000001\r\n", 413),
        (b"ffffffffffffffff\r\n", 413),
        (b"fffffffffffffffff\r\n", 413),
    ];
    for (wire, status) in cases {
        assert_eq!(feed(&mut chunked(), wire), Err(*status), "{}", wire.escape_ascii());
    }
}

#[test]
fn chunks_add_up_to_the_limit() {
    let mut wire = [b"3e7\r\n", &[b'x'; 999][..], b"\r\n1\r\nx\r\n"].concat();
    assert_eq!(feed(&mut chunked(), &wire), Ok((wire.len(), false)));
    wire.extend(b"1");
    assert_eq!(feed(&mut chunked(), &wire), Err(413));
}

#[test]
fn extensions_and_trailers_are_bounded() {
    // Over many chunks, too: each spends from the same 8 KiB.
    let mut drain = chunked();
    let chunk = [b"1;", &[b'x'; 1000][..], b"\r\ny\r\n"].concat();
    for _ in 0..8 {
        assert_eq!(feed(&mut drain, &chunk), Ok((chunk.len(), false)));
    }
    assert_eq!(feed(&mut drain, &chunk), Err(400));

    let mut drain = chunked();
    assert_eq!(feed(&mut drain, &[b"0\r\nX:", &[b' '; 8190][..]].concat()), Ok((8195, false)));
    assert_eq!(feed(&mut drain, b" "), Err(431));
}

fn bodies() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        3 => Just(&b"5\r\nhello\r\n"[..]),
        3 => Just(&b"0\r\n"[..]),
        3 => Just(&b"\r\n"[..]),
        1 => Just(&b"1;a=\"b\"\r\nx\r\n"[..]),
        1 => Just(&b"X: y\r\n"[..]),
        1 => Just(&b"5"[..]),
        1 => Just(&b"\n"[..]),
        1 => Just(&b" "[..]),
        1 => Just(&b"fffffff\r\n"[..]),
    ];
    prop_oneof![
        4 => proptest::collection::vec(piece, 0..10).prop_map(|pieces| pieces.concat()),
        1 => proptest::collection::vec(any::<u8>(), 0..40),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn pieces_are_drained_like_the_whole(
        wire in bodies(),
        cuts in proptest::collection::vec(0..12_usize, 0..20),
        length in proptest::option::of(1..60_u64),
    ) {
        let framing = length.map_or(Framing::Chunked, Framing::Length);
        let mut drain = BodyDrain::new(framing, &limits()).unwrap().unwrap();
        let whole = feed(&mut drain.clone(), &wire);

        let mut consumed = 0;
        let mut pieces = Ok((0, false));
        let mut rest = &wire[..];
        for cut in cuts.into_iter().chain([usize::MAX]) {
            let (piece, after) = rest.split_at(cut.min(rest.len()));
            match feed(&mut drain, piece) {
                Ok((taken, done)) => {
                    consumed += taken;
                    pieces = Ok((consumed, done));
                    if done {
                        break;
                    }
                    prop_assert_eq!(taken, piece.len());
                }
                Err(status) => {
                    pieces = Err(status);
                    break;
                }
            }
            rest = after;
        }
        prop_assert_eq!(pieces, whole);
    }

    // httparse reads chunk sizes: what is skipped lies where it says.
    #[test]
    fn sizes_are_those_that_httparse_reads(wire in bodies()) {
        let mut drain = chunked();
        if let Ok((len, true)) = feed(&mut drain, &wire) {
            let mut at = 0;
            loop {
                let parsed = httparse::parse_chunk_size(&wire[at..]);
                let Ok(httparse::Status::Complete((line, size))) = parsed else {
                    return Err(TestCaseError::fail(format!("{parsed:?}")));
                };
                at += line;
                if size == 0 {
                    break;
                }
                at += usize::try_from(size).unwrap() + 2;
            }
            prop_assert!(at < len);
            prop_assert!(wire[..len].ends_with(b"\r\n\r\n"));
        }
    }
}
