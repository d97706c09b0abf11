//! Each possible mistake, with what is said about it.

use std::collections::HashSet;

use super::*;

/// The files of cases. A case is `=== TITLE`, the text of sitar.toml, then for each further file
/// `--- NAME` and its text, then `>>>` and what is printed.
const CASES: [&str; 7] = [
    include_str!("mistakes/syntax.txt"),
    include_str!("mistakes/file.txt"),
    include_str!("mistakes/server.txt"),
    include_str!("mistakes/listen.txt"),
    include_str!("mistakes/site.txt"),
    include_str!("mistakes/log.txt"),
    include_str!("mistakes/acme.txt"),
];

pub(super) struct Case {
    pub(super) title: &'static str,
    pub(super) files: Vec<(&'static str, &'static str)>,
    pub(super) printed: &'static str,
}

pub(super) fn cases() -> Vec<Case> {
    let all = CASES.iter().flat_map(|text| text.strip_prefix("=== ").unwrap().split("\n=== "));
    all.map(|case| {
        let (title, rest) = case.split_once('\n').unwrap();
        let (files, printed) = match rest.strip_prefix(">>>") {
            Some(printed) => ("", printed),
            None => rest.split_once("\n>>>").unwrap(),
        };
        let mut files = files.split("\n--- ");
        let mut all = vec![("sitar.toml", files.next().unwrap())];
        all.extend(files.map(|file| file.split_once('\n').unwrap_or((file, ""))));
        Case { title, files: all, printed: printed.trim_start_matches('\n') }
    })
    .collect()
}

#[test]
fn each_mistake_is_named_with_its_place_and_what_to_write() {
    let all = cases();
    assert!(all.len() >= 80, "{}", all.len());
    let titles: HashSet<_> = all.iter().map(|case| (case.title, case.files.clone())).collect();
    assert_eq!(titles.len(), all.len());
    let mut wrong = 0;
    for case in &all {
        let folder = Folder::new(case.files.iter().map(|(name, text)| (*name, text.as_bytes())));
        let printed = folder.problems(&[]);
        if printed.trim_end() != case.printed.trim_end() {
            println!("=== {}\n{}>>>", case.title, printed);
            wrong += 1;
        }
    }
    assert_eq!(wrong, 0);
}
