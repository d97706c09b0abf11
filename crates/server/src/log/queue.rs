//! The queue between a shard and the reader: words in memory of a fixed size, which one thread
//! writes and one reads.
//!
//! What is written in a turn is seen by the reader at its end, all at once. The words are atomics
//! without an order, which are stored and loaded like plain ones. Turns go through a ring of their
//! own, whose order is that of the words as well.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use rtrb::{Consumer, Producer, RingBuffer};

use super::entry::LONGEST;

/// Words of a queue: 1 MiB, some 4,000 answers.
pub(super) const WORDS: usize = 1 << 17;

/// Turns of a queue: more than there are answers in it.
const TURNS: usize = WORDS / 8;

/// An entry that begins in the last words goes on behind them, so that it is in one piece: no other
/// one is there meanwhile.
const ALL: usize = WORDS + LONGEST;

/// Stands for words that are not there, and is never used.
static NOWHERE: [AtomicU64; LONGEST] = [const { AtomicU64::new(0) }; LONGEST];

struct Memory {
    words: Box<[AtomicU64; ALL]>,
    /// The number of words that the reader has given back since the beginning. It comes again after
    /// it has gone round all numbers, as all places do.
    read: Line,
    /// The place behind all that was written, when it is over.
    end: Line,
    is_over: AtomicBool,
}

/// Not on a line of the processor's cache that the other side writes to, nor beside one.
#[repr(align(128))]
struct Line(AtomicUsize);

/// A turn: what was written in it was handed to the kernel when it ended.
#[derive(Clone, Copy)]
pub(super) struct Turn {
    pub(super) start: Instant,
    pub(super) end: Instant,
    /// The place behind its last entry.
    pub(super) until: usize,
}

/// The side that writes. What is in no turn is handed over when it is dropped.
pub(super) struct Writer {
    memory: Arc<Memory>,
    turns: Producer<Turn>,
    /// The place of the next word: how many were written since the beginning.
    at: usize,
    /// Of words that the reader had given back when that was asked last.
    read: usize,
    /// Where the last turn ended.
    turn: usize,
}

/// The side that reads.
pub(super) struct Reader {
    memory: Arc<Memory>,
    turns: Consumer<Turn>,
    /// The place of the next word.
    at: usize,
}

/// Makes a queue.
pub(super) fn queue() -> (Writer, Reader) {
    let words: Box<[AtomicU64]> = std::iter::repeat_with(AtomicU64::default).take(ALL).collect();
    // They are as many as the array has, so this never makes another one.
    let words = words.try_into().unwrap_or_else(|_| Box::new([const { AtomicU64::new(0) }; ALL]));
    let line = || Line(AtomicUsize::new(0));
    let memory = Arc::new(Memory { words, end: line(), read: line(), is_over: AtomicBool::new(false) });
    let (ends, turns) = RingBuffer::new(TURNS);
    let writer = Writer { memory: Arc::clone(&memory), turns: ends, at: 0, read: 0, turn: 0 };
    (writer, Reader { memory, turns, at: 0 })
}

impl Writer {
    /// Whether there is room for this many words.
    #[inline]
    pub(super) fn has_room(&mut self, count: usize) -> bool {
        if self.at.wrapping_sub(self.read) + count <= WORDS {
            return true;
        }
        self.read = self.memory.read.0.load(Ordering::Acquire);
        self.at.wrapping_sub(self.read) + count <= WORDS
    }

    /// Returns the next words, to be written, for as many of which as are there has to be room.
    #[inline]
    pub(super) fn next(&self) -> &[AtomicU64; LONGEST] {
        // There are as many behind each place.
        self.memory.words[self.at % WORDS..].first_chunk().unwrap_or(&NOWHERE)
    }

    /// Counts the next words as written.
    #[inline]
    pub(super) fn advance(&mut self, count: usize) {
        self.at = self.at.wrapping_add(count);
    }

    /// Writes a few words, for which there has to be room.
    #[inline]
    pub(super) fn push<const N: usize>(&mut self, words: [u64; N]) {
        let slots = self.next().iter().zip(words);
        slots.for_each(|(slot, word)| slot.store(word, Ordering::Relaxed));
        self.advance(N);
    }

    /// Whether something was written that is in no turn.
    #[inline]
    pub(super) fn has_any(&self) -> bool {
        self.at != self.turn
    }

