//! The kernel lab: what tests of kernel TLS need to know about the kernel they run on.
//!
//! `cargo xtask vm --suite lab` boots Debian's kernels and runs these tests there. Elsewhere they
//! skip themselves.

use super::skip;
use std::collections::BTreeMap;

/// Whether this is the guest, whose kernel has TLS; otherwise the test is recorded as skipped and
/// should return. Elsewhere the counters of kernel TLS would be those of other tests too.
pub(crate) fn has_kernel_tls() -> bool {
    if !inside() {
        skip("it compares counters of the kernel; `cargo xtask vm --suite lab` runs it");
        return false;
    }
    let protocols = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_available_ulp").unwrap();
    assert!(protocols.split_whitespace().any(|name| name == "tls"), "no TLS: {protocols:?}");
    true
}

/// Whether this is the guest of `cargo xtask vm`.
pub(crate) fn inside() -> bool {
    std::env::var_os("SITAR_LAB").is_some()
}

/// Whether this is the guest, which a test may reconfigure; otherwise the test is recorded as
/// skipped and should return.
pub(crate) fn inside_or_skip() -> bool {
    if !inside() {
        skip("it changes the kernel that it runs on; `cargo xtask vm --suite lab` runs it");
    }
    inside()
}

/// The counters of kernel TLS, by name (Linux, Documentation/networking/tls.rst, "Statistics"). The
/// machine's, not of one process: compare two of these, around what no other test does meanwhile.
pub(crate) fn tls_stat() -> BTreeMap<String, u64> {
    let text = std::fs::read_to_string("/proc/net/tls_stat").unwrap();
    let counters = text.lines().filter_map(|line| {
        let (name, value) = line.split_once(char::is_whitespace)?;
        Some((name.to_owned(), value.trim().parse().unwrap()))
    });
    counters.collect()
}

/// Returns how far each counter rose while `action` ran; those that did not rise are absent.
pub(crate) fn tls_stat_rise(action: impl FnOnce()) -> BTreeMap<String, u64> {
    let before = tls_stat();
    action();
    let mut rise = tls_stat();
    rise.retain(|name, value| {
        *value = value.saturating_sub(before.get(name).copied().unwrap_or(0));
        *value > 0
    });
    rise
}

/// Major and minor version of the running kernel.
pub(crate) fn kernel() -> (u32, u32) {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse().unwrap());
    (numbers.next().unwrap(), numbers.next().unwrap())
}
