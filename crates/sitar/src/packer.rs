//! The packer: a process of low priority that makes encodings of one site, and ends.
//!
//! The supervisor starts the same program with the same arguments, and a variable that says so.
//! Standard input is the line to it. One message brings the site's root, open, and what is to be
//! done. The packer becomes the user that serves, enters a sandbox in which it can read the root
//! and write to the cache, and reach nothing else. It has no keys and no sockets. When the line
//! ends, it ends at once.

use std::fs::File;
use std::io::{self, BufWriter};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, Dir, FileType, Gid, Mode, OFlags, Uid};
use rustix::process::{Resource, Rlimit, setrlimit};
use serde_json::{Value, json};
use sitar_publish::{EncodeOptions, Encoded, Level, encode_site};
use sitar_site::{Encodings, Options, Site};

use crate::cache::{Cache, ENDING};
use crate::channel::{Channel, Limits, Message};
use crate::error::Error;
use crate::handover::{User, not_understood};
use crate::sandbox::{self, Policy, Reach};
use crate::worker;

/// The name under which a packer runs (`argv[0]`).
pub(crate) const NAME: &str = "sitar-packer";
/// The variable that tells a program that it is a packer: the number of its supervisor's process.
pub(crate) const PACKER_OF: &str = "SITAR_PACKER_OF";

/// Seconds of processor time after which the kernel ends a packer.
const CPU_MAX: u64 = 3600;
/// The end of the names of files that are not whole.
const UNFINISHED: &str = ".unfinished";

/// Whether this process was started as a packer.
pub(crate) fn is_this_process() -> bool {
    std::env::var_os(PACKER_OF).is_some()
}

/// What a packer is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Job {
    pub(crate) path: PathBuf,
    pub(crate) options: Options,
    pub(crate) folder: PathBuf,
    /// The name of the file in the folder.
    pub(crate) name: String,
    /// The beginning of the names of the configuration's files, and those that are in use.
    pub(crate) prefix: String,
    pub(crate) used: Vec<String>,
    /// MiB that all files of the folder may take.
    pub(crate) size: u32,
    pub(crate) is_best: bool,
    /// No file is begun after this time.
    pub(crate) time: Duration,
    pub(crate) user: Option<User>,
    pub(crate) policy: Policy,
}

impl Job {
    /// Returns the message that brings it. Paths are bytes, and come as blobs.
    pub(crate) fn parts(&self) -> (Value, [&[u8]; 2]) {
        use std::os::unix::ffi::OsStrExt as _;
        let Options { prefix, follow_links, config_files, .. } = &self.options;
        let value = json!({
            "prefix": prefix,
            "follow_links": follow_links,
            "config_files": config_files,
            "name": self.name,
            "own": self.prefix,
            "used": self.used,
            "size": self.size,
            "best": self.is_best,
            "seconds": self.time.as_secs(),
            "user": self.user.map(|user| [user.uid, user.gid]),
            "sandbox": match self.policy { Policy::Auto => 0, Policy::Strict => 1, Policy::Off => 2 },
        });
        (value, [self.path.as_os_str().as_bytes(), self.folder.as_os_str().as_bytes()])
    }

    /// Reads the message. `None`: it has another shape.
    fn read(message: &Message) -> Option<Job> {
        use std::os::unix::ffi::OsStrExt as _;
        let value = &message.value;
        let number = |name: &str| value.get(name).and_then(Value::as_u64);
        let text = |name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
        let truth = |name: &str| value.get(name).and_then(Value::as_bool);
        let path = |at: usize| Some(PathBuf::from(std::ffi::OsStr::from_bytes(message.blobs.get(at)?)));
        let user = match value.get("user")? {
            Value::Null => None,
            pair => {
                let id = |at: usize| u32::try_from(pair.get(at)?.as_u64()?).ok();
                Some(User { uid: id(0)?, gid: id(1)? })
            }
        };
        let used = value.get("used")?.as_array()?.iter();
        Some(Job {
            path: path(0)?,
            options: Options {
                prefix: text("prefix"),
                follow_links: truth("follow_links")?,
                config_files: truth("config_files")?,
                ..Options::default()
            },
            folder: path(1)?,
            name: text("name")?,
            prefix: text("own")?,
            used: used.map(|name| name.as_str().map(str::to_owned)).collect::<Option<_>>()?,
            size: u32::try_from(number("size")?).ok()?,
            is_best: truth("best")?,
            time: Duration::from_secs(number("seconds")?),
            user,
            policy: *[Policy::Auto, Policy::Strict, Policy::Off]
                .get(usize::try_from(number("sandbox")?).ok()?)?,
        })
    }
}

