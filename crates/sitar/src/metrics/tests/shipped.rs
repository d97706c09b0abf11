//! The dashboard and the alert rules that come with sitar name metrics and labels that are shown.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{Format, facts, text};

const DASHBOARD: &str = include_str!("../../../../../dist/grafana/sitar.json");
const RULES: &str = include_str!("../../../../../dist/prometheus/sitar.rules.yml");
/// Labels of Prometheus itself.
const OF_PROMETHEUS: [&str; 2] = ["instance", "job"];
/// Labels whose values are fixed, so that those that are asked for have to be shown.
const FIXED: [&str; 6] = ["state", "use", "reason", "version", "resumed", "method"];
/// Columns of the grid of Grafana.
const COLUMNS: u64 = 24;

/// The labels of each metric that is shown, with their values.
fn shown() -> BTreeMap<String, BTreeMap<String, BTreeSet<String>>> {
    let mut metrics: BTreeMap<String, BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
    for line in text(&facts(), Format::Prometheus).lines().filter(|line| !line.starts_with('#')) {
        let (series, _) = line.rsplit_once(' ').unwrap();
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let metric = metrics.entry(name.to_owned()).or_default();
        for (label, _, value) in matchers(labels.trim_end_matches('}')) {
            metric.entry(label.to_owned()).or_default().insert(value.to_owned());
        }
    }
    metrics
}

/// Returns the labels of a selector, with operators and values. No value here has a quote in it.
fn matchers(selector: &str) -> Vec<(&str, &str, &str)> {
    let mut parts = selector.split('"');
    let mut matchers = Vec::new();
    while let (Some(before), Some(value)) = (parts.next(), parts.next()) {
        let before = before.trim_start_matches([',', ' ']);
        let name = before.find(|character: char| !is_name(character)).unwrap();
        matchers.push((&before[..name], &before[name..], value));
    }
    matchers
}

fn is_name(character: char) -> bool {
    character.is_ascii_alphanumeric() || character == '_'
}

/// Returns the metrics of a query, and what is selected of each.
fn metrics(query: &str) -> Vec<(&str, &str)> {
    let begins = |(at, _): &(usize, &str)| !query[..*at].ends_with(is_name);
    query
        .match_indices("sitar_")
        .filter(begins)
        .map(|(at, _)| {
            let rest = &query[at..];
            let end = rest.find(|character: char| !is_name(character)).unwrap_or(rest.len());
            let (name, rest) = rest.split_at(end);
            let selector = rest.strip_prefix('{').map_or("", |rest| rest.split_once('}').unwrap().0);
            (name, selector)
        })
        .collect()
}

/// Returns the labels that a query groups by.
fn groups(query: &str) -> Vec<&str> {
    let lists = ["by (", "without (", "ignoring ("].into_iter().flat_map(|word| query.split(word).skip(1));
    let labels = lists.flat_map(|rest| rest.split_once(')').unwrap().0.split(','));
    labels.map(str::trim).collect()
}

/// Asserts that a query names what is shown. Returns the labels of its metrics.
fn check(query: &str) -> BTreeSet<String> {
    let shown = shown();
    let used = metrics(query);
    assert!(!used.is_empty() || query.starts_with("up{"), "no metric in {query}");
    let mut all: BTreeSet<String> = OF_PROMETHEUS.map(str::to_owned).into();
    for (name, selector) in used {
        let labels = shown.get(name).unwrap_or_else(|| panic!("{name} is not shown: {query}"));
        all.extend(labels.keys().cloned());
        for (label, operator, value) in matchers(selector) {
            if OF_PROMETHEUS.contains(&label) {
                continue;
            }
            let values = labels.get(label).unwrap_or_else(|| panic!("{name} has no {label}: {query}"));
            if operator == "=" && FIXED.contains(&label) {
                assert!(values.contains(value), "{name} has no {label}={value}: {query}");
            }
        }
    }
    for label in groups(query) {
        assert!(all.contains(label), "no {label} in {query}");
    }
    all
}

/// Returns the names in `{{…}}`.
fn placeholders<'t>(text: &'t str, before: &str) -> Vec<&'t str> {
    let parts = text.split("{{").skip(1).map(|rest| rest.split_once("}}").unwrap().0.trim());
    parts.filter_map(|part| part.strip_prefix(before)).collect()
}

#[test]
fn what_the_dashboard_asks_for_is_shown() {
    let board: Value = serde_json::from_str(DASHBOARD).unwrap();
    let mut queries = 0;
    for panel in board["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().unwrap() {
            let labels = check(target["expr"].as_str().unwrap());
            for label in placeholders(target["legendFormat"].as_str().unwrap(), "") {
                assert!(labels.contains(label), "no {label} in {target}");
            }
            queries += 1;
        }
    }
    assert!(queries >= 20, "{queries}");
    let variables = board["templating"]["list"].as_array().unwrap();
    let names: Vec<_> = variables.iter().map(|variable| variable["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["datasource", "instance", "site"]);
    for variable in &variables[1..] {
        let query = variable["definition"].as_str().unwrap();
        let label = query.rsplit_once(", ").unwrap().1.trim_end_matches(')');
        assert!(check(query).contains(label), "{query}");
    }
}

#[test]
fn the_panels_of_the_dashboard_lie_beside_each_other() {
    let board: Value = serde_json::from_str(DASHBOARD).unwrap();
    let (mut ids, mut taken) = (BTreeSet::new(), BTreeSet::new());
    for panel in board["panels"].as_array().unwrap() {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "twice: {}", panel["id"]);
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{}", panel["title"]);
        let at = |name: &str| panel["gridPos"][name].as_u64().unwrap();
        assert!(at("x") + at("w") <= COLUMNS, "{}", panel["title"]);
        for y in at("y")..at("y") + at("h") {
            for x in at("x")..at("x") + at("w") {
                assert!(taken.insert((x, y)), "{} is over another one", panel["title"]);
            }
        }
    }
}

#[test]
fn what_the_alert_rules_ask_for_is_shown() {
    let mut rules = 0;
    for rule in RULES.split("- alert: ").skip(1) {
        let (_, rest) = rule.split_once("expr:").unwrap();
        let (query, rest) = rest.split_once("for: ").unwrap();
        let query = query.trim().trim_start_matches(">-").trim();
        let labels = check(query);
        for label in placeholders(rest, "$labels.") {
            assert!(labels.contains(label), "no {label} in {query}");
        }
        for part in ["severity: ", "summary: ", "description: "] {
            assert!(rest.contains(part), "{rule} has no {part}");
        }
        rules += 1;
    }
    assert_eq!(rules, 11);
}

#[test]
fn a_query_for_something_else_is_found() {
    for query in [
        "sum(sitar_http_request_total)",
        "rate(sitar_http_requests_total{status=\"200\"}[5m])",
        "sitar_connections{state=\"opened\"}",
        "sum by (path) (sitar_http_requests_total)",
    ] {
        assert!(std::panic::catch_unwind(|| check(query)).is_err(), "{query}");
    }
    assert!(check("sum by (site) (sitar_http_requests_total{code=\"200\"})").contains("site"));
}
