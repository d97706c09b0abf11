//! Replays the seed corpus of the fuzz targets on a stable compiler, and tries some programs by chance. A crash found by
//! fuzzing is kept by putting its input there.

use proptest::prelude::*;
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

proptest! {
    #[test]
    fn any_conversation_of_two_record_layers(program in prop::collection::vec(any::<u8>(), 0..400)) {
        sitar_tls::checks::records(&program);
    }
}

proptest! {
    // Each case needs a handshake.
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_damage_to_a_handshake(program in prop::collection::vec(any::<u8>(), 0..20)) {
        handshake::check(&program);
    }
}
