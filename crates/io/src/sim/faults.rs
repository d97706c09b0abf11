//! Faults and how often they occur: all of it drawn from one seed.

use std::time::Duration;

/// A small seeded generator (xoshiro256**, Blackman and Vigna, <https://prng.di.unimi.it>; seeded
/// by splitmix64). For tests: it repeats exactly, and must not be used for secrets.
#[derive(Clone, Debug)]
pub struct Rng([u64; 4]);

impl Rng {
    /// A generator whose numbers depend on `seed` alone.
    #[must_use]
    pub fn new(seed: u64) -> Rng {
        let mut state = seed;
        Rng(std::array::from_fn(|_| {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        }))
    }

    /// The next 64 bits.
    #[allow(
        clippy::should_implement_trait,
        reason = "an endless generator is used as a value, not as an iterator"
    )]
    pub fn next(&mut self) -> u64 {
        let s = &mut self.0;
        let result = s[1].wrapping_mul(5).rotate_left(7).wrapping_mul(9);
        let t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = s[3].rotate_left(45);
        result
    }

    /// A number below `end`; 0 when `end` is 0. (The bias of the multiplication is below 2⁻³² for
    /// small ends.)
    pub fn below(&mut self, end: usize) -> usize {
        ((u128::from(self.next()) * end as u128) >> 64) as usize
    }

    /// True in `per_mille` of 1,000 cases.
    pub fn chance(&mut self, per_mille: u16) -> bool {
        per_mille > 0 && self.below(1000) < usize::from(per_mille)
    }

    /// A time below `end`, in whole microseconds.
    pub(super) fn time(&mut self, end: Duration) -> Duration {
        let micros = usize::try_from(end.as_micros()).unwrap_or(usize::MAX);
        Duration::from_micros(self.below(micros) as u64)
    }
}

/// The frequency of each fault, in cases of 1,000 in which it could occur, and how slow the
/// simulated network is.
///
/// Everything here is something that a kernel may do by its own rules; for one that breaks them see
/// [`Lie`].
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Faults {
    /// A send ends before all was sent, in spite of MSG_WAITALL.
    pub short_send: u16,
    /// A receive takes fewer bytes than there are and than the slot holds, so that data spreads
    /// over many slots.
    pub cut: u16,
    /// A completion is reported before or after others of the same moment.
    pub reorder: u16,
    /// A completion is reported up to 3 ms late. So a close may be reported after the next tenant
    /// of its place.
    pub late: u16,
    /// A cancel races with its target: it comes too late, or just after the target's own end, or is
    /// reported first.
    pub cancel_race: u16,
    /// An operation ends with ECANCELED although it was not cancelled.
    pub cancelled: u16,
    /// A connection breaks: ECONNRESET from a receive or a send, or EPIPE from a send; what was
    /// under way is lost.
    pub reset: u16,
    /// ENOBUFS although receive slots are free.
    pub no_buffers: u16,
    /// A wait is interrupted (EINTR): it submits, and returns with nothing.
    pub interrupted: u16,
    /// The kernel takes only some of the queued operations (EAGAIN), the rest at the next wait.
    pub partial_submit: u16,
    /// The submission queue is full: the ring has to say `Busy`.
    pub full_queue: u16,
    /// ENOMEM for an operation.
    pub no_memory: u16,
    /// ENFILE on accept although the file table has room. The connection is lost, as with the
    /// kernel.
    pub no_file: u16,
    /// Accept fails by ECONNABORTED, EMFILE or ENOMEM, and ends.
    pub accept_error: u16,
    /// A multishot accept or receive ends without an error, with its last result.
    pub end_multishot: u16,
    /// The completion queue overflows: completions come in batches of one to four.
    pub overflow: u16,
    /// A close reports an error (EINTR or EIO); the descriptor is gone all the same.
    pub close_error: u16,
    /// The end of the stream comes with a receive slot, of which nothing was filled.
    pub eof_with_slot: u16,
    /// The waker's operation ends although no wake-up came.
    pub spurious_wake: u16,
    /// A read of a file ends before all was read.
    pub short_read: u16,
    /// EIO from a file.
    pub read_error: u16,
    /// A place in the file table is handed out at random instead of the lowest.
    pub any_place: u16,
    /// A connection has small socket buffers: 1 to 2,048 bytes instead of 64 KiB.
    pub small_window: u16,
    /// A datagram never arrives.
    pub lose_datagram: u16,
    /// A datagram arrives twice.
    pub double_datagram: u16,
    /// EMFILE, ENFILE, EACCES or EIO for an open or a look at a file.
    pub open_error: u16,
    /// ENOMEM for a cancel. Not among those that [`drawn`](Faults::drawn) draws.
    pub cancel_error: u16,
    /// EOPNOTSUPP for a peer's address, as io_uring before Linux 6.7 says. Not among those that
    /// [`drawn`](Faults::drawn) draws.
    pub no_peer: u16,
    /// ENOMEM for a socket option of kernel TLS.
    pub no_tls: u16,
    /// Bytes travel for up to this time.
    pub latency: Duration,
}

