use std::collections::BTreeMap;

use sitar_http::Method;

use super::*;
use crate::snapshot::{Host, HostContent};

fn hosts(names: &[&str]) -> Hosts {
    let host = |name: &&str| Host::new(vec![(*name).to_owned()], HostContent::Unavailable);
    Hosts::new(names.iter().map(host).collect()).unwrap()
}

fn place(hosts: &Hosts, name: &str) -> Option<HostId> {
    hosts.iter().find(|(_, host)| &*host.label == name).map(|(id, _)| id)
}

fn labels(site: Option<HostId>, method: Method) -> RequestLabels {
    let labels = RequestLabels::of(method.into());
    site.map_or(labels, |host| labels.at(host))
}

/// Counts one answer to a GET over HTTP/1.1.
fn answer(numbers: &Numbers, site: Option<HostId>, status: Status, content: u64) {
    numbers.answered(labels(site, Method::Get), HttpVersion::Http11, status, content);
}

/// Returns how many answers each site has given, and their bytes.
fn totals(shards: &[Arc<ShardNumbers>]) -> BTreeMap<String, (u64, u64)> {
    let sum = WorkerNumbers::sum(shards, 0);
    let total = |site: &SiteNumbers| site.answers.iter().map(|answers| answers.count).sum();
    sum.sites.iter().map(|site| (site.name.to_string(), (total(site), site.content))).collect()
}

fn expected(sites: &[(&str, u64, u64)]) -> BTreeMap<String, (u64, u64)> {
    sites.iter().map(|&(name, answers, content)| (name.to_owned(), (answers, content))).collect()
}

#[test]
fn answers_are_counted_by_site_status_method_and_version() {
    let hosts = hosts(&["a.test", "b.test"]);
    let shards: [Arc<ShardNumbers>; 2] = Default::default();
    let numbers = shards.each_ref().map(|shard| Numbers::new(Arc::clone(shard), &hosts));
    let (a, b) = (place(&hosts, "a.test"), place(&hosts, "b.test"));
    numbers[0].answered(labels(a, Method::Head), HttpVersion::Http10, Status::OK, 0);
    for shard in [&numbers[0], &numbers[1], &numbers[1]] {
        answer(shard, a, Status::OK, 100);
    }
    numbers[1].answered(labels(a, Method::Post), HttpVersion::Http2, Status::METHOD_NOT_ALLOWED, 7);
    answer(&numbers[1], b, Status::HTTP_VERSION_NOT_SUPPORTED, 1);
    numbers[0].answered(RequestLabels::UNKNOWN, HttpVersion::Http11, Status::BAD_REQUEST, 3);
    let sum = WorkerNumbers::sum(&shards, 9);
    let shown: Vec<String> = sum
        .sites
        .iter()
        .flat_map(|site| {
            site.answers.iter().map(move |one| {
                let (method, version) = (one.method.name(), one.version.name());
                format!("{} {} {method} {version} {}", site.name, one.status.code(), one.count)
            })
        })
        .collect();
    assert_eq!(
        shown,
        [
            " 400 other 1.1 1",
            "a.test 200 get 1.1 3",
            "a.test 200 head 1.0 1",
            "a.test 405 other 2 1",
            "b.test 505 get 1.1 1",
        ]
    );
    let content: Vec<u64> = sum.sites.iter().map(|site| site.content).collect();
    assert_eq!((content, sum.bodies), (vec![3, 307, 1], 9));
}

