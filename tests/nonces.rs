//! The bytes on the wire, decrypted by an independent implementation: no nonce is used twice.

use crate::common::site::Site;
use crate::common::{Server, have, run, run_with, skip};
use std::process::Command;
use tempfile::TempDir;

/// Records in each version of TLS.
const RECORDS: u32 = 100_000;

#[test]
fn no_nonce_is_used_twice() {
    if !have(&["python3", "openssl"]) {
        return;
    }
    let cryptography = run("python3", ["-c", "import cryptography.hazmat.primitives.ciphers.aead"]);
    if !cryptography.status.success() {
        skip("python3 has no cryptography; `cargo xtask setup` installs it");
        return;
    }
    let site = Site::small();
    let server = Server::start([site.path()]);
    let folder = TempDir::new().unwrap();
    for version in ["1.2", "1.3"] {
        let mut command = Command::new("python3");
        command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/nonces.py"));
        command.arg(server.address().port().to_string()).arg(server.ca());
        command.args([version, &RECORDS.to_string()]).arg(folder.path().join(version));
        let said = run_with(&mut command, b"").ok().text();
        println!("{said}");
        let numbers: Vec<u32> = said.split([' ', ',']).filter_map(|word| word.parse().ok()).collect();
        let &[records, keys, answers] = numbers.as_slice() else { panic!("{said}") };
        assert!(records >= RECORDS && answers > RECORDS / 3, "{said}");
        // The handshake's, the first, and one more for each update; TLS 1.2 has one.
        assert!(if version == "1.3" { keys > 20 } else { keys == 1 }, "{said}");
    }
}
