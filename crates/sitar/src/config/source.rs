//! One file: its text, the places in it, and its TOML.

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::Path;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, Error as SyntaxError};

use super::problems::{Problems, count_words, quoted};
use super::{FLAGS, Place};

/// The most bytes of a file.
pub(super) const FILE_MAX: u64 = 1 << 20;
/// The most syntax errors that are reported of one file, each on a line of its own.
const SYNTAX_MAX: usize = 20;
/// The most syntax errors that are looked at for that.
const LOOKED_AT_MAX: usize = 500;
/// The distance between two places up to which characters are counted in advance.
const BLOCK: usize = 1 << 10;

/// The text of a file, and where its lines begin.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) file: Arc<Path>,
    pub(super) text: String,
    /// The offset of each line.
    lines: Vec<usize>,
    /// The number of characters before each block.
    blocks: Vec<usize>,
}

/// What could be understood of a file.
pub(super) struct Parsed<'text> {
    pub(super) table: DeTable<'text>,
    /// The file has syntax errors, so what is missing in the table may be in the file.
    pub(super) is_broken: bool,
    /// The lines from which on the table is not reliable.
    pub(super) doubtful: Doubtful,
}

/// The parts of a file in which a value may not be what the file says, because of syntax errors.
#[derive(Debug, Default)]
pub(super) struct Doubtful {
    /// Lines with an error of their own.
    lines: Vec<usize>,
    /// The first line with an error that may have changed the meaning of what comes behind it.
    from: Option<usize>,
}

impl Doubtful {
    pub(super) fn covers(&self, place: &Place) -> bool {
        self.from.is_some_and(|from| place.line >= from) || self.lines.contains(&place.line)
    }
}

impl Source {
    /// Reads a file.
    ///
    /// # Errors
    /// A sentence that says why it cannot be read, and where in the file.
    pub(super) fn read(path: &Path, file: &Arc<Path>) -> Result<Source, (Place, String)> {
        let whole = |what: String| (Place::whole(file), what);
        let cannot = |error: std::io::Error| {
            whole(match error.kind() {
                ErrorKind::NotFound => "no such file".to_owned(),
                ErrorKind::PermissionDenied => "cannot be read: permission denied".to_owned(),
                _ => format!("cannot be read: {error}"),
            })
        };
        // Before it is opened: opening a FIFO waits for its writer.
        let metadata = fs::metadata(path).map_err(cannot)?;
        if metadata.is_dir() {
            return Err(whole("is a folder, and not a file".to_owned()));
        }
        if !metadata.is_file() {
            return Err(whole("is no regular file".to_owned()));
        }
        let mut bytes = Vec::new();
        File::open(path)
            .and_then(|opened| opened.take(FILE_MAX + 1).read_to_end(&mut bytes))
            .map_err(cannot)?;
        Source::of_bytes(file, bytes)
    }

    /// Takes the bytes of a file.
    ///
    /// # Errors
    /// There are too many, or they are not UTF-8.
    pub(super) fn of_bytes(file: &Arc<Path>, bytes: Vec<u8>) -> Result<Source, (Place, String)> {
        if bytes.len() as u64 > FILE_MAX {
            return Err((Place::whole(file), "is larger than 1 MiB".to_owned()));
        }
        match String::from_utf8(bytes) {
            Ok(text) => {
                // A byte order mark is no column.
                let bare = text.strip_prefix('\u{feff}').map(ToOwned::to_owned);
                Ok(Source::new(file, bare.unwrap_or(text)))
            }
            Err(error) => {
                let end = error.utf8_error().valid_up_to();
                let valid = error.as_bytes().get(..end).unwrap_or_default();
                let source = Source::new(file, String::from_utf8_lossy(valid).into_owned());
                Err((source.place(end), "is not UTF-8 from here on".to_owned()))
            }
        }
    }

    fn new(file: &Arc<Path>, text: String) -> Source {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        let lines = std::iter::once(0).chain(ends).collect();
        let mut blocks = vec![0];
        let mut count = 0;
        for block in text.as_bytes().chunks(BLOCK) {
            count += characters(block);
            blocks.push(count);
        }
        Source { file: Arc::clone(file), text, lines, blocks }
    }

    /// Returns the place of an offset.
    pub(super) fn place(&self, offset: usize) -> Place {
        let line = self.lines.partition_point(|start| *start <= offset).max(1);
        let start = self.lines.get(line - 1).copied().unwrap_or(0);
        if *self.file == *Path::new(FLAGS) {
            let end = self.lines.get(line).map_or(self.text.len(), |end| end.saturating_sub(1));
            let label = self.text.get(start..end).and_then(|line| line.rsplit_once(" # "));
            let file = label.map_or_else(|| Arc::clone(&self.file), |(_, flag)| Path::new(flag).into());
            return Place::whole(&file);
        }
        let column = self.characters_before(offset).saturating_sub(self.characters_before(start)) + 1;
        Place { file: Arc::clone(&self.file), line, column }
    }

    fn characters_before(&self, offset: usize) -> usize {
        let offset = offset.min(self.text.len());
        let block = offset / BLOCK;
        let rest = self.text.as_bytes().get(block * BLOCK..offset).unwrap_or_default();
        self.blocks.get(block).copied().unwrap_or(0) + characters(rest)
    }