impl Faults {
    /// A perfect kernel and a network without delay.
    #[must_use]
    pub fn none() -> Faults {
        Faults::default()
    }

    /// Faults drawn from a seed: each is absent in half of all seeds, seldom in most others,
    /// frequent in a few.
    #[must_use]
    pub fn drawn(seed: u64) -> Faults {
        let rng = &mut Rng::new(seed ^ 0x5eed_fa17);
        let mut draw = |most: usize| draw(rng, most);
        // Those that came later have a generator of their own, so that a seed still means what it
        // meant.
        let later = &mut Rng::new(seed ^ 0x1a7e_fa17);
        Faults {
            short_send: draw(900),
            cut: draw(900),
            reorder: draw(900),
            late: draw(700),
            cancel_race: draw(900),
            cancelled: draw(100),
            reset: draw(30),
            no_buffers: draw(300),
            interrupted: draw(300),
            partial_submit: draw(300),
            full_queue: draw(200),
            no_memory: draw(100),
            no_file: draw(200),
            accept_error: draw(200),
            end_multishot: draw(500),
            overflow: draw(900),
            close_error: draw(500),
            eof_with_slot: draw(900),
            spurious_wake: draw(200),
            short_read: draw(500),
            read_error: draw(50),
            any_place: draw(900),
            small_window: draw(900),
            lose_datagram: self::draw(later, 500),
            double_datagram: self::draw(later, 500),
            open_error: self::draw(later, 100),
            cancel_error: 0,
            no_peer: 0,
            latency: Duration::from_micros([0, 50, 2_000, 40_000][rng.below(4)]),
            // Last, so that seeds from before it mean what they did.
            no_tls: [0, 0, 20, 200][rng.below(4)],
        }
    }
}

fn draw(rng: &mut Rng, most: usize) -> u16 {
    let scale = [0, 0, 0, 0, 2, 8, 32, 100][rng.below(8)];
    (most * rng.below(scale + 1) / 100) as u16
}

/// One way for a kernel to break its word (I4). Told once; the ring must notice and end in
/// [`InvalidData`](std::io::ErrorKind::InvalidData).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Lie {
    /// A completion of an operation that does not exist.
    UnknownOp,
    /// A completion of an operation that has ended: right index, another generation.
    StaleOp,
    /// A completion delivered twice.
    Twice,
    /// More bytes than there was room for, or than were to be sent or read.
    TooLong,
    /// A receive slot that does not exist.
    UnknownSlot,
    /// A receive slot that the engine does not have.
    LeasedSlot,
    /// A connection in a place of the file table that does not exist.
    UnknownPlace,
    /// A connection in a place of the file table where another lives.
    TakenPlace,
    /// More to come, of an operation that completes once.
    EndlessSingle,
    /// More to come, of an accept or a receive that has failed.
    EndlessFailure,
    /// Bytes were received, into no slot.
    NoSlot,
    /// A receive slot, from an operation that receives nothing.
    SlotOfAnother,
    /// A file was opened, or looked at, and there is none.
    NothingFound,
}

impl Lie {
    /// Every lie.
    pub const ALL: [Lie; 13] = [
        Lie::UnknownOp,
        Lie::StaleOp,
        Lie::Twice,
        Lie::TooLong,
        Lie::UnknownSlot,
        Lie::LeasedSlot,
        Lie::UnknownPlace,
        Lie::TakenPlace,
        Lie::EndlessSingle,
        Lie::EndlessFailure,
        Lie::NoSlot,
        Lie::SlotOfAnother,
        Lie::NothingFound,
    ];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generator_is_the_published_one() {
        // splitmix64 from 0 is e220a8397b1dcdaf, 6e789e6aa1b965f4, … (its author's test values),
        // and with that state xoshiro256** gives these.
        let mut rng = Rng::new(0);
        assert_eq!(rng.0[..2], [0xe220_a839_7b1d_cdaf, 0x6e78_9e6a_a1b9_65f4]);
        assert_eq!([rng.next(), rng.next()], [0x99ec_5f36_cb75_f2b4, 0xbf6e_1f78_4956_452a]);
    }

    #[test]
    fn numbers_stay_below_their_end() {
        let mut rng = Rng::new(1);
        let mut seen = [0; 5];
        for _ in 0..5000 {
            seen[rng.below(5)] += 1;
        }
        assert!(seen.iter().all(|n| (800..1200).contains(n)), "{seen:?}");
        assert_eq!((rng.below(0), rng.below(1)), (0, 0));
        assert!(!rng.chance(0) && rng.chance(1000));
    }

    #[test]
    fn each_fault_is_absent_in_many_seeds_and_frequent_in_some() {
        let drawn: Vec<u16> = (0..1000).map(|seed| Faults::drawn(seed).short_send).collect();
        let absent = drawn.iter().filter(|n| **n == 0).count();
        let frequent = drawn.iter().filter(|n| **n > 300).count();
        assert!((450..700).contains(&absent), "{absent}");
        assert!((30..200).contains(&frequent), "{frequent}");
    }
}
