//! Seeded mutation of the fuzz targets' corpora on a stable compiler: a few seconds for each target
//! with every test run.
//!
//! Without coverage it is no substitute for `cargo xtask fuzz`; it finds what a few changes to a
//! known input reach. The same seed makes the same inputs in the same order; how many there are
//! depends on the time that it is given.
//!
//! `SITAR_FUZZ_SECONDS=n` changes the time for each target, `SITAR_SEED=n` the seed.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A fuzz target: a name as in `fuzz/Cargo.toml`, its property, and what its inputs are made of.
pub(crate) struct Target {
    pub(crate) name: &'static str,
    pub(crate) check: fn(&[u8]),
    pub(crate) tokens: &'static [&'static [u8]],
}

/// Makes a test of each target, and one that compares them with those that `fuzz/Cargo.toml` has
/// for the package.
macro_rules! targets {
    ($($name:ident: $check:expr, $tokens:expr;)*) => {
        mod mutated {
            use super::*;

            $(
                #[test]
                fn $name() {
                    let target = mutation::Target { name: stringify!($name), check: $check, tokens: $tokens };
                    mutation::run(&target);
                }
            )*

            #[test]
            fn every_target_of_this_crate_is_mutated() {
                let mut declared = mutation::declared(env!("CARGO_PKG_NAME"));
                declared.sort();
                let mut mutated = vec![$(stringify!($name)),*];
                mutated.sort();
                assert_eq!(mutated, declared);
            }
        }
    };
}
pub(crate) use targets;

/// Tries the corpus of a target, and then mutations of it for as long as they may take.
pub(crate) fn run(target: &Target) {
    run_for(target, number("SITAR_FUZZ_SECONDS", SECONDS));
}

/// Does the same for `seconds` seconds.
pub(crate) fn run_for(target: &Target, seconds: u64) {
    let seed = number("SITAR_SEED", SEED);
    let start = Instant::now();
    let corpus = corpus(target.name);
    corpus.values().for_each(|input| attempt(target, "the corpus", input));
    // Not before: on a busy machine the corpus alone may take a second.
    let deadline = Instant::now() + Duration::from_secs(seconds);
    let mut mutator = Mutator::new(seed, target.name, corpus.into_values().collect(), target.tokens);
    let mut tried: u64 = 0;
    while Instant::now() < deadline || (tried == 0 && seconds > 0) {
        attempt(target, &format!("input {tried} of seed {seed}"), mutator.next());
        tried += 1;
    }
    // Past the harness, which keeps what a test prints as long as it passes.
    let elapsed = start.elapsed().as_secs_f64();
    let _ = writeln!(
        std::io::stderr(),
        "mutated: {}: {tried} inputs in {elapsed:.1} s, seed {seed}",
        target.name
    );
    assert!(tried > 0 || seconds == 0, "nothing was tried");
}

/// Runs the property on one input; where it fails, the input is kept and named.
fn attempt(target: &Target, what: &str, input: &[u8]) {
    let Err(panic) = catch_unwind(AssertUnwindSafe(|| (target.check)(input))) else { return };
    let Target { name, .. } = target;
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{:016x}", hash(input)));
    println!("{name}: {what} fails ({} bytes)", input.len());
    match std::fs::write(&file, input) {
        Ok(()) => {
            println!("kept in {}; a copy in fuzz/corpus/{name}/ is tried by every test run", file.display());
        }
        Err(error) => println!("not kept: {}: {error}", file.display()),
    }
    let shown = &input[..input.len().min(HEX_MAX)];
    println!("in hex: {}", shown.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
    resume_unwind(panic);
}

/// The targets that `fuzz/Cargo.toml` has below the heading `# package`.
///
/// A target below a heading that no test knows would be tried by none, so there is no other
/// heading.
pub(crate) fn declared(package: &str) -> Vec<String> {
    let manifest = std::fs::read_to_string(root().join("fuzz/Cargo.toml")).expect("fuzz has a manifest");
    let (_, bins) = manifest.split_once("\n# sitar-").expect("the targets stand below headings");
    let mut names = BTreeMap::new();
    for section in format!("sitar-{bins}").split("\n# ") {
        let (heading, lines) = section.split_once('\n').expect("a heading is a line");
        let own = lines.lines().filter_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"'));
        names.insert(heading.to_owned(), own.map(str::to_owned).collect::<Vec<_>>());
    }
    let headings: Vec<_> = names.keys().map(String::as_str).collect();
    let known = ["sitar", "sitar-acme", "sitar-http", "sitar-server", "sitar-site", "sitar-tls"];
    assert_eq!(headings, known, "headings of fuzz/Cargo.toml");
    assert_eq!(
        names.values().flatten().count(),
        manifest.matches("[[bin]]").count(),
        "a target without a name"
    );
    names.remove(package).unwrap_or_default()
}

/// Inputs without end, made of a corpus.
pub(crate) struct Mutator {
    random: Random,
    corpus: Vec<Vec<u8>>,
    tokens: &'static [&'static [u8]],
    /// Some of the latest inputs, so that changes can add up.
    recent: Vec<Vec<u8>>,
    base: Vec<u8>,
    input: Vec<u8>,
    len_max: usize,
}