    /// Hands over what was written, as a turn. There are fewer turns than there is room for, unless
    /// the reader stands still: then it is counted to the next turn.
    #[inline]
    pub(super) fn end_turn(&mut self, start: Instant, end: Instant) {
        if self.turns.push(Turn { start, end, until: self.at }).is_ok() {
            self.turn = self.at;
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.memory.end.0.store(self.at, Ordering::Release);
        self.memory.is_over.store(true, Ordering::Release);
    }
}

impl Reader {
    /// Whether there will be no more turns than there are after this.
    pub(super) fn is_over(&self) -> bool {
        self.memory.is_over.load(Ordering::Acquire)
    }

    /// Returns how many turns are there.
    pub(super) fn turns(&self) -> usize {
        self.turns.slots()
    }

    /// Returns the next turn, if there is one.
    pub(super) fn next_turn(&mut self) -> Option<Turn> {
        self.turns.pop().ok()
    }

    /// Returns the place behind what was written in no turn, when it [is over](Reader::is_over).
    pub(super) fn end(&self) -> usize {
        self.memory.end.0.load(Ordering::Acquire)
    }

    /// Returns the next entry, if there is one before `until`. It begins with the number of its
    /// words.
    pub(super) fn next(&mut self, until: usize) -> Option<&[AtomicU64]> {
        if self.at == until {
            return None;
        }
        let at = self.at % WORDS;
        let first = self.memory.words.get(at)?.load(Ordering::Relaxed);
        let count = usize::from(first as u16).max(1);
        self.at = self.at.wrapping_add(count);
        self.memory.words.get(at..at + count)
    }

    /// Returns how many words were read since the beginning.
    pub(super) fn place(&self) -> usize {
        self.at
    }

    /// Gives back what was read.
    pub(super) fn give_back(&self) {
        self.memory.read.0.store(self.at, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    fn words(reader: &mut Reader, until: usize) -> Option<Vec<u64>> {
        let slots = reader.next(until)?;
        Some(slots.iter().map(|slot| slot.load(Ordering::Relaxed)).collect())
    }

    #[test]
    fn what_one_thread_writes_another_reads_in_order_and_whole() {
        let (mut writer, mut reader) = queue();
        let (count, now) = (300_000_u64, Instant::now());
        let len = |number: u64| 1 + (number % 97) as usize;
        thread::scope(|scope| {
            scope.spawn(move || {
                for number in 0..count {
                    let len = len(number);
                    while !writer.has_room(len) {
                        writer.end_turn(now, now);
                        thread::yield_now();
                    }
                    let slots = writer.next()[..len].iter();
                    slots.for_each(|slot| slot.store(number << 16 | len as u64, Ordering::Relaxed));
                    writer.advance(len);
                    if number % 5 == 0 {
                        writer.end_turn(now, now);
                    }
                }
            });
            let mut number = 0;
            let mut take = |reader: &mut Reader, until| {
                while let Some(entry) = words(reader, until) {
                    assert_eq!(entry, vec![number << 16 | len(number) as u64; len(number)]);
                    number += 1;
                }
                reader.give_back();
            };
            loop {
                let is_over = reader.is_over();
                while let Some(turn) = reader.next_turn() {
                    take(&mut reader, turn.until);
                }
                if is_over {
                    let end = reader.end();
                    take(&mut reader, end);
                    break;
                }
            }
            assert_eq!(number, count);
        });
    }

    #[test]
    fn room_is_what_was_given_back() {
        let (mut writer, mut reader) = queue();
        assert!(writer.has_room(WORDS) && !writer.has_room(WORDS + 1));
        for _ in 0..WORDS / 4 {
            assert!(writer.has_room(4));
            writer.push([4, 0, 0, 0]);
        }
        assert!(writer.has_room(0) && !writer.has_room(1) && writer.has_any());
        let now = Instant::now();
        writer.end_turn(now, now);
        assert!(!writer.has_any());
        let until = reader.next_turn().unwrap().until;
        assert!(reader.next_turn().is_none());
        assert_eq!(words(&mut reader, until), Some(vec![4, 0, 0, 0]));
        assert!(!writer.has_room(1), "it may still be read");
        reader.give_back();
        assert!(writer.has_room(4) && !writer.has_room(5));
    }

    #[test]
    fn turns_that_find_no_room_are_counted_to_the_next() {
        let (mut writer, mut reader) = queue();
        let now = Instant::now();
        for _ in 0..TURNS + 2 {
            writer.push([2, 7]);
            writer.end_turn(now, now);
        }
        assert!(writer.has_any());
        let first = reader.next_turn().unwrap();
        assert_eq!((first.until, words(&mut reader, first.until)), (2, Some(vec![2, 7])));
        writer.end_turn(now, now);
        assert!(!writer.has_any());
        let mut last = first;
        while let Some(turn) = reader.next_turn() {
            last = turn;
        }
        assert_eq!(last.until, 2 * (TURNS + 2));
    }
}
