//! The records of a simulated shard.

use std::sync::Arc;

use crate::log::{Queues, Records};

/// Reads what a shard has recorded, and checks it.
pub(super) struct Logged {
    records: Records,
    count: u64,
    looks: u64,
}

impl Logged {
    pub(super) fn new(queues: &Arc<Queues>) -> Logged {
        Logged { records: Records::new(Arc::clone(queues)), count: 0, looks: 0 }
    }

    /// Reads, but not each time.
    pub(super) fn read_now_and_then(&mut self) {
        self.looks += 1;
        if self.looks.is_multiple_of(50) {
            self.read();
        }
    }

    fn read(&mut self) {
        let read = self.records.read(|record| {
            let is_read = !record.host.is_empty();
            assert!(!is_read || record.target.starts_with(b"/"), "{record:?}");
            assert!(record.cut.is_none() || is_read, "a refusal is small: {record:?}");
        });
        self.count += read as u64;
    }

    /// The shard has ended: each of its answers has one record.
    pub(super) fn check(mut self, answers: u64) {
        self.read();
        assert!(self.records.is_over());
        assert_eq!(
            (self.count, self.records.dropped()),
            (answers, 0),
            "records, and those that were dropped"
        );
    }
}