impl Mutator {
    pub(crate) fn new(
        seed: u64,
        name: &str,
        corpus: Vec<Vec<u8>>,
        tokens: &'static [&'static [u8]],
    ) -> Mutator {
        let longest = corpus.iter().map(Vec::len).max().expect("a corpus has inputs");
        Mutator {
            random: Random(seed ^ hash(name.as_bytes())),
            corpus,
            tokens,
            recent: Vec::new(),
            base: Vec::new(),
            input: Vec::new(),
            len_max: longest.max(LEN_MIN) * 2,
        }
    }

    /// The next input.
    pub(crate) fn next(&mut self) -> &[u8] {
        let from_recent = !self.recent.is_empty() && self.random.one_in(4);
        let bases = if from_recent { &self.recent } else { &self.corpus };
        self.base.clone_from(&bases[self.random.below(bases.len())]);
        self.input.clone_from(&self.base);
        // One change to half of all inputs, two to a quarter, and so on. Some leave everything as
        // it is.
        for _ in 0..CHANGES_MAX {
            self.change();
            if self.random.one_in(2) && self.input != self.base {
                break;
            }
        }
        self.input.truncate(self.len_max);
        if self.random.one_in(8) {
            if self.recent.len() < RECENT_MAX {
                self.recent.push(self.input.clone());
            } else {
                let at = self.random.below(RECENT_MAX);
                self.recent[at].clone_from(&self.input);
            }
        }
        &self.input
    }

    fn change(&mut self) {
        let Mutator { random, corpus, tokens, input, .. } = self;
        let at = random.below(input.len() + 1);
        let range = random.range(input.len());
        match random.below(18) {
            0 if at < input.len() => input[at] ^= 1 << random.below(8),
            1 if at < input.len() => input[at] = random.byte(),
            2 if at < input.len() => input[at] = SPECIAL[random.below(SPECIAL.len())],
            3 if at < input.len() => {
                let by = random.below(16) as u8 + 1;
                input[at] =
                    if random.one_in(2) { input[at].wrapping_add(by) } else { input[at].wrapping_sub(by) };
            }
            4 | 5 if !tokens.is_empty() => {
                let token = tokens[random.below(tokens.len())];
                input.splice(at..at, token.iter().copied());
            }
            6 | 7 if !tokens.is_empty() => {
                // In the place of as many bytes, or of a few.
                let token = tokens[random.below(tokens.len())];
                let len = if random.one_in(2) { token.len() } else { random.below(4) };
                let end = input.len().min(at + len);
                input.splice(at..end, token.iter().copied());
            }
            8 => {
                let byte = random.byte();
                let same = random.one_in(2);
                let bytes: Vec<u8> =
                    (0..=random.below(8)).map(|_| if same { byte } else { random.byte() }).collect();
                input.splice(at..at, bytes);
            }
            9 => drop(input.drain(range)),
            10 => input.truncate(at),
            11 => {
                let copies = if random.one_in(4) { random.below(16) + 1 } else { 1 };
                let bytes = input[range].repeat(copies);
                input.splice(at..at, bytes);
            }
            12 => {
                // The beginning of one and the end of another.
                let other = &corpus[random.below(corpus.len())];
                input.truncate(at);
                input.extend_from_slice(&other[random.below(other.len() + 1)..]);
            }
            13 => {
                let other = &corpus[random.below(corpus.len())];
                let bytes = &other[random.range(other.len())];
                input.splice(at..at, bytes.iter().copied());
            }
            14 => set_integer(input, at, random),
            15 | 16 => resize(input, at, random),
            _ => set_decimal(input, at, random),
        }
    }
}

