//! `sitar pack`: a directory becomes an archive that replaces the last one when it is whole.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufWriter, IsTerminal, Read as _, Seek as _, Write};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use indicatif::{HumanBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};
use signal_hook::consts::SIGXFSZ;
use sitar_publish::{Level, PackError, PackFault, PackOptions, Packed, Progress, pack};

use crate::cli::Pack;
use crate::error::Error;
use crate::output;

mod summary;
mod unfinished;

use self::unfinished::Unfinished;

/// Packs.
///
/// # Errors
/// The archive cannot be made; then the one that was there is still there.
pub fn run(arguments: &Pack) -> Result<(), Error> {
    // Caught, it no longer ends the program in the middle: what is written beyond the limit fails,
    // as on a full disk.
    let _ = signal_hook::flag::register(SIGXFSZ, Arc::default());
    if arguments.output.as_os_str() == "-" {
        if io::stdout().is_terminal() {
            return Err(Error::new("will not write an archive to a terminal")
                .hint("name a file: sitar pack DIR -o site.tar"));
        }
        let earlier = arguments.reuse.as_deref().map(open).transpose()?;
        let packed = write(arguments, earlier, io::stdout().lock())?;
        // Standard output holds the archive, and what standard error refuses cannot be reported
        // anywhere.
        let _ = io::stderr().write_all(summary::text(arguments, &packed).as_bytes());
        return Ok(());
    }
    let output = Output::prepare(&arguments.output, &arguments.directory)?;
    let earlier = match &arguments.reuse {
        Some(path) => Some(open(path)?),
        None if arguments.no_reuse => None,
        // Nothing there, or nothing that can be read: then everything is encoded.
        None => File::open(&output.path).ok(),
    };
    let packed = output.replace(|file| write(arguments, earlier, file))?;
    output::print(&summary::text(arguments, &packed))
        .map_err(|error| error.hint("the archive itself is written, and whole"))
}

fn write(arguments: &Pack, earlier: Option<File>, output: impl Write) -> Result<Packed, Error> {
    let cores = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let options = PackOptions {
        threads: arguments.threads.map_or(cores, NonZeroUsize::from),
        newest: arguments.source_date_epoch,
        level: if arguments.fast { Level::Fast } else { Level::Best },
        earlier,
        follow_links: arguments.follow_links,
        config_files: arguments.serve_config_files,
    };
    let bar = Bar::new();
    let packed = pack(&arguments.directory, BufWriter::with_capacity(1 << 20, output), options, &bar);
    bar.0.finish_and_clear();
    packed.map_err(|error| explain(&error))
}

fn open(path: &Path) -> Result<File, Error> {
    File::open(path).map_err(|error| {
        Error::new(format!("cannot open the earlier pack {}", path.display()))
            .cause(error)
            .hint("--reuse names an archive that sitar pack has made; without it, the one at the output's place is used")
    })
}

fn explain(error: &PackError) -> Error {
    let told = Error::new(error.to_string());
    match error.fault {
        PackFault::Open(_) => {
            told.hint("DIR is the folder that a site generator has filled, such as public/, dist/ or _site/")
        }
        PackFault::Read(_) => told.hint("check that this user may read it (`ls -l`)"),
        PackFault::Write(ref error) if error.kind() == io::ErrorKind::FileTooLarge => told.hint(
            "the file system has no files of that size, or a limit forbids them (`ulimit -f`); an archive that was \
             there is unchanged",
        ),
        PackFault::Write(_) => {
            told.hint("check that there is room (`df`); an archive that was there is unchanged")
        }
        _ => told,
    }
}

/// The destination of the archive.
struct Output {
    /// Links followed.
    path: PathBuf,
    folder: PathBuf,
    name: OsString,
}

impl Output {
    fn prepare(wanted: &Path, directory: &Path) -> Result<Output, Error> {
        let path = fs::canonicalize(wanted).unwrap_or_else(|_| wanted.to_owned());
        let cannot = || Error::new(format!("cannot write {}", wanted.display()));
        let (Some(name), Some(folder)) = (path.file_name(), path.parent()) else {
            return Err(cannot().cause("it is not the name of a file").hint("for example: -o site.tar"));
        };
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        let folder = fs::canonicalize(folder).map_err(|error| cannot().cause(error))?;
        match fs::symlink_metadata(&path) {
            Ok(there) if !there.is_file() => {
                return Err(cannot()
                    .cause("something is there that is not a file")
                    .hint("to write to a pipe or a device: -o - and a redirection"));
            }
            Ok(there) if there.len() > 0 && !is_tar(&path) => {
                return Err(cannot()
                    .cause("a file is there that is not a tar archive")
                    .hint("it may be a mistake in the name; remove the file if it is not"));
            }
            _ => {}
        }
        if fs::canonicalize(directory).is_ok_and(|directory| folder.starts_with(directory)) {
            return Err(cannot()
                .cause(format!("it would lie in {}, and the next pack would contain it", directory.display()))
                .hint("write it elsewhere, for example: -o ../site.tar"));
        }
        Ok(Output { path: folder.join(name), name: name.to_owned(), folder })
    }

    /// Whole and on the disk, or not there at all: an open of the path finds the old archive or
    /// the new one.
    fn replace<T>(&self, write: impl FnOnce(&mut File) -> Result<T, Error>) -> Result<T, Error> {
        let cannot = |error: io::Error| {
            Error::new(format!("cannot write {}", self.path.display()))
                .cause(error)
                .hint("check that this user may write to the folder, and that there is room (`df`)")
        };
        let (mut file, path) = Unfinished::create(&self.folder, &self.name).map_err(cannot)?;
        let unfinished = Unfinished::guard(path)?;
        let done = write(&mut file)?;
        file.sync_all().map_err(cannot)?;
        fs::rename(&unfinished.path, &self.path).map_err(cannot)?;
        drop(unfinished);
        // The name too; some file systems cannot, and then it is as safe as they make it.
        let _ = File::open(&self.folder).and_then(|folder| folder.sync_all());
        Ok(done)
    }
}

/// The magic of every tar since 1988; the older ones are not worth guarding.
fn is_tar(path: &Path) -> bool {
    let mut magic = [0; 5];
    let read = File::open(path).and_then(|mut file| {
        file.seek(io::SeekFrom::Start(257))?;
        file.read_exact(&mut magic)
    });
    read.is_ok() && &magic == b"ustar"
}

/// A bar on standard error, where that is a terminal.
struct Bar(ProgressBar);

impl Bar {
    fn new() -> Bar {
        let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
        // A template that indicatif cannot read would be shown as its default.
        if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos} of {len} files, {msg}") {
            bar.set_style(style.progress_chars("=> "));
        }
        Bar(bar)
    }
}

impl Progress for Bar {
    fn begin(&self, files: usize) {
        self.0.set_length(files as u64);
    }

    fn advance(&self, files: usize, archive: u64) {
        self.0.set_position(files as u64);
        // Not for a hundred thousand files when it is not shown.
        if !self.0.is_hidden() {
            self.0.set_message(format!("{} written", HumanBytes(archive)));
        }
    }
}

#[cfg(test)]
mod tests;
