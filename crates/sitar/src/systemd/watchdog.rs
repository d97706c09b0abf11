//! sd_watchdog_enabled(3): how often the service manager wants to hear that all is well.

use std::ffi::OsStr;
use std::time::Duration;

/// Returns how often to send [`Notify::watchdog`](super::Notify::watchdog): half of the time after
/// which the service manager ends the process. `None`: it does not ask for it.
#[must_use]
pub fn interval() -> Option<Duration> {
    let variable = |name| std::env::var_os(name);
    let (micros, pid) = (variable(super::WATCHDOG_USEC), variable(super::WATCHDOG_PID));
    interval_of(micros.as_deref(), pid.as_deref(), std::process::id())
}

/// A watchdog for another process, which has passed its environment on, is none of this one's.
fn interval_of(micros: Option<&OsStr>, pid: Option<&OsStr>, own: u32) -> Option<Duration> {
    if pid.is_some_and(|pid| pid.to_str().and_then(|pid| pid.parse().ok()) != Some(own)) {
        return None;
    }
    let micros: u64 = micros?.to_str()?.parse().ok()?;
    (micros > 0).then(|| Duration::from_micros(micros / 2).max(Duration::from_micros(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_time_and_only_for_this_process() {
        let of = |micros: Option<&str>, pid: Option<&str>| {
            interval_of(micros.map(OsStr::new), pid.map(OsStr::new), 42)
        };
        assert_eq!(of(Some("30000000"), Some("42")), Some(Duration::from_secs(15)));
        assert_eq!(of(Some("30000000"), None), Some(Duration::from_secs(15)));
        assert_eq!(of(Some("1"), None), Some(Duration::from_micros(1)));
        for (micros, pid) in [
            (None, Some("42")),
            (Some("30000000"), Some("43")),
            (Some("30000000"), Some("")),
            (Some("0"), Some("42")),
            (Some("-1"), None),
            (Some("30s"), None),
            (Some("99999999999999999999"), None),
        ] {
            assert_eq!(of(micros, pid), None, "{micros:?} {pid:?}");
        }
    }
}
