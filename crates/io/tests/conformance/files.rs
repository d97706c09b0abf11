//! Reading files.

use std::io::Write;
use std::time::Instant;

use sitar_io::{Errno, Event, File, Key, ReadBuf, RegionMut, Runs, leaked_rings};

use crate::conformance::bench::{Bench, SMALL, Setup};
pub(crate) fn files_are_read_into_slots_and_regions<E: Setup>() {
    let mut b = Bench::<E>::new(SMALL);
    let mut named = tempfile();
    named.write_all(b"0123456789").unwrap();
    let file = File::from(named);
    let tx = b.ring.take_tx().unwrap();
    b.ring.read(&file, 3, ReadBuf::Tx(tx, 100..104), Key(5)).unwrap();
    match b.event() {
        Event::Read { key: Key(5), buf: ReadBuf::Tx(tx, _), result: Ok(4) } => {
            assert_eq!(&tx[99..105], b"\x003456\0");
        }
        other => panic!("{other:?}"),
    }
    let region = RegionMut::new(8).unwrap();
    b.ring.read(&file, 8, ReadBuf::Region(region, 0..8), Key(6)).unwrap();
    match b.event() {
        Event::Read { key: Key(6), buf: ReadBuf::Region(region, _), result: Ok(2) } => {
            assert_eq!(&region.freeze()[..], b"89\0\0\0\0\0\0");
        }
        other => panic!("{other:?}"),
    }
    let tx = b.ring.take_tx().unwrap();
    b.ring.read(&file, 10, ReadBuf::Tx(tx, 0..10), Key(7)).unwrap();
    assert!(matches!(b.event(), Event::Read { result: Ok(0), .. }), "the end of the file");
}

/// A read fills runs of a slot one after the other and leaves alone what lies between them.
pub(crate) fn files_are_read_in_runs<E: Setup>() {
    let mut b = Bench::<E>::new(SMALL);
    let mut named = tempfile();
    named.write_all(b"0123456789abcdefghij").unwrap();
    let stored = File::from(named);
    // A file that only a read that blocks can read.
    let made_up = File::from(std::fs::File::open("/proc/version").unwrap());
    let runs = |start, each, gap, len| Runs { start, each, gap, len };
    for (file, at, runs, count, wanted) in [
        (&stored, 2, runs(5, 4, 3, 10), 10, &b"-----2345---6789---ab----"[..]),
        (&stored, 14, runs(0, 2, 1, 8), 6, b"ef-gh-ij-"),
        (&stored, 0, runs(1, 1, 0, 3), 3, b"-012-"),
        // More than there are runs for.
        (&stored, 0, runs(0, 3, 2, 20), 12, b"012--345--678--9ab-----"),
        (&made_up, 0, runs(3, 5, 2, 13), 13, b"---Linux-- vers--ion--"),
        (&stored, 0, runs(0, 0, 5, 9), 0, b"---------"),
    ] {
        let mut tx = b.ring.take_tx().unwrap();
        tx.fill(b'-');
        b.ring.read(file, at, ReadBuf::Runs(tx, runs), Key(1)).unwrap();
        match b.event() {
            Event::Read { buf: ReadBuf::Runs(tx, same), result, .. } => {
                assert_eq!((result, same), (Ok(count), runs));
                assert_eq!(tx[..wanted.len()].escape_ascii().to_string(), wanted.escape_ascii().to_string());
                assert!(tx[wanted.len()..].iter().all(|&byte| byte == b'-'), "{runs:?}");
            }
            other => panic!("{other:?}"),
        }
    }
    // Beyond the slot's end, a kilobyte, nothing is written.
    for (runs, count) in [
        (runs(1020, 10, 1, 20), 4),
        (runs(1000, 10, 10, 20), 14),
        (runs(5000, 1, 1, 4), 0),
        (runs(usize::MAX, usize::MAX, usize::MAX, usize::MAX), 0),
        (runs(1022, usize::MAX, usize::MAX, usize::MAX), 2),
    ] {
        let tx = b.ring.take_tx().unwrap();
        b.ring.read(&stored, 0, ReadBuf::Runs(tx, runs), Key(1)).unwrap();
        match b.event() {
            Event::Read { buf: ReadBuf::Runs(tx, _), result, .. } => {
                assert_eq!((result, tx.len()), (Ok(count), 1024), "{runs:?}");
            }
            other => panic!("{other:?}"),
        }
    }
}

