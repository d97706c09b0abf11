use super::*;
use crate::RequestTarget;
use proptest::prelude::*;

use RangeSelection::{Part, Parts, Unsatisfiable, Whole};

const VALIDATORS: Validators<'_> = Validators { etag: Some(b"\"a\""), last_modified: Some(784_111_777) };

fn span(method: Method, lines: &[(Field, &[u8])], length: u64) -> RangeSelection {
    let mut request = Request::new(method, RequestTarget { path: b"/", query: None });
    for (field, value) in lines {
        request.fields.push(*field, value).unwrap();
    }
    range(&request, &VALIDATORS, length)
}

fn get(value: &[u8], length: u64) -> RangeSelection {
    span(Method::Get, &[(Field::Range, value)], length)
}

// RFC 9110 §14.1.2, with its examples
#[test]
fn single_ranges() {
    let cases: &[(&[u8], u64, RangeSelection)] = &[
        (b"bytes=0-499", 10_000, Part { first: 0, last: 499 }),
        (b"bytes=500-999", 10_000, Part { first: 500, last: 999 }),
        (b"bytes=-500", 10_000, Part { first: 9500, last: 9999 }),
        (b"bytes=9500-", 10_000, Part { first: 9500, last: 9999 }),
        (b"bytes=0-", 10_000, Part { first: 0, last: 9999 }),
        (b"bytes=0-0", 10_000, Part { first: 0, last: 0 }),
        (b"bytes=-1", 10_000, Part { first: 9999, last: 9999 }),
        (b"bytes=9999-", 10_000, Part { first: 9999, last: 9999 }),
        (b"bytes=9999-20000", 10_000, Part { first: 9999, last: 9999 }),
        (b"bytes=-20000", 10_000, Part { first: 0, last: 9999 }),
        (b"Bytes= , 1-2\t,", 10_000, Part { first: 1, last: 2 }),
        (b"bytes=00000000000000000000000001-2", 10_000, Part { first: 1, last: 2 }),
        (b"bytes=1-99999999999999999999999999", 10_000, Part { first: 1, last: 9999 }),
        (b"bytes=-99999999999999999999999999", 10_000, Part { first: 0, last: 9999 }),
        (b"bytes=0-0", u64::MAX, Part { first: 0, last: 0 }),
        (
            b"bytes=18446744073709551614-",
            u64::MAX,
            Part { first: 18_446_744_073_709_551_614, last: 18_446_744_073_709_551_614 },
        ),
        (b"bytes=10000-", 10_000, Unsatisfiable),
        (b"bytes=10000-10001", 10_000, Unsatisfiable),
        (b"bytes=99999999999999999999999999-", 10_000, Unsatisfiable),
        (b"bytes=18446744073709551615-", u64::MAX, Unsatisfiable),
        (b"bytes=-0", 10_000, Unsatisfiable),
        (b"bytes=0-", 0, Unsatisfiable),
        (b"bytes=-0", 0, Unsatisfiable),
        (b"bytes=-5", 0, Whole),
    ];
    for (value, length, expected) in cases {
        assert_eq!(get(value, *length), *expected, "{}", value.escape_ascii());
    }
}

#[test]
fn ignored_ranges() {
    let values: &[&[u8]] = &[
        b"",
        b"bytes",
        b"bytes=",
        b"bytes=,",
        b"bytes=-",
        b"bytes=5",
        b"bytes=2-1",
        b"bytes=a-b",
        b"bytes=1-b",
        b"bytes=+1-2",
        b"bytes=1--2",
        b"bytes=--1",
        b"bytes=1 - 2",
        b"bytes =1-2",
        b" bytes=1-2",
        b"bytes: 1-2",
        b"seconds=1-2",
        b"none",
        b"bytes=0-1,2-1",
        b"bytes=0-1, x",
        b"bytes=0x1-2",
        b"bytes=1-2;x",
    ];
    for value in values {
        assert_eq!(get(value, 100), Whole, "{}", value.escape_ascii());
    }
    assert_eq!(span(Method::Get, &[], 100), Whole);
    assert_eq!(span(Method::Get, &[(Field::Range, b"bytes=0-1"), (Field::Range, b"bytes=0-1")], 100), Whole);
}

