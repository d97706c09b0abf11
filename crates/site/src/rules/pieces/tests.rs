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

proptest! {
    #[test]
    fn the_same_as_a_list_of_pieces(
        count in prop_oneof![0..20_usize, 28..36_usize, 40..90_usize], lens in prop::collection::vec(0..3_usize, 90),
        moves in prop::collection::vec(any::<bool>(), 100), mostly_front: bool, for_many: bool,
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
