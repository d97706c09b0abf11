use super::*;
use crate::rules::captures::Captured;
use crate::rules::cost::steps;
use crate::rules::pattern::plain;
use proptest::prelude::*;

fn compiled(text: &str) -> Redirects {
    let mut faults = Faults::new("_redirects");
    let redirects = Redirects::compile(text.as_bytes(), &mut faults, &mut Vec::new());
    assert_eq!(faults.finish(), []);
    redirects
}

fn subject<'k>(path: &'k str, host: &'k str) -> Subject<'k> {
    let key = path.strip_prefix('/').unwrap();
    let slash = key.is_empty() || key.ends_with('/');
    let key = key.strip_suffix('/').unwrap_or(key).as_bytes();
    Subject { key, slash, authority: Some(host.as_bytes()) }
}

/// Counts the bytes of a request that are looked at and the rules that are tried until no rule has
/// applied.
fn steps_of(rule: &dyn Fn(usize) -> String, path: &str, host: &str, query: &str) -> usize {
    let rules = compiled(&(0..500).map(rule).collect::<String>());
    steps(|| assert!(rules.find(&subject(path, host), Some(query.as_bytes()), false).is_none()))
}

/// Each set of 500 rules was some 4,000,000 steps when each rule cut path, host and query for
/// itself.
#[test]
fn many_rules_look_at_a_long_request_once() {
    let long = format!("/{}", "a".repeat(8_000));
    let segments = "/a".repeat(4_000);
    let host = "h".repeat(8_000);
    let query = "id=x&".repeat(1_600);
    let placeholders = |n: usize| format!("/:a/x{n}/*/:b /y 302\n");
    let tails = |n: usize| format!("/*/:b/t{n} /y 302\n");
    let hosts = |n: usize| format!("https://:h.x{n}.example/* /y 302\n");
    let parameters = |n: usize| format!("/q id=:id p{n}=1 /y/:id 302\n");
    let values = |n: usize| format!("/q id={n} lang=x /y 302\n");
    let fallbacks = |_: usize| "/* /index.html 200\n".to_owned();
    let script = format!("/{}.js", "a".repeat(8_000));
    let deep = "/a".repeat(250);
    let (deep_long, deep_segments) = (format!("{deep}/{}", "b".repeat(7_000)), "/a".repeat(3_000));
    let deep_literals = |n: usize| format!("{}/b{n}/* /y 302\n", "/a".repeat(250));
    let deep_placeholders = |n: usize| format!("{}/:b/x{n}/* /y 302\n", "/a".repeat(250));
    let deep_hosts = |n: usize| format!("https://{}x{n}/* /y 302\n", "h.".repeat(60));
    let deep_host = format!("{}{}", "h.".repeat(60), "i".repeat(7_000));
    for (rule, path, host, query, most) in [
        // The path once, and for each rule its number and the few bytes in which it differs.
        (&placeholders as &dyn Fn(usize) -> String, &*long, "h", "", 8_000 + 500 * 4),
        (&placeholders, &segments, "h", "", 8_000 + 500 * 8),
        (&tails, &long, "h", "", 8_000 + 500 * 4),
        (&tails, &segments, "h", "", 8_000 + 500 * 8),
        // The host twice: for its port, and for its labels.
        (&hosts, "/a", &host, "", 16_000 + 500 * 4),
        (&hosts, "/a", "www.example.com", "", 500 * 8),
        (&parameters, "/q", "h", &query, 8_000 + 500 * 8),
        (&values, "/q", "h", &query, 8_000 + 500 * 8),
        // And the segments that are the same in all rules.
        (&deep_literals, &deep_long, "h", "", 7_500 + 500 * (250 + 6)),
        (&deep_literals, &deep_segments, "h", "", 7_500 + 500 * (250 + 6)),
        (&deep_placeholders, &deep_long, "h", "", 7_500 + 500 * (250 + 6)),
        (&deep_hosts, "/a", &deep_host, "", 2 * 7_120 + 500 * (60 + 6)),
        // The path twice: for its segments, and for the extension.
        (&fallbacks, &script, "h", "", 16_100 + 500 * 4),
    ] {
        let taken = steps_of(rule, path, host, query);
        assert!(taken <= most, "{taken} steps, of at most {most}: {} {}", rule(7).trim(), &path[..2]);
    }
}