/// Writes a big-endian integer: an extreme, or the number of bytes behind it, as a length would say
/// it.
fn set_integer(input: &mut [u8], at: usize, random: &mut Random) {
    let width = random.below(4) + 1;
    let Some(place) = input.len().checked_sub(at + width) else { return };
    let value = match random.below(4) {
        0 => u32::MAX >> random.below(32),
        1 => 1 << random.below(32),
        // Between a length and what it counts there may be a few other bytes.
        _ => place.saturating_sub(random.below(9)) as u32,
    };
    input[at..at + width].copy_from_slice(&value.to_be_bytes()[4 - width..]);
}

/// Inserts or removes some bytes, and changes a byte shortly before by as much: it may be their
/// length.
fn resize(input: &mut Vec<u8>, at: usize, random: &mut Random) {
    let by = random.below(16) + 1;
    let Some(length) = at.checked_sub(random.below(16) + 1) else { return };
    if random.one_in(2) {
        let byte = random.byte();
        input.splice(at..at, std::iter::repeat_n(byte, by));
        input[length] = input[length].wrapping_add(by as u8);
    } else {
        let end = input.len().min(at + by);
        input[length] = input[length].wrapping_sub((end - at) as u8);
        input.drain(at..end);
    }
}

/// Replaces the first decimal number behind a place.
fn set_decimal(input: &mut Vec<u8>, at: usize, random: &mut Random) {
    let Some(start) = input[at..].iter().position(u8::is_ascii_digit).map(|digit| at + digit) else { return };
    let end =
        input[start..].iter().position(|byte| !byte.is_ascii_digit()).map_or(input.len(), |len| start + len);
    let old = String::from_utf8_lossy(&input[start..end]).parse::<u64>().unwrap_or(0);
    let new = match random.below(4) {
        0 => old.wrapping_add(1),
        1 => old.wrapping_sub(1),
        2 => u64::MAX >> random.below(64),
        _ => random.below(1000) as u64,
    };
    input.splice(start..end, new.to_string().into_bytes());
}

/// Numbers that look random (splitmix64), the same for the same seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    }

    /// Below `limit`, which is not 0.
    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    fn one_in(&mut self, odds: usize) -> bool {
        self.below(odds) == 0
    }

    fn byte(&mut self) -> u8 {
        self.below(256) as u8
    }

    /// A range within `len` bytes, more often short than long.
    fn range(&mut self, len: usize) -> std::ops::Range<usize> {
        let start = self.below(len + 1);
        let most = 1 << self.below(10);
        start..len.min(start + 1 + self.below(most))
    }
}

/// The inputs of a target's corpus by their files' names.
pub(crate) fn corpus(name: &str) -> BTreeMap<PathBuf, Vec<u8>> {
    let folder = root().join("fuzz/corpus").join(name);
    let entries = std::fs::read_dir(folder).expect("the corpus is in the tree");
    let paths = entries.map(|entry| entry.expect("a folder can be listed").path());
    paths.map(|path| (path.clone(), std::fs::read(path).expect("a seed can be read"))).collect()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn number(variable: &str, otherwise: u64) -> u64 {
    let Ok(text) = std::env::var(variable) else { return otherwise };
    text.parse().expect("SITAR_FUZZ_SECONDS and SITAR_SEED are numbers")
}

/// FNV-1a.
fn hash(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

/// Seconds for each target.
const SECONDS: u64 = 5;
const SEED: u64 = 1;
/// Bytes that formats give a meaning to, and extremes.
const SPECIAL: &[u8] = b"\0\x01\x7f\x80\xff\t\r\n \"#%&*,-./:;=?@[\\]_09Aaz";
/// Inputs may be twice as long as the longest of the corpus, and as this.
const LEN_MIN: usize = 256;
const RECENT_MAX: usize = 64;
const CHANGES_MAX: usize = 16;
/// Bytes of an input that are printed.
const HEX_MAX: usize = 512;
