//! One suite for all engines on the real kernel: each operation once, and the invariants I2 to I7
//! under awkward circumstances. What is one engine's own is at the end.

mod bench;
mod datagrams;
mod files;
mod leases;
mod limits;
mod lives;
mod names;
mod refusals;
mod transfers;

use std::io::Write;
use std::time::Duration;

use bench::{Bench, SMALL, Setup};
use sitar_io::sim::{Faults, Sim, World};
use sitar_io::{Config, Epoll, Queues, Ring, SqPoll, Uring};

pub(crate) struct OnUring;

impl Setup for OnUring {
    type Engine = Uring;
    fn ring(config: &Config) -> Result<Ring<Uring>, String> {
        Ring::uring(config).map_err(|why| why.to_string())
    }
}

/// With the smallest queues: what does not fit waits in the kernel, and is not lost.
pub(crate) struct OnSmallUring;

impl Setup for OnSmallUring {
    type Engine = Uring;
    fn ring(config: &Config) -> Result<Ring<Uring>, String> {
        Ring::uring_with(config, Queues::within(config, 0)).map_err(|why| why.to_string())
    }
}

pub(crate) struct OnEpoll;

impl Setup for OnEpoll {
    type Engine = Epoll;
    fn ring(config: &Config) -> Result<Ring<Epoll>, String> {
        Ring::epoll(config).map_err(|why| why.to_string())
    }
}

/// With both sides going to sleep early, so that waking each other is part of every case.
pub(crate) struct OnSqPoll;

impl Setup for OnSqPoll {
    type Engine = Uring;
    const BEGINS_AT_ONCE: bool = false;
    fn ring(config: &Config) -> Result<Ring<Uring>, String> {
        let poll = SqPoll { spin: Duration::from_micros(50), idle: Duration::from_millis(2), cpu: None };
        Ring::sqpoll(config, &poll).map_err(|why| why.to_string())
    }
}

/// A module of tests: every case of the suite on one engine.
macro_rules! conformance {
    ($name:ident, $engine:ty) => {
        mod $name {
            cases! { $engine:
                transfers::bytes_go_both_ways_and_everything_comes_back,
                transfers::regions_and_gathered_pieces_are_sent_whole_to_a_slow_reader,
                transfers::receiving_stops_on_request_and_starts_again,
                transfers::a_reset_is_an_error_of_the_connection,
                transfers::the_peer_is_known_by_its_address,
                transfers::the_peer_is_known_by_its_ipv6_address,
                transfers::another_thread_wakes_it_and_a_deadline_ends_the_wait,
                transfers::bytes_before_the_end_are_not_lost,
                transfers::sends_that_were_queued_together_leave_in_order,
                transfers::sends_that_have_to_wait_leave_in_order,
                transfers::sends_that_were_queued_end_with_their_connection,
                transfers::a_send_that_waits_can_be_cancelled,
                transfers::a_send_of_gigabytes_is_begun,
                transfers::room_is_told_when_there_is_some,
                transfers::what_is_submitted_gives_its_slot_back_early,
                files::what_is_read_at_once_is_reported_first,
                transfers::a_flood_does_not_starve_the_others,
                transfers::options_are_set_and_a_record_needs_a_kernel_that_seals,
                files::files_are_read_into_slots_and_regions,
                files::files_are_read_in_runs,
                files::what_is_not_in_memory_is_read_whole,
                files::files_that_the_kernel_makes_up_are_read,
                files::a_long_read_that_has_to_wait_is_whole,
                files::reads_that_are_cancelled_or_lose_their_ring_end,
                files::a_file_that_cannot_be_read_says_why,
                datagrams::datagrams_go_both_ways_with_their_addresses,
                datagrams::datagrams_go_over_ipv6,
                datagrams::one_send_is_cut_into_datagrams,
                datagrams::what_the_kernel_does_not_cut_or_send_is_an_error,
                datagrams::datagrams_may_arrive_together,
                datagrams::a_datagram_longer_than_its_slot_says_so,
                datagrams::without_receive_slots_datagrams_wait_in_the_socket,
                datagrams::receiving_datagrams_is_cancelled_and_ends_with_the_ring,
                datagrams::a_socket_on_two_rings_is_received_from_once_on_each,
                datagrams::datagrams_that_lost_their_ends_say_so,
                datagrams::what_is_no_datagram_socket_is_refused,
                names::files_are_found_by_name_below_a_directory_only,
                names::many_files_are_opened_and_looked_at_at_once,
                names::opened_files_that_nobody_takes_are_closed,
                names::a_pipe_without_a_writer_holds_nothing_up,
                lives::a_close_waits_for_what_is_in_flight,
                lives::dropped_events_lose_no_slot_and_no_descriptor,
                lives::what_is_sent_before_a_shutdown_leaves_before_it,
                lives::accepting_can_be_cancelled_and_resumed,
                lives::a_connection_that_was_accepted_elsewhere_is_one_like_others,
                lives::what_is_adopted_into_a_full_table_is_closed,
                lives::dropping_a_ring_ends_everything_in_flight,
                #[should_panic(expected = "a ring that did not accept it")]
                lives::a_connection_of_another_ring_is_refused,
                limits::without_receive_slots_nothing_is_lost,
                limits::a_full_file_table_ends_accepting_and_a_closed_connection_lets_it_go_on,
                limits::a_full_op_table_hands_everything_back,
                limits::a_full_op_table_closes_its_connections,
                limits::a_full_op_table_stops_receiving,
                limits::a_full_op_table_cancels_everything,
                limits::a_full_op_table_lets_its_ring_go,
                limits::limits_that_cannot_be_had_are_named,
                limits::sizes_that_mean_nothing_are_refused,
                leases::a_panic_in_a_queued_send_leaves_its_connection_closing,
                leases::a_panic_while_a_ring_is_dropped_leaves_nothing_behind,
                leases::a_panic_while_a_ring_unwinds_is_the_first_one,
                refusals::a_refused_send_holds_up_no_other,
                refusals::offsets_that_no_file_has_are_refused,
                refusals::a_datagram_socket_needs_its_slots_on_every_ring,
            }
        }
    };
}

