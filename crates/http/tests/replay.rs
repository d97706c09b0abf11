//! Replays the seed corpus of the fuzz targets on a stable compiler: every file under `fuzz/corpus/<target>`
//! goes through the property that the target checks. A crash found by fuzzing is kept by putting its input
//! there.

use std::fs;
use std::path::Path;

#[path = "properties/accept_encoding.rs"]
mod accept_encoding;
#[path = "properties/conditionals.rs"]
mod conditionals;
#[path = "properties/h1_drain.rs"]
mod h1_drain;
#[path = "properties/h1_request.rs"]
mod h1_request;
#[path = "properties/h2.rs"]
mod h2;
#[path = "properties/hpack.rs"]
mod hpack;
#[path = "properties/range.rs"]
mod range;

fn replay(target: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let mut files = 0;
    for entry in fs::read_dir(&folder).expect("the seed corpus is in the tree") {
        let path = entry.expect("a folder can be listed").path();
        let data = fs::read(&path).expect("a seed can be read");
        // Printed only when the property fails: then this is the file.
        println!("{}", path.display());
        check(&data);
        files += 1;
    }
    assert!(files >= 5, "the seed corpus of {target} has only {files} files");
}

#[test]
fn h1_request() {
    replay("h1_request", h1_request::check);
}

#[test]
fn h1_drain() {
    replay("h1_drain", h1_drain::check);
}

#[test]
fn accept_encoding() {
    replay("accept_encoding", accept_encoding::check);
}

#[test]
fn range() {
    replay("range", range::check);
}

#[test]
fn conditionals() {
    replay("conditionals", conditionals::check);
}

#[test]
fn h2() {
    replay("h2", h2::check);
}

#[test]
fn hpack() {
    replay("hpack", hpack::check);
}
