//! Any bytes: no panic, and a place in the file for each problem.

use proptest::prelude::*;

use super::accepted::FULL;
use super::*;
use crate::config::properties::config;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        config(&bytes);
    }

    #[test]
    fn no_text_panics(text in "([a-z_]{0,8}|[=\\[\\]{}\",.#'\n\\\\ ]|[0-9a-fx._-]{0,5}|\\PC){0,60}") {
        config(text.as_bytes());
    }

    #[test]
    fn no_change_of_a_right_one_panics(at in 0..FULL.len(), end in 0..40_usize, with in "[=\\[\\]{}\",.#'\n\\\\ a0é-]{0,4}") {
        let (head, tail) = FULL.as_bytes().split_at(at);
        let mut bytes = head.to_vec();
        bytes.extend(with.as_bytes());
        bytes.extend(&tail[end.min(tail.len())..]);
        config(&bytes);
    }
}

#[test]
fn the_cases_hold_the_property() {
    for case in mistakes::cases() {
        for (_, text) in case.files {
            config(text.as_bytes());
        }
    }
    config(FULL.as_bytes());
    config(b"");
    assert_eq!(DEFAULT_FILE, "/etc/sitar/sitar.toml");
}
