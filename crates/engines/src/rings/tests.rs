use std::cell::RefCell;
use std::io;

use super::*;

/// The configuration of a shard's ring; the smallest such ring locks 32 KiB (pages of 4 KiB).
const SHARD: Config =
    Config { connections: 8448, rx_count: 512, rx_len: 4096, tx_count: 512, tx_len: 68 << 10 };

fn memory(limit: u64, shards: u16) -> Memory {
    Memory { limit: Some(limit), shards }
}

fn no_memory() -> Unavailable {
    Unavailable::Failed("io_uring_setup", io::Error::from_raw_os_error(12))
}

#[test]
fn rings_take_half_of_what_may_be_locked() {
    if rustix::param::page_size() != 4096 {
        return;
    }
    let locked = |limit, shards| memory(limit, shards).queues(&SHARD).locked(&SHARD) >> 10;
    let usual = 8 << 20;
    // KiB for each shard.
    for (shards, each) in [(1, 1292), (3, 1292), (4, 652), (7, 332), (8, 332), (16, 172), (64, 52)] {
        assert_eq!(locked(usual, shards), each, "{shards} shards");
    }
    assert_eq!(locked(0, 1), 32);
    assert_eq!(Memory { limit: None, shards: 64 }.queues(&SHARD).locked(&SHARD) >> 10, 1292);
}

#[test]
fn the_smallest_rings_are_a_plan_of_their_own() {
    if rustix::param::page_size() != 4096 {
        return;
    }
    let shrunk = |limit, shards| memory(limit, shards).shrunk(&SHARD);
    let small = shrunk(8 << 20, 8).unwrap();
    assert_eq!((small.shards, small.queues(&SHARD).locked(&SHARD)), (8, 32 << 10));
    assert_eq!(shrunk(8 << 20, 1), None);
    // These are the smallest already.
    assert_eq!(shrunk(64 << 10, 2), None);
    assert_eq!(Memory { limit: None, shards: 8 }.shrunk(&SHARD), None);
}

#[test]
fn the_rings_of_the_process_before_are_waited_for() {
    let plan = memory(8 << 20, 2);
    let (planned, smallest) = (plan.queues(&SHARD), Queues::within(&SHARD, 0));
    // The kernel gives them back after this number of attempts.
    for (after, last) in [(1, planned), (3, planned), (6, planned), (7, smallest), (13, smallest)] {
        let asked = RefCell::new(Vec::new());
        let slept = RefCell::new(0);
        let made = plan.make_with(
            &SHARD,
            |queues| {
                asked.borrow_mut().push(queues);
                if asked.borrow().len() < after { Err(no_memory()) } else { Ok(queues) }
            },
            |pause| *slept.borrow_mut() += pause.as_millis(),
        );
        assert_eq!(made.unwrap(), last);
        assert_eq!(asked.borrow().len(), after);
        assert!(*slept.borrow() <= 1260, "{slept:?}");
    }
}

#[test]
fn what_waiting_cannot_change_is_not_waited_for() {
    let attempts = |plan: Memory, why: fn() -> Unavailable| {
        let count = RefCell::new(0);
        let made: Result<(), _> = plan.make_with(
            &SHARD,
            |_| {
                *count.borrow_mut() += 1;
                Err(why())
            },
            |_| {},
        );
        assert!(made.is_err());
        count.into_inner()
    };
    assert_eq!(attempts(memory(8 << 20, 2), no_memory), 13);
    // Memory that is short for another reason.
    assert_eq!(attempts(Memory { limit: None, shards: 2 }, no_memory), 13);
    assert_eq!(attempts(memory(0, 1), no_memory), 1);
    assert_eq!(attempts(memory(64 << 10, 7), no_memory), 1);
    assert_eq!(attempts(memory(8 << 20, 2), || Unavailable::Forbidden), 1);
    let files = || Unavailable::Failed("io_uring_setup", io::Error::from_raw_os_error(24));
    assert_eq!(attempts(memory(8 << 20, 2), files), 1);
}

#[test]
fn the_limit_is_named_where_it_is_the_reason() {
    if rustix::param::page_size() != 4096 {
        return;
    }
    let said = |plan: Memory, why: fn() -> Unavailable| {
        plan.make::<()>(&SHARD, |_| Err(why())).unwrap_err().to_string()
    };
    assert_eq!(
        said(memory(0, 1), no_memory),
        "this user may lock 0 KiB of memory (ulimit -l), and a ring needs at least 32 KiB"
    );
    assert_eq!(
        said(memory(64 << 10, 7), no_memory),
        "this user may lock 64 KiB of memory (ulimit -l), and the rings of 7 shards need at least 224 KiB"
    );
    assert_eq!(
        memory(8 << 20, 7).over(&SHARD, 8 << 20),
        "this user may lock 8192 KiB of memory (ulimit -l), and too little of it is left for the rings of 7 shards \
         of at least 224 KiB"
    );
    assert_eq!(
        said(memory(0, 1), || Unavailable::Failed("eventfd", io::Error::from_raw_os_error(24))),
        "eventfd: Too many open files (os error 24)"
    );
}

#[test]
fn only_the_first_user_namespace_frees_of_the_limit() {
    assert!(is_first_namespace("         0          0 4294967295\n"));
    assert!(!is_first_namespace("         0       1000          1\n"));
    assert!(!is_first_namespace("         0     100000      65536\n"));
    assert!(!is_first_namespace(""));
}
