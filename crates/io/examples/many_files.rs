//! Many small files in the page cache, by plain calls and through a ring on each engine:
//! `cargo run --release -p sitar-io --example many_files [FILES] [ROUNDS] [IN FLIGHT]`.
//!
//! Three tasks: look at each file (`statx`); open, read and close each; the same with a look at the
//! open file in between. The files are made in a temporary directory, which goes at the end. The
//! ways take turns; the median of the rounds counts. CPU is that of the whole process, kernel
//! included: io_uring's worker threads and its polling thread belong to it.
//!
//! It is also how to use such a ring: a fixed number of files is under way, and each event starts
//! what comes next for its file.
#![forbid(unsafe_code)]

use std::ffi::CString;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, Mode, OFlags, StatxFlags};
use rustix::time::{ClockId, clock_gettime};
use sitar_io::{Config, Engine, Event, File, Key, ReadBuf, Ring, SqPoll, TxBuf};

const FILE_LEN: usize = 1000;
const PER_FOLDER: usize = 100;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

#[derive(Clone, Copy, PartialEq)]
enum Task {
    Stat,
    Read,
    StatAndRead,
}

/// A name, and the file once it is open.
struct Item {
    path: Option<CString>,
    file: Option<File>,
}

/// One file after the other. Returns the bytes found.
fn plain(dir: &File, items: &[Item], task: Task) -> Result<u64> {
    let mut buffer = [0; 4096];
    let mut bytes = 0;
    for path in items.iter().filter_map(|item| item.path.as_deref()) {
        if task == Task::Stat {
            let flags = AtFlags::SYMLINK_NOFOLLOW;
            bytes += rustix::fs::statx(dir, path, flags, StatxFlags::BASIC_STATS)?.stx_size;
            continue;
        }
        let fd = rustix::fs::openat(dir, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        if task == Task::StatAndRead {
            rustix::fs::statx(&fd, c"", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS)?;
        }
        bytes += rustix::io::pread(&fd, &mut buffer, 0)? as u64;
    }
    Ok(bytes)
}

/// Reads the files into send slots, as many at a time as the ring has.
fn through<E: Engine>(ring: &mut Ring<E>, dir: &File, items: &mut [Item], task: Task) -> Result<u64> {
    let mut spare: Vec<TxBuf> = std::iter::from_fn(|| ring.take_tx()).collect();
    let at_once = spare.len();
    let (mut begun, mut ended, mut bytes) = (0, 0, 0);
    while ended < items.len() {
        while begun < items.len() && begun - ended < at_once {
            let path = items[begun].path.take().ok_or("a path that did not come back")?;
            let key = Key(begun as u64);
            let asked = match task {
                Task::Stat => ring.stat_at(dir, path, key),
                _ => ring.open_at(dir, path, key),
            };
            asked.map_err(|_| "the table is larger than what is under way")?;
            begun += 1;
        }
        ring.wait(None)?;
        while let Some(event) = ring.next() {
            let key = match event {
                Event::Opened { key, path, result } => {
                    let item = &mut items[key.0 as usize];
                    let file = item.file.insert(result?);
                    if task == Task::StatAndRead {
                        // An empty path is the file itself; the name waits in the item.
                        item.path = Some(path);
                        ring.stat_at(file, CString::default(), key).map_err(|_| "busy")?;
                        continue;
                    }
                    item.path = Some(path);
                    key
                }
                Event::Stat { key, path, result } => {
                    let len = result?.len();
                    if task == Task::Stat {
                        items[key.0 as usize].path = Some(path);
                        (bytes, ended) = (bytes + len, ended + 1);
                        continue;
                    }
                    key
                }
                Event::Read { key, buf, result } => {
                    (bytes, ended) = (bytes + result? as u64, ended + 1);
                    // Which closes it.
                    items[key.0 as usize].file = None;
                    if let ReadBuf::Tx(tx, _) = buf {
                        spare.push(tx);
                    }
                    continue;
                }
                _ => continue,
            };
            let file = items[key.0 as usize].file.as_ref().ok_or("read before it was opened")?;
            let tx = spare.pop().ok_or("more under way than slots")?;
            ring.read(file, 0, ReadBuf::Tx(tx, 0..4096), key).map_err(|_| "busy")?;
        }
    }
    Ok(bytes)
}

fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}

/// Does a task to all items, and returns the bytes found.
type Run<'a> = Box<dyn FnMut(&mut [Item], Task) -> Result<u64> + 'a>;

