//! The mutation of corpora finds what is planted, does the same for the same seed, and says what
//! failed.

use crate::mutation::{Mutator, Target, corpus, run_for};
use std::panic::catch_unwind;

const WORDS: &[&[u8]] = &[b"token", b"="];

fn mutator(seed: u64) -> Mutator {
    let inputs = [&b"first input, length\0\x04abcd"[..], b"second one with 17 and more", b""];
    Mutator::new(seed, "control", inputs.map(<[u8]>::to_vec).to_vec(), WORDS)
}

/// Returns the number of inputs up to the first that is as asked for.
fn found(is_found: impl Fn(&[u8]) -> bool) -> Option<usize> {
    let mut mutator = mutator(1);
    (0..200_000).find(|_| is_found(mutator.next()))
}

fn has(input: &[u8], wanted: &[u8]) -> bool {
    input.windows(wanted.len()).any(|window| window == wanted)
}

#[test]
fn what_is_planted_is_found() {
    let first = b"first input, length\0\x04abcd";
    for (what, position) in [
        ("a byte pair", found(|input| has(input, b"g\xa7"))),
        ("a flipped bit", found(|input| input.len() == first.len() && has(input, b"first ynput"))),
        ("a token twice", found(|input| has(input, b"tokentoken"))),
        ("a token in a certain place", found(|input| has(input, b"length=\0"))),
        ("the beginning of one and the end of another", found(|input| has(input, b"input and more"))),
        ("a cut", found(|input| input == &first[..9])),
        ("a range that is left out", found(|input| has(input, b"first length"))),
        ("a range twice", found(|input| has(input, b"input, input, "))),
        (
            "a range of another",
            found(|input| input.starts_with(b"first") && has(input, b"with") && input.ends_with(b"abcd")),
        ),
        ("a larger number", found(|input| has(input, b"with 18 and"))),
        ("a very large number", found(|input| has(input, b"with 18446744073709551615"))),
        (
            "a length that fits what follows",
            found(|input| {
                let at = input.windows(8).position(|window| window == b"length\0\x05");
                at.is_some_and(|at| input.len() == at + 8 + 5)
            }),
        ),
        ("a run of one byte", found(|input| has(input, &[0xee; 7]))),
        ("nothing", found(|input| input.is_empty())),
    ] {
        assert!(position.is_some(), "{what} was not found");
    }
}

#[test]
fn the_same_seed_makes_the_same_inputs() {
    let inputs = |seed| {
        let mut mutator = mutator(seed);
        (0..1_000).map(|_| mutator.next().to_vec()).collect::<Vec<_>>()
    };
    assert_eq!(inputs(7), inputs(7));
    assert_ne!(inputs(7), inputs(8));
    let distinct: std::collections::BTreeSet<_> = inputs(7).into_iter().collect();
    assert!(distinct.len() > 800, "{} of 1,000", distinct.len());
    assert!(distinct.iter().all(|input| input.len() <= 512), "an input without bound");
}

#[test]
fn a_property_that_does_not_hold_fails_and_its_input_is_kept() {
    // The planted fault: a byte that no input of the corpus has, and the name is another target's.
    assert!(corpus("range").values().all(|input| !input.contains(&0xa7)));
    let planted = Target {
        name: "range",
        check: |input| assert!(!input.contains(&0xa7), "the planted fault"),
        tokens: &[],
    };
    let panic = catch_unwind(|| run_for(&planted, 30)).expect_err("it is found");
    assert_eq!(panic.downcast_ref::<&str>(), Some(&"the planted fault"));
}
