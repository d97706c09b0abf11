//! Counting a program's allocations from outside, with a preloaded library.

use super::{have, run_with, skip};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The counting library, and the file that it counts into.
pub(crate) struct Allocations {
    library: PathBuf,
    file: PathBuf,
    _folder: TempDir,
}

impl Allocations {
    /// The counted functions, in the order of the library's counters.
    pub(crate) const COUNTERS: [&str; 6] =
        ["malloc", "calloc", "realloc", "free", "posix_memalign", "aligned_alloc"];

    /// Compiles the library; where there is no compiler the test is recorded as skipped. In the lab
    /// it is there already, and named by a variable.
    pub(crate) fn prepare() -> Option<Allocations> {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("counts");
        if let Some(library) = std::env::var_os("SITAR_MALLOC_COUNT").map(PathBuf::from) {
            if !library.exists() {
                skip("the lab has no counting library: no C compiler where it was made");
                return None;
            }
            return Some(Allocations { library, file, _folder: folder });
        }
        if !have(&["cc"]) {
            return None;
        }
        let library = folder.path().join("malloc_count.so");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/malloc_count.c");
        let mut cc = Command::new("cc");
        cc.args(["-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-o"]).arg(&library).arg(source);
        run_with(&mut cc, b"").ok();
        Some(Allocations { library, file, _folder: folder })
    }

    /// The environment of a program that is to be counted, from zero on.
    pub(crate) fn env(&self) -> [(&str, &str); 2] {
        std::fs::write(&self.file, [0; Allocations::COUNTERS.len() * 8]).unwrap();
        [("LD_PRELOAD", self.library.to_str().unwrap()), ("MALLOC_COUNT_FILE", self.file.to_str().unwrap())]
    }

    /// Has `work` done on `connections` until nothing has been allocated or freed meanwhile, ten
    /// times at most.
    ///
    /// On a busy machine a connection may be left alone for a second, in which case it folds its
    /// keys, and expands them again. So there is no pause between one time and the next, and a time
    /// in which that happened is repeated. Nothing else may come beside it: no more is counted than
    /// the connections' keys, once for each second.
    pub(crate) fn assert_none(&self, connections: u64, what: &str, mut work: impl FnMut()) {
        /// Two keys, each of them allocated and freed.
        const KEYS: u64 = 4;
        let mut seen = vec![self.now()];
        for _ in 0..10 {
            let start = Instant::now();
            work();
            let (before, after) = (seen.last().unwrap(), self.now());
            let calls = after.iter().sum::<u64>() - before.iter().sum::<u64>();
            if calls == 0 {
                return;
            }
            let seconds = start.elapsed().as_secs() + 1;
            seen.push(after);
            let counters = Allocations::COUNTERS;
            assert!(calls <= KEYS * connections * seconds, "{what}: in {seconds} s, {counters:?}: {seen:?}");
        }
        panic!("{what}: {:?}: {seen:?}", Allocations::COUNTERS);
    }

    fn now(&self) -> Vec<u64> {
        let bytes = std::fs::read(&self.file).unwrap();
        bytes.chunks_exact(8).map(|word| u64::from_ne_bytes(word.try_into().unwrap())).collect()
    }

    /// The counters once they stand still: the last completion may trail the answer that the client
    /// has read.
    pub(crate) fn settled(&self) -> Vec<u64> {
        let mut last = self.now();
        for _ in 0..20 {
            std::thread::sleep(Duration::from_millis(50));
            let now = self.now();
            if now == last {
                return now;
            }
            last = now;
        }
        // An idle server that goes on allocating: let the comparison say so.
        last
    }
}