    /// Parses the text, and reports its syntax errors: one for each line.
    pub(super) fn parse(&self, problems: &mut Problems) -> Parsed<'_> {
        let (table, errors) = DeTable::parse_recoverable(&self.text);
        let doubtful = self.report(&errors, problems);
        Parsed { table: Spanned::into_inner(table), is_broken: !errors.is_empty(), doubtful }
    }

    /// Reports syntax errors in the order of their places, up to one that changes how all of the
    /// rest is read: the others are guesses.
    fn report(&self, errors: &[SyntaxError], problems: &mut Problems) -> Doubtful {
        let mut local: Vec<(Place, Explained)> = Vec::new();
        let mut doubtful = Doubtful::default();
        let mut wide = None;
        for (number, error) in first(errors).into_iter().enumerate() {
            let place = self.place(start(error));
            let is_new = local.last().is_none_or(|(last, _)| last.line != place.line);
            if number == LOOKED_AT_MAX || (is_new && local.len() == SYNTAX_MAX) {
                doubtful.from = Some(place.line);
                break;
            }
            let found = self.text.get(error.span().unwrap_or_default()).unwrap_or_default();
            let explained = explain(error.message(), found);
            if !explained.is_local {
                // So is what was found before it on its line.
                local.truncate(local.len() - usize::from(!is_new));
                doubtful.from = Some(place.line);
                wide = Some((place, explained));
                break;
            }
            if is_new {
                local.push((place, explained));
            }
        }
        doubtful.lines = local.iter().map(|(place, _)| place.line).collect();
        for (place, Explained { what, hint, .. }) in local.into_iter().chain(wide) {
            problems.push(&place, what, hint);
        }
        doubtful
    }
}

/// Returns the first errors of the file, one more than are looked at. There may be hundreds of
/// thousands, which are not all sorted for that.
fn first(errors: &[SyntaxError]) -> Vec<&SyntaxError> {
    let mut order: Vec<(usize, usize)> =
        errors.iter().enumerate().map(|(number, error)| (start(error), number)).collect();
    if order.len() > LOOKED_AT_MAX + 1 {
        order.select_nth_unstable(LOOKED_AT_MAX);
        order.truncate(LOOKED_AT_MAX + 1);
    }
    order.sort_unstable();
    order.into_iter().filter_map(|(_, number)| errors.get(number)).collect()
}

/// Returns the offset of a syntax error.
fn start(error: &SyntaxError) -> usize {
    error.span().unwrap_or_default().start
}

/// Counts the characters that begin in these bytes of UTF-8.
fn characters(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| **byte & 0xc0 != 0x80).count()
}

/// A syntax error in words.
struct Explained {
    what: String,
    hint: Option<String>,
    /// What stands on other lines is read as it is meant.
    is_local: bool,
}

/// Returns a syntax error in the operator's words. A message that is not known goes out as it is.
fn explain(message: &str, found: &str) -> Explained {
    const LINE: &str = "a line is KEY = VALUE, and a table begins with [NAME] or [[NAME]]";
    count_words();
    let is_one_line = !found.is_empty() && !found.contains('\n');
    let local = |what: &str, hint: Option<&str>| Explained {
        what: what.to_owned(),
        hint: hint.map(ToOwned::to_owned),
        is_local: true,
    };
    let wide = |what: &str| Explained { what: what.to_owned(), hint: None, is_local: false };
    let begins = |start: &str| message.starts_with(start);
    if begins("duplicate key") {
        return local(&format!("{} is there a second time", quoted(found)), None);
    }
    if begins("string values must be quoted") && is_one_line {
        let hint = match found {
            "yes" | "on" => "write true".to_owned(),
            "no" | "off" => "write false, or \"off\" where that is one of the words".to_owned(),
            _ => format!("write \"{}\"", quoted(found).trim_matches('\'')),
        };
        return local("a text needs quotes", Some(&hint));
    }
    if begins("string values must be quoted") {
        return local("the value is missing", None);
    }
    if begins("invalid boolean") {
        return local("true and false are written in lower case", None);
    }
    if begins("key with no value") || (begins("invalid unquoted key") && found == ":") {
        return local("a key needs '=' and a value", Some(LINE));
    }
    if begins("invalid key-value pair") {
        return local("this is no line of a configuration", Some(LINE));
    }
    if begins("unexpected key or value") {
        return local("the line goes on behind the value", Some("each key has a line of its own"));
    }
    if begins("missing escaped value") {
        let hint = "a backslash in double quotes is written \\\\, or stands in single quotes";
        return local("an unknown escape in a text", Some(hint));
    }
    if begins("unexpected leading zero") {
        return local("a number does not begin with 0", None);
    }
    if begins("invalid basic string") || begins("invalid literal string") {
        return local("the quote at the end of the text is missing", None);
    }
    if begins("unexpected `=` in array") || begins("unclosed array, ") {
        return wide("the ']' at the end of a list is missing");
    }
    if begins("missing comma between array elements") {
        return wide("a ',' or the ']' at the end of a list is missing");
    }
    if begins("missing comma between key-value pairs") || begins("unclosed inline table") {
        return wide("a ',' or the '}' at the end of a table is missing");
    }
    if begins("unclosed array table") || begins("unclosed table") {
        return wide("a ']' at the end of the header is missing");
    }
    wide(&format!("syntax error: {message}"))
}
