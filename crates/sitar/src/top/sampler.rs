//! Asks the server again and again, on a thread of its own.

use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::admin::{self, Request, Totals, ask, read_status, read_totals};
use crate::error::Error;

/// What the server warns of is asked for this often: it takes the worker more than its numbers do.
const WARNINGS: Duration = Duration::from_secs(10);

/// What a server has said at a time.
pub(super) struct Sample {
    pub(super) totals: Totals,
    /// What it warns of.
    pub(super) warnings: Vec<String>,
}

/// Asks once. The warnings are empty where they are not wanted, or cannot be had.
///
/// # Errors
/// No server answers, or its answer is not understood.
pub(super) fn sample(path: &Path, with_warnings: bool) -> Result<Sample, Error> {
    // First, since the time of the sample is that of its numbers.
    let totals = || {
        let answer = ask(path, &Request::Numbers)?;
        read_totals(&answer).ok_or_else(|| admin::other_version(path, &answer))
    };
    let totals = totals()?;
    let mut warnings = Vec::new();
    // Of a worker that is silent it would be waited for.
    if with_warnings && totals.is_up {
        let status = ask(path, &Request::Status).ok().and_then(|answer| read_status(&answer));
        warnings = status.map(|status| status.warnings).unwrap_or_default();
    }
    Ok(Sample { totals, warnings })
}

/// The thread that asks.
pub(super) struct Sampler(Receiver<Result<Sample, Error>>);

impl Sampler {
    /// Asks at an interval after the first sample, for as long as the program runs. `waker` is
    /// written to for each sample.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub(super) fn start(
        path: &Path,
        interval: Duration,
        mut waker: UnixStream,
        first: &Sample,
    ) -> Result<Sampler, Error> {
        let path = path.to_owned();
        let mut warnings = first.warnings.clone();
        let mut warned_at = first.totals.is_up.then(Instant::now);
        // One that is not taken holds up the next.
        let (sender, receiver) = sync_channel(1);
        let run = move || {
            // Rates of two looks at once would be those of a moment, and shown for the interval.
            let mut pause = interval;
            loop {
                thread::sleep(pause);
                let start = Instant::now();
                let is_due = warned_at.is_none_or(|at| at.elapsed() >= WARNINGS);
                let sampled = sample(&path, is_due).map(|mut sample| {
                    if is_due && sample.totals.is_up {
                        warned_at = Some(Instant::now());
                        warnings.clone_from(&sample.warnings);
                    } else {
                        sample.warnings.clone_from(&warnings);
                    }
                    sample
                });
                if sender.send(sampled).is_err() {
                    return;
                }
                // What is not read there wakes all the same.
                let _ = waker.write(&[0]);
                pause = interval.saturating_sub(start.elapsed());
            }
        };
        let thread = thread::Builder::new().name("sitar-top".into()).spawn(run);
        thread.map_err(|error| Error::new("cannot start a thread").cause(error))?;
        Ok(Sampler(receiver))
    }

    /// Returns the next sample, if there is one.
    pub(super) fn next(&self) -> Option<Result<Sample, Error>> {
        self.0.try_recv().ok()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read as _};

    use super::*;

    #[test]
    fn the_second_look_is_an_interval_after_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let (waker, mut woken) = UnixStream::pair().unwrap();
        woken.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        let first = Sample { totals: Totals::default(), warnings: Vec::new() };
        let path = folder.path().join("admin.sock");
        let _sampler = Sampler::start(&path, Duration::from_secs(3600), waker, &first).unwrap();
        assert_eq!(woken.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
    }
}
