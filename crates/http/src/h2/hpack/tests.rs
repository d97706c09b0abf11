use super::super::testing::Hpack;
use super::field_block;

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        text.bytes().filter_map(|byte| char::from(byte).to_digit(16)).map(|digit| digit as u8).collect();
    digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn list(lines: &[(&str, &str)]) -> Vec<(Vec<u8>, Vec<u8>)> {
    lines.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec())).collect()
}

// RFC 7541 Appendix C.2
#[test]
fn single_fields() {
    let decode = |text: &str| Hpack::default().decode(&hex(text));
    assert_eq!(
        decode("400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572"),
        Ok(list(&[("custom-key", "custom-header")]))
    );
    assert_eq!(decode("040c 2f73 616d 706c 652f 7061 7468"), Ok(list(&[(":path", "/sample/path")])));
    assert_eq!(decode("1008 7061 7373 776f 7264 0673 6563 7265 74"), Ok(list(&[("password", "secret")])));
    assert_eq!(decode("82"), Ok(list(&[(":method", "GET")])));
}

const FIRST: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "www.example.com")];
const SECOND: [(&str, &str); 5] = [
    (":method", "GET"),
    (":scheme", "http"),
    (":path", "/"),
    (":authority", "www.example.com"),
    ("cache-control", "no-cache"),
];
const THIRD: [(&str, &str); 5] = [
    (":method", "GET"),
    (":scheme", "https"),
    (":path", "/index.html"),
    (":authority", "www.example.com"),
    ("custom-key", "custom-value"),
];

// RFC 7541 Appendix C.3, C.4: three requests on one connection, without and with Huffman coding.
#[test]
fn requests() {
    for blocks in [
        [
            "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
            "8286 84be 5808 6e6f 2d63 6163 6865",
            "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
        ],
        [
            "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
            "8286 84be 5886 a8eb 1064 9cbf",
            "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
        ],
    ] {
        let mut hpack = Hpack::default();
        assert_eq!(hpack.memory(), 0, "nothing is allocated before it is used");
        assert_eq!(hpack.decode(&hex(blocks[0])), Ok(list(&FIRST)));
        assert_eq!(hpack.decode(&hex(blocks[1])), Ok(list(&SECOND)));
        assert_eq!(hpack.decode(&hex(blocks[2])), Ok(list(&THIRD)));
        // The table that C.3.3 shows, newest first.
        assert_eq!(
            hpack.decode(&[0xbe, 0xbf, 0xc0]),
            Ok(list(&[
                ("custom-key", "custom-value"),
                ("cache-control", "no-cache"),
                (":authority", "www.example.com")
            ]))
        );
        assert!(hpack.decode(&[0xc1]).is_err());
        assert!(hpack.memory() <= 128);
    }
}

// RFC 7541 Appendix C.5, C.6: responses with a table of 256 bytes, so that entries are evicted.
#[test]
fn responses_with_eviction() {
    let cookie = "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1";
    let first = [
        (":status", "302"),
        ("cache-control", "private"),
        ("date", "Mon, 21 Oct 2013 20:13:21 GMT"),
        ("location", "https://www.example.com"),
    ];
    let second = [(":status", "307"), first[1], first[2], first[3]];
    let third = [
        (":status", "200"),
        ("cache-control", "private"),
        ("date", "Mon, 21 Oct 2013 20:13:22 GMT"),
        ("location", "https://www.example.com"),
        ("content-encoding", "gzip"),
        ("set-cookie", cookie),
    ];
    for blocks in [
        [
            "4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 \
             2032 303a 3133 3a32 3120 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
            "4803 3330 37c1 c0bf",
            "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d \
             54c0 5a04 677a 6970 7738 666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 \
             5541 5851 5745 4f49 553b 206d 6178 2d61 6765 3d33 3630 303b 2076 6572 7369 6f6e 3d31",
        ],
        [
            "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 \
             2d1b ff6e 919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3",
            "4883 640e ffc1 c0bf",
            "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab \
             77ad 94e7 821d d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f \
             9587 3160 65c0 03ed 4ee5 b106 3d50 07",
        ],
    ] {
        let mut hpack = Hpack::default();
        // A size update to 256 stands for SETTINGS_HEADER_TABLE_SIZE of the example.
        let mut block = vec![0x3f, 0xe1, 0x01];
        block.extend(hex(blocks[0]));
        assert_eq!(hpack.decode(&block), Ok(list(&first)));
        assert_eq!(hpack.decode(&hex(blocks[1])), Ok(list(&second)));
        assert_eq!(hpack.decode(&hex(blocks[2])), Ok(list(&third)));
        // C.5.3: three entries are left.
        assert_eq!(
            hpack.decode(&[0xbe, 0xbf, 0xc0]),
            Ok(list(&[("set-cookie", cookie), ("content-encoding", "gzip"), third[2]]))
        );
        assert!(hpack.decode(&[0xc1]).is_err());
    }
}