/// A way to do it, with what it has taken: wall clock and CPU, for each task and round.
struct Way<'a> {
    name: &'static str,
    run: Run<'a>,
    taken: [Vec<(Duration, Duration)>; 3],
}

impl<'a> Way<'a> {
    fn new(name: &'static str, run: impl FnMut(&mut [Item], Task) -> Result<u64> + 'a) -> Way<'a> {
        Way { name, run: Box::new(run), taken: Default::default() }
    }

    fn on<E: Engine>(name: &'static str, mut ring: Ring<E>, dir: &'a File) -> Way<'a> {
        Way::new(name, move |items, task| through(&mut ring, dir, items, task))
    }
}

fn median(times: impl Iterator<Item = Duration>, files: usize) -> f64 {
    let mut times: Vec<Duration> = times.collect();
    times.sort();
    times[times.len() / 2].as_secs_f64() * 1e6 / files as f64
}

/// The directory, removed with all that is in it.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn make(root: &Path, files: usize) -> Result<Vec<Item>> {
    let mut items = Vec::with_capacity(files);
    for number in 0..files {
        let (folder, name) = (number / PER_FOLDER, number % PER_FOLDER);
        if name == 0 {
            std::fs::create_dir_all(root.join(folder.to_string()))?;
        }
        let path = format!("{folder}/{name}");
        std::fs::write(root.join(&path), [b'x'; FILE_LEN])?;
        items.push(Item { path: Some(CString::new(path)?), file: None });
    }
    Ok(items)
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<usize>());
    let mut argument = |default| arguments.next().transpose().map(|number| number.unwrap_or(default));
    let (files, rounds, at_once) =
        (argument(50_000)?.max(1), argument(5)?.max(1), argument(64)?.clamp(1, 256));
    print!("{}", compare(files, rounds, at_once)?);
    Ok(())
}

/// All ways beside each other, as a table.
pub(crate) fn compare(files: usize, rounds: usize, at_once: usize) -> Result<String> {
    let mut said = String::new();
    let folder = Folder(std::env::temp_dir().join(format!("many-files-{}", std::process::id())));
    let mut items = make(&folder.0, files)?;
    let dir = File::directory(&folder.0)?;
    let config = Config { connections: 1, rx_count: 1, rx_len: 1, tx_count: at_once as u32, tx_len: 4096 };

    let mut ways = vec![Way::new("plain calls", |items: &mut [Item], task| plain(&dir, items, task))];
    match Ring::uring(&config) {
        Ok(ring) => ways.push(Way::on("io_uring", ring, &dir)),
        Err(why) => writeln!(said, "io_uring is left out: {why}")?,
    }
    let poll = SqPoll { spin: Duration::from_millis(1), idle: Duration::from_millis(50), cpu: None };
    match Ring::sqpoll(&config, &poll) {
        Ok(ring) => ways.push(Way::on("io_uring, polled", ring, &dir)),
        Err(why) => writeln!(said, "the polled ring is left out: {why}")?,
    }
    ways.push(Way::on("epoll, a helper", Ring::epoll(&config)?, &dir));

    for _ in 0..rounds {
        for (index, task) in [Task::Stat, Task::Read, Task::StatAndRead].into_iter().enumerate() {
            for way in &mut ways {
                let (start, before) = (Instant::now(), cpu());
                let bytes = (way.run)(&mut items, task)?;
                way.taken[index].push((start.elapsed(), cpu() - before));
                if bytes != (files * FILE_LEN) as u64 {
                    return Err(format!("{}: {bytes} bytes", way.name).into());
                }
            }
        }
    }
    writeln!(
        said,
        "{files} files of {FILE_LEN} bytes in the cache, {at_once} under way; median of {rounds} rounds\n"
    )?;
    writeln!(said, "| µs per file, wall clock (CPU) | stat | open, read, close | open, stat, read, close |")?;
    writeln!(said, "|---|---|---|---|")?;
    for way in &ways {
        let cell = |taken: &Vec<(Duration, Duration)>| {
            let wall = median(taken.iter().map(|(wall, _)| *wall), files);
            format!("{wall:.2} ({:.2})", median(taken.iter().map(|(_, cpu)| *cpu), files))
        };
        let cells: Vec<String> = way.taken.iter().map(cell).collect();
        writeln!(said, "| {} | {} |", way.name, cells.join(" | "))?;
    }
    Ok(said)
}