macro_rules! cases {
    ($engine:ty: $($(#[$attribute:meta])* $module:ident::$case:ident,)*) => {
        $(
            #[test]
            $(#[$attribute])*
            fn $case() {
                crate::conformance::$module::$case::<$engine>();
            }
        )*
    };
}

conformance!(uring, crate::conformance::OnUring);
conformance!(small_uring, crate::conformance::OnSmallUring);
conformance!(sqpoll, crate::conformance::OnSqPoll);
conformance!(epoll, crate::conformance::OnEpoll);

/// A world of its own has no place for real sockets: files, the waker and the tables are what it
/// has in common with the kernel. Its network is tested beside its code and by the seeds.
pub(crate) struct OnSim;

impl Setup for OnSim {
    type Engine = Sim;
    fn ring(config: &Config) -> Result<Ring<Sim>, String> {
        let world = World::with(1, Faults::none());
        world.set_outside(Duration::from_millis(100));
        Ring::sim(config, &world).map_err(|why| why.to_string())
    }
}

mod sim {
    cases! { crate::conformance::OnSim:
        transfers::another_thread_wakes_it_and_a_deadline_ends_the_wait,
        files::files_are_read_into_slots_and_regions,
        files::files_are_read_in_runs,
        files::what_is_not_in_memory_is_read_whole,
        files::files_that_the_kernel_makes_up_are_read,
        files::a_long_read_that_has_to_wait_is_whole,
        files::reads_that_are_cancelled_or_lose_their_ring_end,
        files::a_file_that_cannot_be_read_says_why,
        names::files_are_found_by_name_below_a_directory_only,
        names::many_files_are_opened_and_looked_at_at_once,
        names::opened_files_that_nobody_takes_are_closed,
        names::a_pipe_without_a_writer_holds_nothing_up,
        limits::a_full_op_table_hands_everything_back,
        limits::a_full_op_table_cancels_everything,
        limits::a_full_op_table_lets_its_ring_go,
        limits::limits_that_cannot_be_had_are_named,
        limits::sizes_that_mean_nothing_are_refused,
        refusals::offsets_that_no_file_has_are_refused,
    }
}

#[test]
fn on_uring_one_wait_is_one_system_call_however_much_was_queued() {
    let mut b = Bench::<OnUring>::new(Config { connections: 64, rx_count: 64, tx_count: 64, ..SMALL });
    let mut pairs = Vec::new();
    for key in 0..50 {
        pairs.push(b.accept(key));
    }
    for (client, conn) in &mut pairs {
        b.ring.recv(conn).unwrap();
        client.write_all(b"x").unwrap();
    }
    let before = b.ring.stats().calls;
    b.ring.wait(None).unwrap();
    assert_eq!(b.ring.stats().calls - before, 1);
    let mut got = 0;
    while b.ring.next().is_some() {
        got += 1;
    }
    assert!(got > 1, "several completions from one call");
}

/// Registered once: an answer on a warm connection costs a look, a receive and a send, and no
/// change of the interest list.
#[test]
fn on_epoll_an_answer_costs_three_system_calls() {
    let mut b = Bench::<OnEpoll>::new(SMALL);
    let (mut client, conn) = b.accept(1);
    b.ring.recv(&conn).unwrap();
    for _ in 0..3 {
        b.echo(&mut client, &conn, 1);
    }
    let before = b.ring.stats().calls;
    for _ in 0..100 {
        b.echo(&mut client, &conn, 1);
    }
    let spent = b.ring.stats().calls - before;
    assert!((300..=310).contains(&spent), "{spent} calls for 100 answers");
}
