use super::*;
use proptest::prelude::*;
use std::collections::VecDeque;

#[test]
fn pieces_from_both_ends() {
    for for_many in [false, true] {
        let mut room = None;
        let pieces = Pieces::of(b"a//bc/d", b'/', for_many.then_some(&mut room));
        assert_eq!(pieces.first(), Some(&b"a"[..]));
        let mut rest = pieces.all();
        assert_eq!(rest.next_back(), Some(&b"d"[..]));
        assert_eq!(rest.next(), Some(&b"a"[..]));
        assert_eq!(rest.text(), Some(&b"/bc"[..]));
        assert_eq!(rest.next(), Some(&b""[..]));
        assert_eq!(rest.next_back(), Some(&b"bc"[..]));
        assert_eq!((rest.next(), rest.next_back(), rest.text()), (None, None, None));
        assert_eq!(Pieces::of(b"", b'/', for_many.then_some(&mut None)).first(), None);
        assert_eq!(Pieces::of(b"/", b'/', for_many.then_some(&mut None)).first(), Some(&b""[..]));
    }
}

/// Ends have 16 bits.
#[test]
fn texts_longer_than_any_path() {
    for lens in [[65_535, 3], [65_536, 3], [3, 70_000]] {
        let text = lens.map(|len| "x".repeat(len)).join(".");
        let mut room = None;
        let pieces = Pieces::of(text.as_bytes(), b'.', Some(&mut room));
        let (mut forwards, mut backwards) = (pieces.all(), pieces.all());
        let len = |piece: Option<&[u8]>| piece.map(<[u8]>::len);
        assert_eq!([len(forwards.next()), len(forwards.next())], lens.map(Some));
        assert_eq!([len(backwards.next_back()), len(backwards.next_back())], [Some(lens[1]), Some(lens[0])]);
        assert_eq!((forwards.text(), backwards.text()), (None, None));
    }
}

proptest! {
    #[test]
    fn the_same_as_a_list_of_pieces(
        count in prop_oneof![0..20_usize, 28..36_usize, 250..262_usize, 270..300_usize], lens in prop::collection::vec(0..3_usize, 300),
        moves in prop::collection::vec(any::<bool>(), 310), mostly_front: bool, for_many: bool,
    ) {
        let texts: Vec<Vec<u8>> = lens[..count].iter().map(|&len| vec![b'x'; len]).collect();
        let text = texts.join(&b'.');
        let mut list: VecDeque<&[u8]> = if text.is_empty() { VecDeque::new() } else { text.split(|&byte| byte == b'.').collect() };
        let mut room = None;
        let pieces = Pieces::of(&text, b'.', for_many.then_some(&mut room));
        prop_assert_eq!(pieces.first(), list.front().copied());
        let mut rest = pieces.all();
        for (at, &front) in moves.iter().enumerate() {
            let left = (!list.is_empty()).then(|| list.iter().copied().collect::<Vec<_>>().join(&b'.'));
            prop_assert_eq!(rest.text(), left.as_deref());
            if front || (mostly_front && at % 4 != 0) {
                prop_assert_eq!(rest.next(), list.pop_front());
            } else {
                prop_assert_eq!(rest.next_back(), list.pop_back());
            }
        }
    }
}