/// Returns what a packer says of its work.
fn done(outcome: Result<Encoded, String>) -> Value {
    match outcome {
        Ok(encoded) => json!({
            "files": encoded.files,
            "made": encoded.made,
            "left": encoded.left,
            "without_room": encoded.without_room,
            "unchanged": encoded.is_unchanged,
        }),
        Err(why) => json!({ "failed": why }),
    }
}

/// Reads what [`done`] returns. `None`: it has another shape.
pub(crate) fn read_done(value: &Value) -> Option<Result<Encoded, String>> {
    if let Some(why) = value.get("failed") {
        return Some(Err(crate::handover::said(why.as_str()?)));
    }
    let count = |name: &str| value.get(name)?.as_u64().and_then(|count| usize::try_from(count).ok());
    Some(Ok(Encoded {
        files: count("files")?,
        made: count("made")?,
        left: count("left")?,
        without_room: count("without_room")?,
        is_unchanged: value.get("unchanged")?.as_bool()?,
        ..Encoded::default()
    }))
}

/// Makes the encodings that the supervisor asks for.
///
/// # Errors
/// It was not started by a supervisor.
pub(crate) fn run() -> Result<(), Error> {
    let channel = worker::take_standard_input().ok().filter(|channel| {
        let supervisor = channel.maker().map(|pid| pid.to_string().into());
        supervisor.is_some() && supervisor == std::env::var_os(PACKER_OF)
    });
    let channel = channel.ok_or_else(|| {
        Error::new(format!("the variable {PACKER_OF} is set, and no supervisor has started this process"))
            .hint("sitar sets it for its own processes: take it out of the environment")
    })?;
    let _ = rustix::thread::set_name(c"sitar-packer");
    sitar_io::run_last();
    // Caught, it no longer ends the program: what is written beyond the limit fails.
    let _ = signal_hook::flag::register(signal_hook::consts::SIGXFSZ, Arc::default());
    let broken = |error: io::Error| Error::new("the supervisor is not understood").cause(error);
    let Some(mut message) = channel.receive(Limits::OF_SUPERVISOR).map_err(broken)? else { return Ok(()) };
    let job = Job::read(&message).ok_or_else(|| broken(not_understood()))?;
    let root = message.descriptors.pop().ok_or_else(|| broken(not_understood()))?;
    if job.is_best {
        sitar_io::run_when_idle();
    }
    let channel = Arc::new(channel);
    let outcome = pack(&job, &root, &channel);
    // Without a supervisor there is no reader.
    let _ = channel.send(&done(outcome), &[], &[]);
    Ok(())
}

fn pack(job: &Job, root: &OwnedFd, channel: &Arc<Channel>) -> Result<Encoded, String> {
    let folder = prepare(job).map_err(|error| {
        format!("the cache {} cannot be used: {error}", crate::error::printable(&job.folder))
    })?;
    let room = (u64::from(job.size) << 20).saturating_sub(tidy(job, &folder));
    limit(room);
    enter(job, root, &folder)?;
    let line = Arc::clone(channel);
    let watch = move || {
        // Nothing more comes but the end.
        let _ = line.receive(Limits::OF_WORKER);
        std::process::exit(0);
    };
    thread::Builder::new().name("sitar-line".into()).spawn(watch).map_err(|error| error.to_string())?;
    sandbox::seal_packer(job.policy).map_err(|error| error.sentence())?;
    let open = |_: &Path| root.try_clone();
    let site =
        Site::open_with(&open, &job.path, &job.options, &mut |_| ()).map_err(|error| error.to_string())?;
    write(job, &site, &folder, room).map_err(|error| match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            format!("there is no space left in the cache {}", crate::error::printable(&job.folder))
        }
        _ => format!("cannot write to the cache {}: {error}", crate::error::printable(&job.folder)),
    })
}

