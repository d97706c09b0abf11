use super::*;

const URING: Needs = Needs { shards: 2, addresses: 1, sites: 1, shared: false, passed: 0 };
const EPOLL: Needs = Needs { shards: 2, addresses: 1, sites: 1, shared: true, passed: 0 };

fn limits(connections: u32) -> Limits {
    Limits { connections, ..Limits::default() }
}

fn less(connections: u32, closing: u32, files_open: usize) -> Fit {
    Fit::Less { connections, closing, files_open }
}

#[test]
fn a_ring_has_a_table_of_its_own() {
    let fit = |allowed| URING.fit(&limits(8192), allowed);
    assert_eq!(fit(8448), Fit::All);
    assert_eq!(fit(8447), less(8191, 256, 64));
    assert_eq!(fit(1024), less(896, 128, 64));
    assert_eq!(fit(256), less(224, 32, 53));
    assert_eq!(fit(128), less(112, 16, 21));
    assert_eq!(fit(64), less(56, 8, 5));
    assert_eq!(fit(60), less(53, 7, 4));
    assert_eq!(fit(59), Fit::Nothing { least: 60 });
    // Descriptors of the process, not of the tables, are short.
    let many = Needs { shards: 64, addresses: 2, sites: 1, shared: false, passed: 0 };
    assert_eq!(many.fit(&limits(64), 1024), Fit::Nothing { least: 1120 });
    assert_eq!(many.fit(&limits(64), 2048), less(1792, 256, 11));
}

#[test]
fn what_is_passed_has_descriptors_before_it_has_a_place() {
    // 64 routers, what one message has, the socket and the thread's; 16 that wait for each shard.
    let passing = Needs { passed: 2, ..EPOLL };
    let more = 2 * (64 + 8 + 2) + 2 * 16;
    assert_eq!(passing.wanted(&limits(8192)), EPOLL.wanted(&limits(8192)) + more);
    assert_eq!(passing.least(), EPOLL.least() + more);
}

#[test]
fn with_epoll_all_connections_are_descriptors_of_one_process() {
    let fit = |allowed| EPOLL.fit(&limits(8192), allowed);
    assert_eq!(EPOLL.wanted(&limits(8192)), 32 + 2 * (3 + 3) + 2 * (64 + 64 + 8192 + 256));
    assert_eq!(fit(32 + 2 * (3 + 3) + 2 * (64 + 64 + 8192 + 256)), Fit::All);
    assert_eq!(fit(16_000), less(7594, 256, 64));
    assert_eq!(fit(1024), less(322, 46, 61));
    assert_eq!(fit(256), less(70, 10, 13));
    assert_eq!(fit(92), less(14, 4, 3));
    assert_eq!(fit(91), Fit::Nothing { least: 92 });
    for allowed in 92..20_000 {
        let Fit::Less { connections, closing, files_open } = fit(allowed) else { continue };
        let used = 32 + 2 * (3 + 3) + 2 * (u64::from(connections + closing) + files_open as u64);
        assert!(used <= allowed, "{allowed}: {connections} connections use {used}");
    }
}

#[test]
fn what_was_chosen_is_said_and_what_was_asked_for_is_not_replaced() {
    let mut fitted = limits(8192);
    assert_eq!(
        apply(&mut fitted, URING, None, 1024).unwrap().unwrap(),
        "at most 896 connections in each shard instead of 8192, because no more than 1024 files may be open: raise that limit \
         by LimitNOFILE= in a systemd unit, `ulimit -Hn`, or docker run --ulimit nofile="
    );
    assert_eq!((fitted.connections, fitted.closing, fitted.files_open), (896, 128, 64));
    assert_eq!(
        apply(&mut limits(1000), URING, NonZeroU32::new(2000), 1024).unwrap_err().render(false),
        "error: the limit on open files is 1024: too low for 2000 connections\n\
         \x20 cause: at most 1792 fit, 896 in each shard\n\
         \x20 hint: raise that limit by LimitNOFILE= in a systemd unit, `ulimit -Hn`, or docker run --ulimit nofile=, or lower \
         --connections\n"
    );
    let mut asked = limits(50);
    assert_eq!(apply(&mut asked, URING, NonZeroU32::new(100), 256).unwrap(), None);
    assert_eq!((asked.connections, asked.closing), (50, 32));
    assert_eq!(
        apply(&mut limits(8192), URING, None, 32).unwrap_err().render(false),
        "error: the limit on open files is 32, and 2 shards need at least 60\n\
         \x20 hint: raise that limit by LimitNOFILE= in a systemd unit, `ulimit -Hn`, or docker run --ulimit nofile=, or start \
         fewer shards: --shards\n"
    );
    let one = Needs { shards: 1, ..URING };
    assert_eq!(
        apply(&mut limits(8192), one, None, 32).unwrap_err().render(false).lines().next(),
        Some("error: the limit on open files is 32, and 1 shard needs at least 46")
    );
    let mut all = limits(8192);
    assert_eq!(apply(&mut all, URING, None, 1 << 20).unwrap(), None);
    assert_eq!((all.connections, all.closing, all.files_open), (8192, 256, 64));
}

/// With the limits that are chosen, the sum of all that can be open is within what is allowed, and
/// there is always something for files that are sent.
#[test]
fn files_that_are_sent_get_what_is_left() {
    let chosen = |needs: Needs, connections, allowed| {
        let explicit = NonZeroU32::new(connections);
        let mut limits = wanted(explicit, NonZeroU16::new(needs.shards).unwrap());
        apply(&mut limits, needs, explicit, allowed).ok()?;
        Some(limits)
    };
    for needs in [URING, EPOLL, Needs { shards: 1, ..URING }, Needs { shards: 64, ..EPOLL }] {
        for connections in [0, 1, 64, 1000, 100_000] {
            for allowed in (0..5000).chain([8192, 20_000, 65_536, 1 << 20]) {
                let Some(limits) = chosen(needs, connections, allowed) else { continue };
                let what = format!("{needs:?}, {connections} connections, {allowed}: {limits:?}");
                assert!(needs.most(&limits) <= allowed, "{what}");
                assert!(limits.files_sent >= 2 && limits.files_spare < limits.files_sent, "{what}");
            }
        }
    }
    let files = |limits: Limits| (limits.files_open, limits.files_sent, limits.files_spare);
    let one = Needs { shards: 1, ..URING };
    // One for each connection and the spare ones, as far as there is room.
    assert_eq!(files(chosen(one, 64, 1480).unwrap()), (64, 64 + 64, 64));
    assert_eq!(files(chosen(one, 0, 20_000).unwrap()), (64, 8192 + 64, 64));
    assert_eq!(files(chosen(URING, 0, 1024).unwrap()), (64, 426, 64));
    assert_eq!(files(chosen(EPOLL, 0, 1024).unwrap()), (61, 61, 30));
}