#[test]
fn the_last_of_the_most_hosts_has_its_own_numbers() {
    let names: Vec<String> = (0..Hosts::MAX).map(|number| format!("{number}.test")).collect();
    let hosts = hosts(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let shard = Arc::<ShardNumbers>::default();
    let numbers = Numbers::new(Arc::clone(&shard), &hosts);
    for (method, content) in [(Method::Get, 1), (Method::Head, 2), (Method::Unknown, 4)] {
        let labels = labels(place(&hosts, "4095.test"), method);
        numbers.answered(labels, HttpVersion::Http2, Status::OK, content);
    }
    let sum = WorkerNumbers::sum(&[Arc::clone(&shard)], 0);
    let last = sum.sites.iter().find(|site| &*site.name == "4095.test").unwrap();
    assert_eq!(last.answers.iter().map(|one| one.method).collect::<Vec<_>>(), CountedMethod::ALL);
    let totals = totals(&[shard]);
    assert_eq!((totals["4095.test"], totals["0.test"], totals[""]), ((3, 7), (0, 0), (0, 0)));
}

#[test]
fn each_status_has_its_own_counters() {
    let hosts = hosts(&["a.test"]);
    let shard = Arc::<ShardNumbers>::default();
    let numbers = Numbers::new(Arc::clone(&shard), &hosts);
    let statuses: Vec<Status> = (0..=u16::MAX).filter_map(Status::from_code).collect();
    for (status, times) in statuses.iter().zip(1..) {
        (0..times).for_each(|_| answer(&numbers, place(&hosts, "a.test"), *status, 0));
    }
    let sum = WorkerNumbers::sum(&[shard], 0);
    let counted: Vec<(Status, u64)> =
        sum.sites[1].answers.iter().map(|one| (one.status, one.count)).collect();
    assert_eq!(counted, statuses.into_iter().zip(1..).collect::<Vec<_>>());
}

#[test]
fn a_site_of_the_same_name_counts_on_after_a_reload() {
    let shard = Arc::<ShardNumbers>::default();
    let before = hosts(&["a.test", "b.test"]);
    let mut numbers = Numbers::new(Arc::clone(&shard), &before);
    answer(&numbers, place(&before, "a.test"), Status::OK, 1);
    answer(&numbers, place(&before, "b.test"), Status::OK, 2);
    // At other places.
    let after = hosts(&["c.test", "b.test", "a.test"]);
    numbers.take_up(&after);
    answer(&numbers, place(&after, "b.test"), Status::NOT_FOUND, 4);
    assert_eq!(
        totals(&[Arc::clone(&shard)]),
        expected(&[("", 0, 0), ("a.test", 1, 1), ("b.test", 2, 6), ("c.test", 0, 0)])
    );
    // One that is gone keeps what it has counted, and comes back to it; so does another shard's.
    numbers.take_up(&hosts(&["c.test"]));
    numbers.take_up(&before);
    answer(&numbers, place(&before, "a.test"), Status::OK, 8);
    drop(numbers);
    let again = Numbers::new(Arc::clone(&shard), &before);
    answer(&again, place(&before, "a.test"), Status::OK, 16);
    assert_eq!(
        totals(&[shard]),
        expected(&[("", 0, 0), ("a.test", 3, 25), ("b.test", 2, 6), ("c.test", 0, 0)])
    );
}

#[test]
fn reloads_with_ever_other_names_do_not_make_it_grow() {
    let shard = Arc::<ShardNumbers>::default();
    let first = hosts(&["stays.test"]);
    let mut numbers = Numbers::new(Arc::clone(&shard), &first);
    answer(&numbers, place(&first, "stays.test"), Status::OK, 1);
    for round in 0..10 {
        let names: Vec<String> = (0..1000).map(|number| format!("{round}-{number}.test")).collect();
        let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
        names.push("stays.test");
        numbers.take_up(&hosts(&names));
        assert!(shard.sites().len() <= 4096, "{} sites", shard.sites().len());
    }
    assert_eq!(totals(&[shard])["stays.test"], (1, 1));
}

#[test]
fn what_a_host_of_no_snapshot_answers_is_no_sites() {
    let shard = Arc::<ShardNumbers>::default();
    let two = hosts(&["a.test", "b.test"]);
    let numbers = Numbers::new(Arc::clone(&shard), &hosts(&["a.test"]));
    answer(&numbers, place(&two, "b.test"), Status::OK, 5);
    assert_eq!(totals(&[shard]), expected(&[("", 1, 5), ("a.test", 0, 0)]));
}

#[test]
fn handshakes_and_the_state_of_the_ring() {
    let shards: [Arc<ShardNumbers>; 2] = Default::default();
    let mut numbers = shards.each_ref().map(|shard| Numbers::new(Arc::clone(shard), &hosts(&["a.test"])));
    for (version, is_resumed) in [(Version::Tls13, true), (Version::Tls12, false), (Version::Tls13, true)] {
        numbers[0].negotiated(version, is_resumed);
    }
    numbers[1].negotiated(Version::Tls13, false);
    let stats = |calls, tx_free| Stats { calls, tx_free, connections: 0, ops: 0, rx_leased: 0 };
    numbers[0].note(&stats(10, 7), 8, 100);
    numbers[0].note(&stats(15, 6), 8, 300);
    numbers[1].note(&stats(2, 8), 8, 0);
    // The ring of a shard that is started again counts from the beginning.
    let mut again = Numbers::new(Arc::clone(&shards[1]), &hosts(&["a.test"]));
    again.note(&stats(3, 5), 8, 20);
    let sum = WorkerNumbers::sum(&shards, 0);
    let handshakes: Vec<_> = sum.handshakes.iter().map(|one| (one.version, one.whole, one.resumed)).collect();
    assert_eq!(handshakes, [(Version::Tls12, 1, 0), (Version::Tls13, 1, 2)]);
    assert_eq!(sum.counts.handshakes, 4);
    assert_eq!((sum.calls, sum.send_buffers, sum.send_buffers_free, sum.held), (20, 16, 11, 320));
    shards[0].rest();
    let sum = WorkerNumbers::sum(&shards, 0);
    assert_eq!((sum.calls, sum.send_buffers, sum.send_buffers_free, sum.held), (20, 8, 5, 20));
}
