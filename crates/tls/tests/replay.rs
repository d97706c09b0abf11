//! Replays the seed corpus of the fuzz targets on a stable compiler. A crash found by fuzzing is kept by putting its input
//! there.

use std::fs;
use std::path::Path;

#[path = "properties/handshake.rs"]
mod handshake;

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
    assert!(files >= 10, "the seed corpus of {target} has only {files} files");
}

#[test]
fn tls_handshake() {
    replay("tls_handshake", handshake::check);
}

#[test]
fn tls_records() {
    replay("tls_records", sitar_tls::checks::records);
}