#[test]
fn what_is_not_hpack() {
    for (wire, why) in [
        // RFC 7541 §6.1
        (&[0x80][..], "index zero"),
        // §2.3.3
        (&[0xbe], "an index beyond the table"),
        (&[0xff, 0x80, 0x01], "an index beyond the table"),
        (&[0x7f, 0x80, 0x01, 0x00], "an index beyond the table"),
        // §5.1
        (&[0xff, 0x80, 0x80, 0x80, 0x80, 0x01], "an integer beyond 28 bits"),
        (&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff], "an integer beyond 28 bits"),
        (&[0xff], "a header block ends in the middle of a field"),
        (&[0xff, 0x80], "a header block ends in the middle of a field"),
        // §5.2
        (&[0x00], "a header block ends in the middle of a field"),
        (&[0x00, 0x01], "a header block ends in the middle of a field"),
        (&[0x00, 0x01, b'a'], "a header block ends in the middle of a field"),
        (&[0x00, 0x01, b'a', 0x02, b'b'], "a header block ends in the middle of a field"),
        (&[0x00, 0x81, 0xff, 0x00], "a string is not Huffman code"),
        (&[0x00, 0x81, 0x1e, 0x00], "a string is not Huffman code"),
        (&[0x00, 0x84, 0xff, 0xff, 0xff, 0xff, 0x00], "a string is not Huffman code"),
        // §4.2, §6.3: 4097, and behind a field
        (&[0x3f, 0xe2, 0x1f], "a table larger than allowed"),
        (&[0x82, 0x20], "a table size update behind a field"),
    ] {
        assert_eq!(Hpack::default().decode(wire), Err(why), "{wire:02x?}");
    }
    // What is at the limit: a size of 4096, two updates in one block, an index written with a byte
    // more than needed.
    assert_eq!(Hpack::default().decode(&[0x20, 0x3f, 0xe1, 0x1f, 0x82]), Ok(list(&[(":method", "GET")])));
    assert_eq!(Hpack::default().decode(&[0x0f, 0x80, 0x00, 0x00]), Ok(list(&[("accept-charset", "")])));
    assert_eq!(Hpack::default().decode(&[]), Ok(Vec::new()));
}

// RFC 7541 §4.4: a name may be taken from an entry that the new one evicts.
#[test]
fn an_evicted_name_is_still_a_name() {
    let mut hpack = Hpack::default();
    // 70 bytes: room for one of 34 and 36.
    let wire = [&[0x3f, 0x27, 0x40, 0x01, b'a', 0x01, b'1'][..], &[0x7e, 0x06], b"222222"].concat();
    assert_eq!(hpack.decode(&wire), Ok(list(&[("a", "1"), ("a", "222222")])));
    assert_eq!(hpack.decode(&[0xbe]), Ok(list(&[("a", "222222")])));
    assert!(hpack.decode(&[0xbf]).is_err());
}

#[test]
fn blocks_of_a_response() {
    let lines = b"Content-Type: text/html; charset=utf-8\r\nX-Content-Type-Options: nosniff\r\nVary: Accept-Encoding\r\n\
        Content-Length: 7\r\nX-Empty:\r\nno line\r\n";
    let wire = field_block(lines);
    assert!(wire.len() < lines.len(), "{}", wire.len());
    let expected = [
        ("content-type", "text/html; charset=utf-8"),
        ("x-content-type-options", "nosniff"),
        ("vary", "Accept-Encoding"),
        ("content-length", "7"),
        ("x-empty", ""),
    ];
    assert_eq!(Hpack::default().decode(&wire), Ok(list(&expected)));
    assert_eq!(*field_block(b"Content-Length: 7\r\n"), [0x0f, 0x0d, 0x01, b'7']);
    let long = [&b"Location: /"[..], &[b'x'; 5000], b"\r\n"].concat();
    let value = format!("/{}", "x".repeat(5000));
    assert_eq!(Hpack::default().decode(&field_block(&long)), Ok(list(&[("location", &value)])));
}

// RFC 7541 §5.1: lengths take one byte up to 126, two up to 254, three up to 16,510.
#[test]
fn a_line_grows_by_less_than_one_byte_in_128() {
    for (name, value, encoded) in
        [(1, 0, 4), (126, 126, 255), (127, 127, 259), (255, 255, 517), (1, 255, 261), (1, 16_511, 16_518)]
    {
        let line = [&vec![b'n'; name][..], b":", &vec![b'v'; value], b"\r\n"].concat();
        assert_eq!(field_block(&line).len(), encoded, "{name} and {value}");
        assert!(super::encoded_max(line.len()) >= encoded, "{name} and {value}");
    }
    for name in (1..300).step_by(2) {
        for value in 0..300 {
            let line = [&vec![b'n'; name][..], b":", &vec![b'v'; value], b"\r\n"].concat();
            assert!(field_block(&line).len() <= line.len() + line.len() / 128 + 1, "{name} and {value}");
        }
    }
}

#[test]
fn a_line_may_lie_in_several_pieces() {
    let pieces: [&[u8]; 8] = [
        b"A: 1\r\nVary: Accept-Encoding\r\n",
        b"Link: </a>",
        b", </b>",
        b", </c>\r\n",
        b"",
        b"X-Own: y\r\n",
        b"X-Last: p",
        b", q\r\n",
    ];
    let mut room = [0; 200];
    let mut out = super::Writer::new(&mut room);
    super::write_pieces(&mut out, &pieces).unwrap();
    let expected = [
        ("a", "1"),
        ("vary", "Accept-Encoding"),
        ("link", "</a>, </b>, </c>"),
        ("x-own", "y"),
        ("x-last", "p, q"),
    ];
    assert_eq!(Hpack::default().decode(out.written()), Ok(list(&expected)));
    // No colon, and no end: neither is a field, and neither is an error.
    for pieces in [&[&b"no"[..], b" colon\r\n"][..], &[b"no colon"], &[b"no end\n"]] {
        let mut out = super::Writer::new(&mut room);
        super::write_pieces(&mut out, pieces).unwrap();
        assert_eq!(out.len(), 0, "{pieces:?}");
    }
}