// RFC 9110 §15.3.7.2: what overlaps or lies close together is one part; the order is kept.
#[test]
fn several_ranges() {
    type Case<'c> = (&'c [u8], u64, &'c [(u64, u64)]);
    let cases: &[Case<'_>] = &[
        (b"bytes=0-0,-1", 10_000, &[(0, 0), (9_999, 9_999)]),
        (b"bytes=500-600,0-10", 10_000, &[(500, 600), (0, 10)]),
        (b"bytes=0-10,500-600,5-20", 10_000, &[(0, 20), (500, 600)]),
        (b"bytes=500-600,0-10,590-700", 10_000, &[(500, 700), (0, 10)]),
        (b"bytes=0-1,82-83,1000-", 10_000, &[(0, 83), (1_000, 9_999)]),
        (b"bytes=0-1,83-84,1000-", 10_000, &[(0, 1), (83, 84), (1_000, 9_999)]),
        // The one in the middle brings both others together.
        (b"bytes=0-1,200-201,1000-,90-120", 10_000, &[(0, 1), (90, 201), (1_000, 9_999)]),
        (b"bytes=0-1,10000-,500-501", 10_000, &[(0, 1), (500, 501)]),
        (
            b"bytes=0-0,100-100,200-200,300-300,400-400,500-500,600-600,700-700",
            10_000,
            &[(0, 0), (100, 100), (200, 200), (300, 300), (400, 400), (500, 500), (600, 600), (700, 700)],
        ),
    ];
    for (value, length, expected) in cases {
        match get(value, *length) {
            Parts(parts) => assert_eq!(parts.as_slice(), *expected, "{}", value.escape_ascii()),
            other => panic!("{}: {other:?}", value.escape_ascii()),
        }
    }
    for (value, expected) in [
        (&b"bytes=0-1,2-3"[..], Part { first: 0, last: 3 }),
        (b"bytes=0-,0-,0-,0-,0-", Part { first: 0, last: 9_999 }),
        (b"bytes=0-1,20000-", Part { first: 0, last: 1 }),
        (b"bytes=20000-,-0", Unsatisfiable),
        // A ninth part.
        (b"bytes=0-0,100-100,200-200,300-300,400-400,500-500,600-600,700-700,800-800", Whole),
    ] {
        assert_eq!(get(value, 10_000), expected, "{}", value.escape_ascii());
    }
    assert_eq!(get(b"bytes=-1,-2", 0), Whole);
}

// RFC 9110 §14.2
#[test]
fn only_for_get() {
    for method in [Method::Head, Method::Post, Method::Put, Method::Options, Method::Unknown] {
        assert_eq!(span(method, &[(Field::Range, b"bytes=0-1")], 100), Whole);
        assert_eq!(span(method, &[(Field::Range, b"bytes=100-")], 100), Whole);
    }
}

// RFC 9110 §13.1.5
#[test]
fn if_range() {
    let part = Part { first: 0, last: 1 };
    let cases: &[(&[u8], RangeSelection)] = &[
        (b"\"a\"", part),
        (b"\"b\"", Whole),
        (b"W/\"a\"", Whole),
        (b"\"a\", \"b\"", Whole),
        (b"\"a\" ", Whole),
        (b"a", Whole),
        (b"*", Whole),
        (b"", Whole),
        // The exact date of the content, in both forms: another version may have had the same.
        (b"Sun, 06 Nov 1994 08:49:37 GMT", Whole),
        (b"Sun Nov  6 08:49:37 1994", Whole),
        (b"Sun, 06 Nov 1994 08:49:38 GMT", Whole),
        (b"Sun, 06 Nov 1994 08:49:36 GMT", Whole),
    ];
    for (value, expected) in cases {
        let lines = [(Field::Range, &b"bytes=0-1"[..]), (Field::IfRange, value)];
        assert_eq!(span(Method::Get, &lines, 100), *expected, "{}", value.escape_ascii());
    }
    // A client whose copy is stale gets all of the new one, even where its range lies beyond that.
    let stale = [(Field::Range, &b"bytes=100-"[..]), (Field::IfRange, b"\"b\"")];
    assert_eq!(span(Method::Get, &stale, 100), Whole);
    let twice = [(Field::Range, &b"bytes=0-1"[..]), (Field::IfRange, b"\"a\""), (Field::IfRange, b"\"a\"")];
    assert_eq!(span(Method::Get, &twice, 100), Whole);

    let mut request = Request::new(Method::Get, RequestTarget { path: b"/", query: None });
    request.fields.push(Field::Range, b"bytes=0-1").unwrap();
    request.fields.push(Field::IfRange, b"\"a\"").unwrap();
    assert_eq!(range(&request, &Validators { etag: None, last_modified: None }, 100), Whole);
}