#[test]
fn rules_that_begin_with_other_segments_are_not_tried() {
    let rule = |n: usize| format!("/dir{n}/:a/*/:b /y 302\n");
    assert_eq!(steps_of(&rule, "/", "h", ""), 0);
    assert_eq!(steps_of(&rule, "/css/page.css", "h", ""), 12);
    // One rule, and the segment that was compared.
    assert_eq!(steps_of(&rule, "/dir7/page.css", "h", ""), 13 + 1 + 4);
}

#[test]
fn the_order_of_the_file_counts_however_rules_are_found() {
    let rules =
        compiled("/a/b x=1 /1\n/:x/b x=2 /2\n/a/* x=3 /3\n/a/b x=4 /4\n/*/b x=5 /5\n/a/:y x=6 /6\n/a/b /7\n");
    for line in 1..=7_u32 {
        let query = format!("x={line}");
        let applied = rules.find(&subject("/a/b", "h"), Some(query.as_bytes()), false).unwrap();
        assert_eq!(applied.rule.line, line);
    }
}

/// The first rule that applies and what it captures, by trying one after the other in the plainest
/// way.
fn plainly(rules: &Redirects, subject: &Subject<'_>, query: Option<&[u8]>) -> Option<(u32, Vec<Vec<u8>>)> {
    rules.rules.iter().find_map(|rule| {
        let mut captures = plain::captured(&rule.source, subject)?;
        if rule.is_fallback() && is_asset(subject.key) {
            return None;
        }
        // A splat or a placeholder takes the target's own path.
        if let Action::Redirect { target, .. } = &rule.action
            && let Some(path) = target.local_path()
            && rule.source.fixed_path().is_none()
            && rule.parameters.is_empty()
            && path.strip_prefix(b"/").unwrap().split(|&byte| byte == b'/').next() == Some(subject.key)
        {
            return None;
        }
        for parameter in &rule.parameters {
            captures.extend(parameter.taken_plainly(query?)?);
        }
        Some((rule.line, captures))
    })
}

fn any_rule() -> impl Strategy<Value = String> {
    let segment = "[ab]{1,2}|:[xyz]|a:[xyz]b|\\*|a\\*|\\*b|a\\*b";
    let host = prop_oneof![3 => Just(""), 1 => Just("https://a.b"), 1 => Just("https://:h.b"), 1 => Just("https://:h.:i")];
    let parameters = prop::collection::vec("[pq]=([12]|:[uvw])", 0..3);
    let target = prop_oneof![Just("/y 302"), Just("/index.html 200"), Just("/a/ 301"), Just("/a 301")];
    (host, prop::collection::vec(segment, 0..4), any::<bool>(), parameters, target).prop_map(
        |(host, segments, slash, parameters, target)| {
            let slash = if slash && !segments.is_empty() { "/" } else { "" };
            format!("{host}/{}{slash} {} {target}\n", segments.join("/"), parameters.join(" "))
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn the_same_rule_applies_as_if_each_were_tried(
        rules in prop::collection::vec(any_rule(), 1..12),
        requests in prop::collection::vec(
            ("(/(a|b|ab|aab|a\\.js)){0,4}/?", "(a|b|c)(\\.(a|b|A|B)){0,2}\\.?(:1)?|\\[::1\\]|", prop::option::of("([pq]?=?[12]?&?){0,4}")), 8,
        ),
    ) {
        let mut text = String::new();
        for rule in rules {
            let mut faults = Faults::new("_redirects");
            Redirects::compile(rule.as_bytes(), &mut faults, &mut Vec::new());
            if faults.finish().is_empty() {
                text.push_str(&rule);
            }
        }
        let rules = compiled(&text);
        for (path, host, query) in &requests {
            let path = if path.is_empty() { "/" } else { path };
            let query = query.as_ref().map(String::as_bytes);
            let found = rules.find(&subject(path, host), query, false).map(|applied| {
                let captures = (0..applied.captures.len()).map(|at| match applied.captures.get(at) {
                    Captured::Plain(text) | Captured::Folder(text) | Captured::Query(text) => text.to_ascii_lowercase(),
                });
                (applied.rule.line, captures.collect::<Vec<_>>())
            });
            let expected = plainly(&rules, &subject(path, host), query).map(|(line, captures)| {
                (line, captures.iter().map(|text| text.to_ascii_lowercase()).collect::<Vec<_>>())
            });
            prop_assert_eq!(found, expected, "{} {} {:?} of\n{}", path, host, query, text);
        }
    }
}
