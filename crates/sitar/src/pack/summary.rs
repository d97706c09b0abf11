//! The summary of `sitar pack`: text for people, or JSON.

use std::fmt::{self, Display, Write as _};

use indicatif::HumanBytes;
use sitar_publish::{Encodings, Packed};
use sitar_site::Printable;

use crate::cli::Pack;
use crate::error::printable;

/// Warnings that are printed; more are counted.
const WARNINGS_MAX: usize = 20;

/// The summary, as JSON or for people.
pub(super) fn text(arguments: &Pack, packed: &Packed) -> String {
    if arguments.json {
        Json { arguments, packed }.to_string()
    } else {
        Text { arguments, packed }.to_string()
    }
}

pub(super) struct Text<'t> {
    pub(super) arguments: &'t Pack,
    pub(super) packed: &'t Packed,
}

impl Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Packed { files, bytes, archive, taken_over, replaced, fingerprinted, reused, too_large, .. } =
            *self.packed;
        let Packed { plain, fetched, .. } = *self.packed;
        let (from, to) = (printable(&self.arguments.directory), printable(&self.arguments.output));
        writeln!(f, "packed {from} to {to}")?;
        line(f, "files", &format_args!("{files}, {}", HumanBytes(bytes)))?;
        line(f, "archive", &HumanBytes(archive))?;
        if self.arguments.fast {
            line(f, "level", &"fast, for previews: without --fast, encodings are smaller")?;
        }
        for Encodings { suffix, files, before, after } in &self.packed.encodings {
            if *files > 0 {
                let share = percent(*after, *before);
                let (before, after) = (HumanBytes(*before), HumanBytes(*after));
                line(f, suffix, &format_args!("{files} made, {before} become {after} ({share} %)"))?;
            } else {
                line(f, suffix, &"none made")?;
            }
        }
        if fetched < plain {
            let share = percent(plain - fetched, plain);
            let (plain, fetched) = (HumanBytes(plain), HumanBytes(fetched));
            let value =
                format_args!("{share} %: a browser fetches {fetched} instead of {plain} for all files");
            line(f, "saved", &value)?;
        }
        if reused > 0 {
            line(f, "reused", &format_args!("encodings of {reused} files, from the earlier pack"))?;
        }
        if taken_over > 0 {
            line(f, "sidecars", &format_args!("{taken_over} were there already"))?;
        }
        if replaced > 0 {
            line(f, "replaced", &format_args!("{replaced} sidecars that are not their files encoded"))?;
        }
        line(f, "caching", &format_args!("{fingerprinted} names carry a fingerprint: kept for a year"))?;
        if too_large > 0 {
            line(f, "warning", &format_args!("{too_large} files above 64 MiB are not encoded"))?;
        }
        for warning in self.packed.warnings.iter().take(WARNINGS_MAX) {
            line(f, "warning", &Printable(&warning.to_string()))?;
        }
        match self.packed.warnings.len().saturating_sub(WARNINGS_MAX) {
            0 => Ok(()),
            more => line(f, "warning", &format_args!("and {more} more")),
        }
    }
}

fn line(f: &mut fmt::Formatter<'_>, label: &str, value: &dyn Display) -> fmt::Result {
    writeln!(f, "  {label:<8} {value}")
}

fn percent(part: u64, whole: u64) -> u64 {
    part.saturating_mul(100).checked_div(whole).unwrap_or(0)
}

/// One object, one line.
pub(super) struct Json<'j> {
    pub(super) arguments: &'j Pack,
    pub(super) packed: &'j Packed,
}

impl Display for Json<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Packed { files, bytes, archive, taken_over, replaced, fingerprinted, reused, too_large, .. } =
            *self.packed;
        let Packed { plain, fetched, .. } = *self.packed;
        write!(
            f,
            "{{\"output\":{},\"level\":\"{}\",\"files\":{files},\"bytes\":{bytes},\"archive_bytes\":{archive},\"plain_bytes\":{plain},\"fetched_bytes\":{fetched},\
             \"sidecars_taken_over\":{taken_over},\"sidecars_replaced\":{replaced},\"fingerprinted\":{fingerprinted},\"reused\":{reused},\
             \"too_large\":{too_large},\"encodings\":{{",
            Quoted(&self.arguments.output.to_string_lossy()),
            if self.arguments.fast { "fast" } else { "best" },
        )?;
        for (at, Encodings { suffix, files, before, after }) in self.packed.encodings.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            write!(
                f,
                "{comma}\"{suffix}\":{{\"files\":{files},\"before_bytes\":{before},\"after_bytes\":{after}}}"
            )?;
        }
        f.write_str("},\"warnings\":[")?;
        for (at, warning) in self.packed.warnings.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            write!(f, "{comma}{}", Quoted(&warning.to_string()))?;
        }
        writeln!(f, "]}}")
    }
}

/// A string of JSON (RFC 8259 §7).
struct Quoted<'q>(&'q str);

impl Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for character in self.0.chars() {
            match character {
                '"' | '\\' => write!(f, "\\{character}")?,
                control if control < ' ' => write!(f, "\\u{:04x}", u32::from(control))?,
                other => f.write_char(other)?,
            }
        }
        f.write_char('"')
    }
}
