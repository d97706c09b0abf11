use super::*;
use crate::{Method, RequestTarget};
use proptest::prelude::*;

use Coding::{Br, Gzip, Identity, Zstd};

fn accept(lines: &[&[u8]]) -> AcceptEncoding {
    let mut request = Request::new(Method::Get, RequestTarget { path: b"/", query: None });
    for line in lines {
        request.fields.push(Field::AcceptEncoding, line).unwrap();
    }
    AcceptEncoding::of(&request)
}

/// identity, gzip, br, zstd
fn qualities(lines: &[&[u8]]) -> [u16; 4] {
    [Identity, Gzip, Br, Zstd].map(|coding| accept(lines).quality(coding))
}

#[test]
fn weights() {
    let cases: &[(&[&[u8]], [u16; 4])] = &[
        (&[], [1000, 0, 0, 0]),
        (&[b""], [1, 0, 0, 0]),
        (&[b"gzip"], [1, 1000, 0, 0]),
        (&[b"X-GZIP"], [1, 1000, 0, 0]),
        (&[b"gzip, deflate, br, zstd"], [1, 1000, 1000, 1000]),
        (&[b"gzip", b"br;q=0.5"], [1, 1000, 500, 0]),
        (&[b"br ; q=0.25 ,\tgzip;Q=0.125"], [1, 125, 250, 0]),
        (&[b"*"], [1000, 1000, 1000, 1000]),
        (&[b"*;q=0"], [0, 0, 0, 0]),
        (&[b"*;q=0, gzip;q=0.3"], [0, 300, 0, 0]),
        (&[b"*;q=0, identity;q=0.3"], [300, 0, 0, 0]),
        (&[b"identity;q=0"], [0, 0, 0, 0]),
        (&[b"gzip;q=1.0, identity; q=0.5, *;q=0"], [500, 1000, 0, 0]),
        (&[b"gzip;q=0, *;q=0.1"], [100, 0, 100, 100]),
        (&[b"gzip;q=1.000, br;q=0.001, zstd;q=0."], [1, 1000, 1, 0]),
        (&[b"br;q=1"], [1, 0, 1000, 0]),
        // the last one counts
        (&[b"br;q=0.2, br;q=0.4"], [1, 0, 400, 0]),
        // malformed members do not
        (&[b"br;q=1.001"], [1, 0, 0, 0]),
        (&[b"br;q=2"], [1, 0, 0, 0]),
        (&[b"br;q=0.1234"], [1, 0, 0, 0]),
        (&[b"br;q=.5"], [1, 0, 0, 0]),
        (&[b"br;q="], [1, 0, 0, 0]),
        (&[b"br;q=0,5"], [1, 0, 0, 0]),
        (&[b"br;q=-1"], [1, 0, 0, 0]),
        (&[b"br;q=0.5;x"], [1, 0, 0, 0]),
        (&[b"br;level=5"], [1, 0, 0, 0]),
        (&[b"br;q = 0.5"], [1, 0, 0, 0]),
        (&[b"b r, \"gzip\", gzipp, gzi, ,,"], [1, 0, 0, 0]),
        (&[b",,gzip,"], [1, 1000, 0, 0]),
    ];
    for (lines, expected) in cases {
        let text = lines.iter().map(|line| line.escape_ascii().to_string()).collect::<Vec<_>>();
        assert_eq!(qualities(lines), *expected, "{text:?}");
    }
}

#[test]
fn choice() {
    let order = &[Br, Zstd, Gzip, Identity];
    type Case = (&'static [&'static [u8]], &'static [Coding], Option<Coding>);
    let cases: &[Case] = &[
        // what curl, curl --compressed and browsers send
        (&[], order, Some(Identity)),
        (&[b"deflate, gzip, br, zstd"], order, Some(Br)),
        (&[b"gzip, deflate"], order, Some(Gzip)),
        (&[b"gzip, deflate, br, zstd"], &[Zstd, Br, Identity], Some(Zstd)),
        (&[b"gzip, deflate, br, zstd"], &[Identity], Some(Identity)),
        // weights go before the server's order, and anything named before identity
        (&[b"gzip;q=0.9, br;q=0.8"], order, Some(Gzip)),
        (&[b"gzip;q=0.1"], order, Some(Gzip)),
        (&[b"gzip;q=0.1, identity"], order, Some(Identity)),
        (&[b"identity;q=0.5, br;q=0.5"], &[Identity, Br], Some(Identity)),
        (&[b"*"], order, Some(Br)),
        (&[b"*, br;q=0"], order, Some(Zstd)),
        (&[b""], order, Some(Identity)),
        (&[b"identity;q=0"], &[Identity], None),
        (&[b"identity;q=0, gzip"], &[Identity, Gzip], Some(Gzip)),
        (&[b"*;q=0"], order, None),
        (&[b"br"], &[], None),
        (&[b"br"], &[Gzip], None),
        (&[], &[Gzip], None),
    ];
    for (lines, available, expected) in cases {
        let text = lines.iter().map(|line| line.escape_ascii().to_string()).collect::<Vec<_>>();
        assert_eq!(accept(lines).best(available), *expected, "{text:?} of {available:?}");
    }
}

proptest! {
    // The text is made from the meaning, so that the meaning is known without reading the text.
    #[test]
    fn lists_mean_what_they_were_made_from(
        members in proptest::collection::vec((0..6_usize, 0..=1000_u16, 0..3_usize), 0..6),
    ) {
        let names = ["identity", "gzip", "br", "zstd", "*", "deflate"];
        let mut meant = [None; 6];
        let mut text = String::new();
        for (name, quality, style) in members {
            meant[name] = Some(quality);
            let decimals = format!("{:.*}", 3, f64::from(quality) / 1000.0);
            text += &[
                format!("{};q={decimals}", names[name]),
                format!("  {}\t; Q={decimals} ", names[name].to_uppercase()),
                format!(",{} ;q={decimals}", names[name]),
            ][style];
            text += ",";
        }
        let accept = accept(&[text.as_bytes()]);
        for (index, coding) in [Identity, Gzip, Br, Zstd].into_iter().enumerate() {
            let default = if index == 0 { 1 } else { 0 };
            prop_assert_eq!(accept.quality(coding), meant[index].or(meant[4]).unwrap_or(default), "{}", text);
        }
    }

    #[test]
    fn anything_can_be_read(line in proptest::collection::vec(any::<u8>(), 0..60)) {
        let accept = accept(&[&line]);
        for coding in [Identity, Gzip, Br, Zstd] {
            prop_assert!(accept.quality(coding) <= 1000);
        }
    }
}
