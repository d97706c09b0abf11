//! The archive format of an initial RAM disk: "newc" (Linux,
//! Documentation/driver-api/early-userspace/buffer-format.rst).
//!
//! Not by the program `cpio`, which packs what lies in a folder: names and modes in the guest are
//! not those of the machine, so that the folder would have to be made first, by as many lines.

use std::collections::BTreeSet;

const FOLDER: u32 = 0o040_755;
const FILE: u32 = 0o100_000;
const LINK: u32 = 0o120_777;

#[derive(Default)]
pub(crate) struct Cpio {
    bytes: Vec<u8>,
    names: BTreeSet<String>,
}

impl Cpio {
    /// Adds a file with the permissions `mode`, and the folders above it. A name that is there
    /// already is left alone.
    pub(crate) fn file(&mut self, name: &str, mode: u32, content: &[u8]) {
        let name = name.trim_start_matches('/');
        if let Some((folder, _)) = name.rsplit_once('/') {
            self.folder(folder);
        }
        self.entry(name, FILE | mode, content);
    }

    /// Adds a symbolic link to `target`, and the folders above it.
    pub(crate) fn link(&mut self, name: &str, target: &str) {
        let name = name.trim_start_matches('/');
        if let Some((folder, _)) = name.rsplit_once('/') {
            self.folder(folder);
        }
        self.entry(name, LINK, target.as_bytes());
    }

    /// Adds a folder and those above it.
    pub(crate) fn folder(&mut self, name: &str) {
        for (end, _) in name.match_indices('/').chain([(name.len(), "")]) {
            self.entry(&name[..end], FOLDER, b"");
        }
    }

    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, b"");
        self.bytes
    }

    fn entry(&mut self, name: &str, mode: u32, content: &[u8]) {
        if name.is_empty() || !self.names.insert(name.to_owned()) {
            return;
        }
        let number = self.names.len();
        self.bytes.extend_from_slice(b"070701");
        // inode, mode, uid, gid, links, time, size, device (2), represented device (2), bytes of
        // the name, checksum
        let fields = [number, mode as usize, 0, 0, 1, 0, content.len(), 0, 0, 0, 0, name.len() + 1, 0];
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08X}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_of_one_file() {
        let mut cpio = Cpio::default();
        cpio.file("/a/b", 0o644, b"hello");
        cpio.file("a/b", 0o644, b"again");
        let bytes = cpio.finish();
        let text = String::from_utf8(bytes).unwrap();
        // Magic, inode, mode, uid, gid, links, time, size, two devices of two numbers, bytes of the
        // name, checksum.
        let none = "00000000";
        let folder =
            ["070701", "00000001", "000041ED", none, none, "00000001", none, none, none, none, none, none]
                .concat()
                + "0000000200000000a\0";
        let file = [
            "070701", "00000002", "000081A4", none, none, "00000001", none, "00000005", none, none, none,
            none,
        ]
        .concat()
            + "0000000400000000a/b\0\0\0hello\0\0\0";
        assert!(text.starts_with(&folder), "{text:?}");
        assert!(text[folder.len()..].starts_with(&file), "{:?}", &text[folder.len()..]);
        assert!(text.contains("TRAILER!!!\0") && text.len().is_multiple_of(4));
    }
}