/// Makes the folder where it is missing, and opens it.
fn prepare(job: &Job) -> io::Result<OwnedFd> {
    let is_new = !job.folder.exists();
    if is_new {
        if let Some(parent) = job.folder.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::DirBuilder::new().mode(0o700).create(&job.folder)?;
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = rustix::fs::open(&job.folder, flags, Mode::empty())?;
    if let Some(user) = job.user
        && (is_new || is_roots_and_empty(&folder)?)
    {
        rustix::fs::fchown(&folder, Some(Uid::from_raw(user.uid)), Some(Gid::from_raw(user.gid)))?;
    }
    let stat = rustix::fs::fstat(&folder)?;
    let owner = job.user.map_or_else(|| rustix::process::geteuid().as_raw(), |user| user.uid);
    if stat.st_uid != owner || stat.st_mode & 0o022 != 0 {
        let why = "it has to belong to the user that serves, and no one else may write there";
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
    }
    Ok(folder)
}

/// Whether a folder was made for the cache by root, and not for anything else.
fn is_roots_and_empty(folder: &OwnedFd) -> io::Result<bool> {
    let mut entries = Dir::read_from(folder)?.flatten();
    let is_empty = entries.all(|entry| matches!(entry.file_name().to_bytes(), b"." | b".."));
    Ok(is_empty && rustix::fs::fstat(folder)?.st_uid == 0)
}

/// Removes files of sites that are gone, and what was not finished. Returns the bytes that files of
/// other sites take.
fn tidy(job: &Job, folder: &OwnedFd) -> u64 {
    let Ok(entries) = Dir::read_from(folder) else { return 0 };
    let mut taken = 0;
    for entry in entries.flatten() {
        let Ok(name) = entry.file_name().to_str() else { continue };
        let Ok(stat) = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile || name == job.name {
            continue;
        }
        let is_whole = name.ends_with(ENDING);
        let is_gone = Cache::is_own(&job.prefix, name)
            && (name.ends_with(UNFINISHED) || (is_whole && !job.used.iter().any(|used| used == name)));
        let is_removed = is_gone && rustix::fs::unlinkat(folder, name, AtFlags::empty()).is_ok();
        if is_whole && !is_removed {
            taken += u64::try_from(stat.st_size).unwrap_or(0);
        }
    }
    taken
}

/// Bounds what this process can take.
fn limit(room: u64) {
    let at_most = |many| Rlimit { current: Some(many), maximum: Some(many) };
    // It may lower its limits; one that is lower already stays.
    let _ = setrlimit(Resource::Cpu, at_most(CPU_MAX));
    let _ = setrlimit(Resource::Fsize, at_most(room.saturating_add(1 << 20)));
    let _ = setrlimit(Resource::Core, at_most(0));
}

fn enter(job: &Job, root: &OwnedFd, folder: &OwnedFd) -> Result<(), String> {
    if let Some(user) = job.user {
        sandbox::prepare(job.policy);
        worker::become_user(user).map_err(|error| error.sentence())?;
    }
    let copy = |fd: &OwnedFd| fd.try_clone().map_err(|error| error.to_string());
    let is_directory = crate::handover::is_directory(root);
    let reach = Reach::Packer {
        root: is_directory.then(|| copy(root)).transpose()?,
        cache: copy(folder)?,
        everywhere: job.options.follow_links,
    };
    sandbox::enter(job.policy, reach).map(drop).map_err(|error| error.sentence())
}

/// Returns what no two encodings files have in common: the length, and the hash at the end, which
/// covers the hashes of all bodies.
fn identity(file: &OwnedFd) -> Option<(u64, [u8; 32])> {
    let length = u64::try_from(rustix::fs::fstat(file).ok()?.st_size).ok()?;
    let mut hash = [0; 32];
    let read = rustix::io::pread(file, &mut hash, length.checked_sub(32)?).ok()?;
    (read == hash.len()).then_some((length, hash))
}

/// Writes the encodings file beside its place, and then puts it there.
fn write(job: &Job, site: &Site, folder: &OwnedFd, room: u64) -> io::Result<Encoded> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let earlier = rustix::fs::openat(folder, &*job.name, flags, Mode::empty()).ok();
    let before = earlier.as_ref().and_then(identity);
    // One that is damaged counts for nothing.
    let earlier = earlier.and_then(|file| Encodings::open(file).ok());
    let unfinished = format!("{}.{}{UNFINISHED}", job.name, std::process::id());
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(folder, &*unfinished, flags, Mode::RUSR | Mode::WUSR)?;
    let own = file.try_clone()?;
    let (begin, has_earlier) = (Instant::now(), earlier.is_some());
    let options = EncodeOptions {
        level: if job.is_best { Level::Best } else { Level::Fast },
        earlier: earlier.as_ref(),
        room,
        is_over: &mut || begin.elapsed() >= job.time,
    };
    let written = encode_site(site, BufWriter::with_capacity(1 << 20, File::from(file)), options);
    let placed = written.and_then(|mut encoded| {
        // What cannot be read is left each time, and the rest is taken over as it was.
        encoded.is_unchanged |= has_earlier && before.is_some() && identity(&own) == before;
        if encoded.is_unchanged {
            rustix::fs::unlinkat(folder, &*unfinished, AtFlags::empty())?;
        } else {
            rustix::fs::renameat(folder.as_fd(), &*unfinished, folder.as_fd(), &*job.name)?;
        }
        Ok(encoded)
    });
    if placed.is_err() {
        let _ = rustix::fs::unlinkat(folder, &*unfinished, AtFlags::empty());
    }
    placed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_and_its_report_come_as_they_were_sent() {
        let job = Job {
            path: "/srv/a".into(),
            options: Options { prefix: Some("b".into()), follow_links: true, ..Options::default() },
            folder: "/var/cache/sitar".into(),
            name: "1-2.encodings".into(),
            prefix: "1".into(),
            used: vec!["1-2.encodings".into(), "1-3.encodings".into()],
            size: 7,
            is_best: true,
            time: Duration::from_secs(60),
            user: Some(User { uid: 1, gid: 2 }),
            policy: Policy::Strict,
        };
        let (value, blobs) = job.parts();
        let blobs = blobs.map(|blob| zeroize::Zeroizing::new(blob.to_vec())).into();
        let message = Message { value, blobs, descriptors: Vec::new() };
        assert_eq!(Job::read(&message), Some(job));
        let encoded = Encoded { files: 5, made: 1, left: 2, without_room: 3, ..Encoded::default() };
        assert_eq!(read_done(&done(Ok(encoded))), Some(Ok(encoded)));
        assert_eq!(read_done(&done(Err("no\u{1b}".into()))), Some(Err("no\\u{1b}".to_owned())));
        assert_eq!(read_done(&json!({})), None);
    }

    #[test]
    fn what_is_of_no_use_any_more_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["1-a.encodings", "1-b.encodings", "1-a.encodings.7.unfinished", "2-c.encodings", "notes"]
        {
            std::fs::write(folder.path().join(name), [0; 10]).unwrap();
        }
        let job = Job {
            path: PathBuf::new(),
            options: Options::default(),
            folder: folder.path().to_owned(),
            name: "1-a.encodings".into(),
            prefix: "1".into(),
            used: vec!["1-a.encodings".into()],
            size: 1,
            is_best: false,
            time: Duration::ZERO,
            user: None,
            policy: Policy::Off,
        };
        let opened = File::open(folder.path()).unwrap().into();
        // What another server has there is left alone, and takes its space.
        assert_eq!(tidy(&job, &opened), 10);
        let mut left: Vec<_> =
            std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["1-a.encodings", "2-c.encodings", "notes"]);
    }
}