fn can_be_read_at_once(file: &std::fs::File) -> bool {
    let mut byte = [0];
    let mut buffers = [std::io::IoSliceMut::new(&mut byte)];
    rustix::io::preadv2(file, &mut buffers, 0, rustix::io::ReadWriteFlags::NOWAIT) == Ok(1)
}

/// A read that has ended is reported first, before events that were waiting.
pub(crate) fn what_is_read_at_once_is_reported_first<E: Setup>() {
    let mut b = Bench::<E>::new(SMALL);
    let mut named = tempfile();
    named.write_all(b"contents").unwrap();
    let file = File::from(std::os::fd::OwnedFd::from(named.try_clone().unwrap()));
    b.ring.waker().wake();
    b.ring.wait(None).unwrap();
    let tx = b.ring.take_tx().unwrap();
    b.ring.read(&file, 2, ReadBuf::Tx(tx, 1..4), Key(5)).unwrap();
    b.ring.submit().unwrap();
    let mut told = Vec::new();
    while told.len() < 2 {
        match b.event() {
            Event::Woken => told.push("woken"),
            Event::Read { key: Key(5), buf: ReadBuf::Tx(tx, _), result: Ok(3) } => {
                assert_eq!(&tx[1..4], b"nte");
                told.push("read");
            }
            other => panic!("{other:?}"),
        }
    }
    // A file system that cannot promise not to wait is read by another thread, later.
    let at_once = E::BEGINS_AT_ONCE && can_be_read_at_once(&named);
    assert!(told == ["read", "woken"] || !at_once, "{told:?}");
}

fn tempfile() -> std::fs::File {
    let path = std::env::temp_dir().join(format!(
        "sitar-io-{}-{:?}",
        std::process::id(),
        std::thread::current().id()
    ));
    let file =
        std::fs::File::options().read(true).write(true).create(true).truncate(true).open(&path).unwrap();
    std::fs::remove_file(path).unwrap();
    file
}

