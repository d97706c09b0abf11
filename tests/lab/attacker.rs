//! The attacker on the kernels of the lab, whose layers differ.

use crate::common::lab;
use crate::sandbox::every_attempt_from_a_worker_is_refused_and_counted;

#[test]
fn from_a_worker_every_attempt_is_refused_there_too() {
    if lab::inside_or_skip() {
        every_attempt_from_a_worker_is_refused_and_counted();
    }
}