/// The bytes of a body that a range names, found by looking at each position.
fn naive(from: Option<u128>, to: Option<u128>, length: u64) -> RangeSelection {
    let wanted = |at: u64| match (from, to) {
        (Some(from), Some(to)) => u128::from(at) >= from && u128::from(at) <= to,
        (Some(from), None) => u128::from(at) >= from,
        (None, Some(count)) => u128::from(at) + count >= u128::from(length),
        (None, None) => false,
    };
    match (from, to) {
        (None, None) => return Whole,
        (Some(from), Some(to)) if from > to => return Whole,
        (None, Some(1..)) if length == 0 => return Whole,
        _ => {}
    }
    let positions = (0..length).filter(|&at| wanted(at)).collect::<Vec<_>>();
    match positions[..] {
        [] => Unsatisfiable,
        [first, .., last] => Part { first, last },
        [only] => Part { first: only, last: only },
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn agrees_with_a_naive_oracle(
        from in proptest::option::of(prop_oneof![0..40_u128, Just(1 << 70)]),
        to in proptest::option::of(prop_oneof![0..40_u128, Just(1 << 100)]),
        length in 0..30_u64,
    ) {
        let number = |number: Option<u128>| number.map_or(String::new(), |number| number.to_string());
        let text = format!("bytes={}-{}", number(from), number(to));
        prop_assert_eq!(get(text.as_bytes(), length), naive(from, to, length), "{}", text);
    }

    #[test]
    fn several_parts_hold_what_was_asked_for_and_only_gaps_more(
        asked in proptest::collection::vec((0..3_000_u64, 0..300_u64), 2..9),
        length in 1_000..2_500_u64,
    ) {
        let list = asked.iter().map(|(first, more)| format!("{first}-{}", first + more)).collect::<Vec<_>>();
        let wanted = |at: u64| asked.iter().any(|(first, more)| at >= *first && at <= first + more);
        let sent: Vec<(u64, u64)> = match get(format!("bytes={}", list.join(",")).as_bytes(), length) {
            Parts(parts) => parts.as_slice().to_vec(),
            Part { first, last } => vec![(first, last)],
            Unsatisfiable => vec![],
            Whole => panic!("no reason to ignore this"),
        };
        let within = |at: u64| sent.iter().filter(|(first, last)| at >= *first && at <= *last).count();
        let (mut gap, mut before) = (0_u64, false);
        for at in 0..length {
            prop_assert!(within(at) <= 1, "{at} twice");
            prop_assert!(!wanted(at) || within(at) == 1, "{at} is missing");
            // Nothing is sent but what is wanted and what lies between two such parts, 80 bytes at
            // most.
            gap = if wanted(at) { 0 } else { gap + 1 };
            before |= wanted(at);
            prop_assert!(within(at) == 0 || (before && gap <= 80), "{at} is too much");
        }
    }

    #[test]
    fn a_part_lies_within(value in "(bytes=)?[-0-9, a=]{0,24}", length: u64) {
        if let Part { first, last } = get(value.as_bytes(), length) {
            prop_assert!(first <= last && last < length);
        }
    }

    #[test]
    fn anything_can_be_read(value in proptest::collection::vec(any::<u8>(), 0..40), length: u64) {
        let _ = get(&value, length);
        let _ = span(Method::Get, &[(Field::Range, b"bytes=0-"), (Field::IfRange, &value)], length);
    }
}