/// A file that is larger than any buffer in between, and not in the page cache where the file
/// system lets go of it.
pub(crate) fn what_is_not_in_memory_is_read_whole<E: Setup>() {
    let bytes: Vec<u8> = (0..700_001_u32).map(|i| (i % 253) as u8).collect();
    let mut named = tempfile();
    named.write_all(&bytes).unwrap();
    named.sync_all().unwrap();
    rustix::fs::fadvise(&named, 0, None, rustix::fs::Advice::DontNeed).unwrap();
    let file = File::from(named);
    let mut b = Bench::<E>::new(SMALL);
    let mut got = 0;
    for at in (0..700_001).step_by(70_000) {
        let region = RegionMut::new(70_000).unwrap();
        b.ring.read(&file, at as u64, ReadBuf::Region(region, 0..70_000), Key(at as u64)).unwrap();
    }
    for _ in 0..11 {
        match b.event() {
            Event::Read { key: Key(at), buf: ReadBuf::Region(region, _), result: Ok(count) } => {
                assert!(region[..count] == bytes[at as usize..at as usize + count]);
                got += count;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(got, 700_001);
    let region = RegionMut::new(800_000).unwrap();
    b.ring.read(&file, 1, ReadBuf::Region(region, 7..800_000), Key(0)).unwrap();
    match b.event() {
        Event::Read { buf: ReadBuf::Region(region, _), result: Ok(700_000), .. } => {
            assert!(region[7..700_007] == bytes[1..]);
        }
        other => panic!("{other:?}"),
    }
}

/// Files that the kernel makes up, which no engine can read without blocking.
pub(crate) fn files_that_the_kernel_makes_up_are_read<E: Setup>() {
    let mut b = Bench::<E>::new(SMALL);
    let file = File::from(std::fs::File::open("/proc/version").unwrap());
    for key in 0..20 {
        let tx = b.ring.take_tx().unwrap();
        b.ring.read(&file, 0, ReadBuf::Tx(tx, 0..13), Key(key)).unwrap();
        match b.event() {
            Event::Read { key: Key(k), buf: ReadBuf::Tx(tx, _), result: Ok(13) } if k == key => {
                assert_eq!(&tx[..13], b"Linux version");
            }
            other => panic!("{other:?}"),
        }
    }
}

pub(crate) fn a_file_that_cannot_be_read_says_why<E: Setup>() {
    let mut b = Bench::<E>::new(SMALL);
    let directory = File::from(std::fs::File::open("/").unwrap());
    let tx = b.ring.take_tx().unwrap();
    b.ring.read(&directory, 0, ReadBuf::Tx(tx, 0..10), Key(3)).unwrap();
    assert!(matches!(b.event(), Event::Read { key: Key(3), result: Err(Errno::ISDIR), .. }));
    assert_eq!(b.ring.stats().tx_free, 4);
}

/// This process's own memory as a file, which no engine can read without blocking: a long read
/// comes back whole.
pub(crate) fn a_long_read_that_has_to_wait_is_whole<E: Setup>() {
    let bytes: Vec<u8> = (0..200_001_u32).map(|i| (i % 241) as u8).collect();
    let file = File::from(std::fs::File::open("/proc/self/mem").unwrap());
    let mut b = Bench::<E>::new(SMALL);
    // More of them than a helper takes at a time.
    for key in 0..10 {
        let region = RegionMut::new(200_003).unwrap();
        b.ring
            .read(&file, bytes.as_ptr().addr() as u64, ReadBuf::Region(region, 1..200_002), Key(key))
            .unwrap();
    }
    for _ in 0..10 {
        match b.event() {
            Event::Read { buf: ReadBuf::Region(region, _), result: Ok(200_001), .. } => {
                assert!(region[1..200_002] == bytes);
                assert_eq!((region[0], region[200_002]), (0, 0));
            }
            other => panic!("{other:?}"),
        }
    }
}

/// Reads that are cancelled, however far they have come, report how much they have filled.
pub(crate) fn reads_that_are_cancelled_or_lose_their_ring_end<E: Setup>() {
    let bytes = vec![3; 2 << 20];
    let file = File::from(std::fs::File::open("/proc/self/mem").unwrap());
    let at = bytes.as_ptr().addr() as u64;
    let mut b = Bench::<E>::new(SMALL);
    let buf = || ReadBuf::Region(RegionMut::new(2 << 20).unwrap(), 0..2 << 20);
    let ops: Vec<_> = (0..10).map(|key| b.ring.read(&file, at, buf(), Key(key)).unwrap()).collect();
    b.ring.wait(Some(Instant::now())).unwrap();
    ops.into_iter().for_each(|op| b.ring.cancel(op));
    for _ in 0..10 {
        let Event::Read { buf: ReadBuf::Region(region, _), result, .. } = b.event() else { panic!() };
        let count = match result {
            Ok(count) => count,
            Err(errno) => {
                assert!(matches!(errno, Errno::CANCELED | Errno::INTR), "{errno:?}");
                0
            }
        };
        assert!(region[..count] == bytes[..count]);
    }
    for key in 0..10 {
        b.ring.read(&file, at, buf(), Key(key)).unwrap();
    }
    b.ring.wait(Some(Instant::now())).unwrap();
    drop(b);
    assert_eq!(leaked_rings(), 0, "drained, not leaked");
}
