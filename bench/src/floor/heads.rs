//! The count of request heads, by the empty line that ends each.

use memchr::memmem;

const END: &[u8] = b"\r\n\r\n";

/// The last bytes seen, which may begin the end of a head.
#[derive(Default)]
pub(super) struct Heads {
    /// The last bytes, at most three, since the last end of a head.
    tail: [u8; 3],
    kept: usize,
}

impl Heads {
    /// Returns the number of heads that end in these bytes, which follow the ones before.
    pub(super) fn count(&mut self, bytes: &[u8]) -> u64 {
        let mut seam = [0; 6];
        let ahead = bytes.len().min(3);
        seam[..self.kept].copy_from_slice(&self.tail[..self.kept]);
        seam[self.kept..self.kept + ahead].copy_from_slice(&bytes[..ahead]);
        let seam = &seam[..self.kept + ahead];
        let (mut count, mut from) = (0, 0);
        // An end that lies in the new bytes as a whole is not found here: at most three of them
        // are.
        if let Some(at) = memmem::find(seam, END) {
            count += 1;
            from = at + END.len() - self.kept;
        }
        let mut last = from;
        for at in memmem::find_iter(&bytes[from..], END) {
            count += 1;
            last = from + at + END.len();
        }
        self.keep(&bytes[last..], count > 0);
        count
    }

    fn keep(&mut self, rest: &[u8], ended: bool) {
        if ended {
            self.kept = 0;
        }
        if rest.len() >= 3 {
            self.tail.copy_from_slice(&rest[rest.len() - 3..]);
            self.kept = 3;
            return;
        }
        for byte in rest {
            if self.kept == 3 {
                self.tail.rotate_left(1);
                self.kept = 2;
            }
            self.tail[self.kept] = *byte;
            self.kept += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_counted_however_they_are_cut() {
        let text = b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\n\r\nGET";
        for first in 0..text.len() {
            for second in first..text.len() {
                let mut heads = Heads::default();
                let parts = [&text[..first], &text[first..second], &text[second..]];
                let count: u64 = parts.iter().map(|part| heads.count(part)).sum();
                assert_eq!(count, 2, "cut at {first} and {second}");
            }
        }
        let mut heads = Heads::default();
        assert_eq!(text.iter().map(|byte| heads.count(&[*byte])).sum::<u64>(), 2);
    }
}
