//! Tests that look at this process's memory, each in a process of its own.

use super::memory::Snapshot;
use super::skip::{name_of_this_test, skip};
use std::process::Command;

/// Returns whether the test runs in a process of its own, where no other changes the memory.
/// Otherwise it has been run in one, and has passed.
pub(crate) fn is_alone() -> bool {
    let name = "SITAR_TLS_TEST_ALONE";
    if std::env::var_os(name).is_some() {
        return true;
    }
    let mut child = Command::new(std::env::current_exe().unwrap());
    let output =
        child.args(["--exact", &name_of_this_test(), "--nocapture"]).env(name, "1").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("1 passed"), "see above");
    false
}

/// Returns this process's memory; `None` where it may not be read, and the test is listed as
/// skipped.
pub(crate) fn snapshot() -> Option<Snapshot> {
    Snapshot::of_self().map_err(|error| skip(&format!("/proc/self/mem: {error}"))).ok()
}

#[test]
fn what_is_in_memory_is_found() {
    if !is_alone() {
        return;
    }
    let kept: Vec<u8> = (0..32_u8).map(|at| at.wrapping_mul(37) ^ 0x6B).collect();
    for _ in 0..2 {
        let Some(snapshot) = snapshot() else { return };
        assert_eq!(snapshot.find(&[("kept", kept.clone())]), [("kept", 2)]);
    }
    let Some(snapshot) = snapshot() else { return };
    let missing = (0..32_u8).map(|at| at.wrapping_mul(41) ^ 0x6B).collect();
    let secrets = [("missing", missing), ("kept", kept)];
    assert_eq!(snapshot.count(&secrets), [("missing", 0), ("kept", 2)]);
}
