use super::*;
use crate::rules::cost::steps;
use crate::rules::pattern::plain;
use proptest::prelude::*;

fn compiled(text: &str) -> Headers {
    let mut faults = Faults::new("_headers");
    let headers = Headers::compile(text.as_bytes(), &mut faults);
    assert_eq!(faults.finish(), []);
    headers
}

/// The lines of the rules that match.
fn found(headers: &Headers, subject: &Subject<'_>) -> Vec<u32> {
    headers.find(subject).map_or(Vec::new(), |set| set.rules().map(|(_, rule)| rule.number).collect())
}

/// Some 4,000,000 steps when each rule cut the path for itself.
#[test]
fn many_rules_look_at_a_long_path_once() {
    let headers = compiled(&(0..500).map(|n| format!("/:a/h{n}/*\n  X: y\n")).collect::<String>());
    let key = vec![b'a'; 8_000];
    let subject = Subject { key: &key, slash: false, authority: None };
    assert_eq!(steps(|| assert_eq!(found(&headers, &subject), [0; 0])), 8_500);
}

#[test]
fn rules_beyond_the_first_word_of_bits_are_listed_in_order() {
    let headers = compiled(
        &(0..200)
            .map(|n| format!("/{}\n  ! X-{n}\n", if n % 60 == 3 { "*" } else { "b/*" }))
            .collect::<String>(),
    );
    let subject = Subject { key: b"a", slash: false, authority: None };
    // Two lines to a rule.
    assert_eq!(found(&headers, &subject), [7, 127, 247, 367]);
}

proptest! {
    #[test]
    fn the_same_rules_match_as_if_each_were_tried(
        sources in prop::collection::vec("(https://(a|:h)\\.b)?(/([ab]{1,2}|:[xyz]|a:[xyz]b)){0,3}(/\\*|/a\\*b/c|/)", 1..20),
        path in "([ab]{1,3}/){0,4}[abc]", slash: bool, host in "[ab](\\.[ab]){0,2}(:1)?",
    ) {
        let is_source = |source: &&String| Pattern::parse(source.as_bytes()).is_ok();
        let text: String = sources.iter().filter(is_source).map(|source| format!("{source}\n  X: y\n")).collect();
        let headers = compiled(&text);
        let subject = Subject { key: path.as_bytes(), slash, authority: Some(host.as_bytes()) };
        let matching = headers.rules.iter().filter(|rule| plain::captured(&rule.source, &subject).is_some());
        let expected: Vec<u32> = matching.map(|rule| rule.number).collect();
        prop_assert_eq!(found(&headers, &subject), expected, "{}/{} of\n{}", host, path, text);
    }
}
