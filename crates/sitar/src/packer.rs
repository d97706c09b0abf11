//! The packer: a process of low priority that makes encodings of one site, and ends.
//!
//! The supervisor starts the same program with the same arguments, and a variable that says so.
//! Standard input is the line to it. One message brings what is to be done and three open files:
//! the site's root, a new file to write to, and the one before. The packer becomes the user that
//! serves, enters a sandbox in which it can read the root, and reach nothing else. It has no keys
//! and no sockets, and opens nothing in the cache. When the line ends, it ends at once.

use std::fs::File;
use std::io::{self, BufWriter};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::{Value, json};
use sitar_publish::{EncodeOptions, Encoded, Level, encode_site};
use sitar_site::{Encodings, Options, Site};

use crate::channel::{Channel, Limits, Message};
use crate::error::Error;
use crate::events;
use crate::handover::{User, not_understood};
use crate::sandbox::{self, Policy, Reach};
use crate::worker;

/// The name under which a packer runs (`argv[0]`).
pub(crate) const NAME: &str = "sitar-packer";
/// The variable that tells a program that it is a packer: the number of its supervisor's process.
pub(crate) const PACKER_OF: &str = "SITAR_PACKER_OF";

/// Seconds of processor time after which the kernel ends a packer.
const CPU_MAX: u64 = 3600;
/// Bytes of memory that a packer may have. A file of 64 MiB takes 440 MiB at the best level.
const DATA_MAX: u64 = 1 << 30;

/// Whether this process was started as a packer.
pub(crate) fn is_this_process() -> bool {
    std::env::var_os(PACKER_OF).is_some()
}

/// What a packer is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Job {
    pub(crate) path: PathBuf,
    pub(crate) options: Options,
    /// Bytes that the new file may have.
    pub(crate) room: u64,
    pub(crate) is_best: bool,
    /// No file is begun after this time.
    pub(crate) time: Duration,
    pub(crate) user: Option<User>,
    pub(crate) policy: Policy,
    /// The form of what it says on standard error.
    pub(crate) events: events::Form,
}

impl Job {
    /// Returns the message that brings it. The path is bytes, and comes as a blob. Descriptors of
    /// the root, the new file and the one before, if there is one, come with it.
    pub(crate) fn parts(&self) -> (Value, [&[u8]; 1]) {
        use std::os::unix::ffi::OsStrExt as _;
        let Options { prefix, follow_links, config_files, .. } = &self.options;
        let value = json!({
            "prefix": prefix,
            "follow_links": follow_links,
            "config_files": config_files,
            "room": self.room,
            "best": self.is_best,
            "seconds": self.time.as_secs(),
            "user": self.user.map(|user| [user.uid, user.gid]),
            "sandbox": match self.policy { Policy::Auto => 0, Policy::Strict => 1, Policy::Off => 2 },
            "json_events": self.events == events::Form::Json,
        });
        (value, [self.path.as_os_str().as_bytes()])
    }

    /// Reads the message. `None`: it has another shape.
    fn read(message: &Message) -> Option<Job> {
        use std::os::unix::ffi::OsStrExt as _;
        let value = &message.value;
        let number = |name: &str| value.get(name).and_then(Value::as_u64);
        let text = |name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
        let truth = |name: &str| value.get(name).and_then(Value::as_bool);
        let user = match value.get("user")? {
            Value::Null => None,
            pair => {
                let id = |at: usize| u32::try_from(pair.get(at)?.as_u64()?).ok();
                Some(User { uid: id(0)?, gid: id(1)? })
            }
        };
        Some(Job {
            path: PathBuf::from(std::ffi::OsStr::from_bytes(message.blobs.first()?)),
            options: Options {
                prefix: text("prefix"),
                follow_links: truth("follow_links")?,
                config_files: truth("config_files")?,
                ..Options::default()
            },
            room: number("room")?,
            is_best: truth("best")?,
            time: Duration::from_secs(number("seconds")?),
            user,
            policy: *[Policy::Auto, Policy::Strict, Policy::Off]
                .get(usize::try_from(number("sandbox")?).ok()?)?,
            events: if truth("json_events")? { events::Form::Json } else { events::Form::Text },
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
    let Some(message) = channel.receive(Limits::OF_SUPERVISOR).map_err(broken)? else { return Ok(()) };
    let job = Job::read(&message).ok_or_else(|| broken(not_understood()))?;
    events::set_form(job.events);
    let mut files = message.descriptors.into_iter();
    let (Some(root), Some(new)) = (files.next(), files.next()) else { return Err(broken(not_understood())) };
    if job.is_best {
        sitar_io::run_when_idle();
    }
    let channel = Arc::new(channel);
    let outcome = pack(&job, &root, new, files.next(), &channel);
    // Without a supervisor there is no reader.
    let _ = channel.send(&done(outcome), &[], &[]);
    Ok(())
}

fn pack(
    job: &Job,
    root: &OwnedFd,
    new: OwnedFd,
    earlier: Option<OwnedFd>,
    channel: &Arc<Channel>,
) -> Result<Encoded, String> {
    limit(job.room);
    enter(job, root)?;
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
    write(job, &site, new, earlier).map_err(|error| match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "there is no space left in the cache".to_owned()
        }
        _ => format!("the encodings file cannot be written: {error}"),
    })
}

/// Bounds what this process can take, and has the kernel end it first where memory runs out.
fn limit(room: u64) {
    // Its own file in /proc is another user's later. Without /proc it is one among others.
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
    for (resource, most) in [
        (Resource::Data, DATA_MAX),
        (Resource::Cpu, CPU_MAX),
        (Resource::Fsize, room.saturating_add(1 << 20)),
        (Resource::Core, 0),
    ] {
        // One that is lower already stays: root could raise it.
        let most = Some(getrlimit(resource).maximum.map_or(most, |maximum| maximum.min(most)));
        let _ = setrlimit(resource, Rlimit { current: most, maximum: most });
    }
}

fn enter(job: &Job, root: &OwnedFd) -> Result<(), String> {
    if let Some(user) = job.user {
        sandbox::prepare(job.policy);
        worker::become_user(user).map_err(|error| error.sentence())?;
    }
    let is_directory = crate::handover::is_directory(root);
    let roots = is_directory.then(|| root.try_clone().map_err(|error| error.to_string())).transpose()?;
    let reach = Reach::Worker { roots: roots.into_iter().collect(), everywhere: job.options.follow_links };
    sandbox::enter(job.policy, reach).map(drop).map_err(|error| error.sentence())
}

/// Writes the encodings file.
fn write(job: &Job, site: &Site, new: OwnedFd, earlier: Option<OwnedFd>) -> io::Result<Encoded> {
    // One that is damaged counts for nothing.
    let earlier = earlier.and_then(|file| Encodings::open(file).ok());
    let begin = Instant::now();
    let options = EncodeOptions {
        level: if job.is_best { Level::Best } else { Level::Fast },
        earlier: earlier.as_ref(),
        room: job.room,
        is_over: &mut || begin.elapsed() >= job.time,
    };
    encode_site(site, BufWriter::with_capacity(1 << 20, File::from(new)), options)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_and_its_report_come_as_they_were_sent() {
        let job = Job {
            path: "/srv/a".into(),
            options: Options { prefix: Some("b".into()), follow_links: true, ..Options::default() },
            room: 7,
            is_best: true,
            time: Duration::from_secs(60),
            user: Some(User { uid: 1, gid: 2 }),
            policy: Policy::Strict,
            events: events::Form::Json,
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
}
