//! Listings of folders that have no page: HTML, and JSON for clients that prefer it.
//!
//! A listing is a representation like a file's. Its numbers ([`FileId`]) follow those of the files,
//! two for each folder, so it is made on a thread that may block, kept, and dropped as a file is.
//! It shows what the index knows: names that are served, and no others. Sizes and times are those
//! of the moment when it is made.

mod html;
mod json;
mod text;

use crate::answer::fields::{self, Blocks};
use crate::answer::media::{self, Media};
use crate::answer::representation::{Content, Dates, Representation, is_meaningful};
use crate::open::budget::Budget;
use crate::open::children::has_listing;
use crate::open::hash::sha256;
use crate::open::index::{Directory, FileId, Slot};
use crate::open::load::BodySize;
use crate::open::site::{Site, Store};
use crate::rules::Subject;
use sitar_http::Request;
use sitar_http::semantics::{Coding, prefers};
use sitar_io::RegionMut;
use std::io;
use std::sync::atomic::Ordering;

/// The formats of a listing.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum Format {
    Html,
    Json,
}

/// Numbers of files for each folder: one for each [`Format`].
const FORMATS: usize = 2;

/// Something that lies in a folder.
struct Row<'s> {
    /// Its name without those of the folders around it.
    name: &'s [u8],
    kind: Kind,
}

enum Kind {
    Folder,
    File {
        /// Bytes; `None`: it cannot be looked at now.
        size: Option<u64>,
        /// Seconds since the epoch; `None` where the date says nothing.
        modified: Option<u64>,
    },
}

/// A listing as it is written: rows until it is full.
trait Write {
    /// Begins the listing of the folder with this key.
    fn begin(&mut self, folder: &[u8]);
    fn row(&mut self, row: &Row<'_>);
    /// Ends the listing, in which the last `omitted` rows have no place.
    fn end(self, omitted: usize) -> Vec<u8>;
    /// Bytes until now.
    fn len(&self) -> usize;
}

impl Site {
    /// Returns the listing of a folder that answers this request, if the site has listings.
    #[cold]
    pub(crate) fn listing(&self, key: &[u8], request: &Request<'_>) -> Option<FileId> {
        let is_there = self.children.is_some() && has_listing(key);
        let Some(Slot::Directory(folder)) = self.index.get(key).filter(|_| is_there) else { return None };
        let is_json = prefers(request, "application/json", "text/html");
        let format = if is_json { Format::Json } else { Format::Html };
        // Folders are bounded by their bytes, far below 2^30.
        let number = self.index.representations() + *folder as usize * FORMATS + format as usize;
        u32::try_from(number).ok().map(FileId)
    }

    /// Returns how many listings there are, of all formats.
    pub(crate) fn listings(&self) -> usize {
        if self.children.is_some() { self.index.directories.len() * FORMATS } else { 0 }
    }

    /// Returns the folder and the format of a listing; `None` for the number of a file.
    fn listed(&self, file: FileId) -> Option<(u32, Format)> {
        let number = file.index().checked_sub(self.index.representations())?;
        let folder = u32::try_from(number / FORMATS).ok()?;
        let format = if number.is_multiple_of(FORMATS) { Format::Html } else { Format::Json };
        (number < self.listings()).then_some((folder, format))
    }

    /// Returns the key of the folder that a listing shows.
    pub(crate) fn listed_folder(&self, file: FileId) -> Option<&[u8]> {
        let (folder, _) = self.listed(file)?;
        let key = self.children.as_ref()?.key_of(folder)?;
        self.index.at(key).map(|(key, _)| key)
    }

    /// Returns how many bytes could be read in the time that it takes to make a listing, about;
    /// `None` for a file.
    pub(crate) fn listing_size(&self, file: FileId) -> Option<BodySize> {
        let (folder, _) = self.listed(file)?;
        let rows = self.children.as_ref()?.of(folder).len() as u64;
        let each = if matches!(self.store, Store::Directory(_)) { LOOK_BYTES } else { ROW_BYTES };
        let length = rows.saturating_mul(each);
        Some(BodySize { length, is_unread: true })
    }

    /// Makes a listing; `None` for the number of a file. Blocks: looks at every file of a directory
    /// that it shows.
    pub(crate) fn make_listing(
        &self,
        file: FileId,
        budget: &Budget,
        most: usize,
    ) -> Option<io::Result<Representation>> {
        let (folder, format) = self.listed(file)?;
        let key = self.listed_folder(file)?;
        let (bytes, media) = match format {
            Format::Html => (self.write_listing(html::Html::default(), folder, key, most), "x.html"),
            Format::Json => (self.write_listing(json::Json::default(), folder, key, most), "x.json"),
        };
        Some(self.represent(&bytes?, format, media::media_type(media.as_bytes()), budget))
    }

    fn write_listing(&self, mut to: impl Write, folder: u32, key: &[u8], most: usize) -> Option<Vec<u8>> {
        let mut places = self.children.as_ref()?.of(folder);
        to.begin(key);
        while to.len() < most
            && let Some(place) = places.next()
        {
            if let Some(row) = self.row(place) {
                to.row(&row);
            }
        }
        Some(to.end(places.len()))
    }

    /// Returns the row of a place in the index; `None`: a rule of the site's own has it answered
    /// with an error, so its name is not for everyone.
    fn row(&self, place: u32) -> Option<Row<'_>> {
        let (key, slot) = self.index.at(place)?;
        let subject = Subject { key, slash: matches!(slot, Slot::Directory(_)), authority: None };
        if self.rules.redirects.find(&subject, None, self.has_page(slot)).is_some_and(|rule| rule.is_error())
        {
            return None;
        }
        let name = key.rsplit(|&byte| byte == b'/').next().unwrap_or(key);
        let Slot::File(choice) = slot else { return Some(Row { name, kind: Kind::Folder }) };
        let (source, _) = self.index.source(choice.of(Coding::Identity)?)?;
        let facts = self.store.facts(source, key);
        let kind = Kind::File {
            size: facts.map(|(size, _)| size),
            modified: facts.and_then(|(_, modified)| modified).filter(|&time| is_meaningful(time)),
        };
        Some(Row { name, kind })
    }

    /// Whether there is a page at an address, which only rules with `!` replace.
    fn has_page(&self, slot: &Slot) -> bool {
        match slot {
            Slot::File(_) => true,
            Slot::Directory(id) => self
                .index
                .directories
                .get(*id as usize)
                .is_some_and(|Directory { index, .. }| index.is_some()),
        }
    }

    fn represent(
        &self,
        bytes: &[u8],
        format: Format,
        media: Media,
        budget: &Budget,
    ) -> io::Result<Representation> {
        // There is nothing else that it could be sent from.
        let lease = budget.reserve_for_listing(bytes.len() as u64).ok_or(io::ErrorKind::StorageFull)?;
        let mut region = RegionMut::new(bytes.len())?;
        region.copy_from_slice(bytes);
        let content = Content::Resident(region.freeze_with(lease));
        let since = self.since.load(Ordering::Relaxed);
        let blocks = blocks(format, media);
        Ok(Representation::generated(content, &sha256(bytes), blocks, media, Dates::new(None, since)))
    }
}

/// The header lines of a listing.
fn blocks(format: Format, media: Media) -> Blocks {
    let policy = match format {
        Format::Html => {
            let style = fields::base64(&sha256(html::STYLE.as_bytes()));
            let style = String::from_utf8_lossy(&style);
            format!("default-src 'none'; style-src 'sha256-{style}'; base-uri 'none'; form-action 'none'")
        }
        Format::Json => "default-src 'none'".to_owned(),
    };
    let shared = "Vary: Accept\r\nCache-Control: no-cache\r\n";
    let kind = media.essence;
    let content = format!(
        "Content-Type: {kind}; charset=utf-8\r\nX-Content-Type-Options: nosniff\r\n{shared}\
         Content-Security-Policy: {policy}\r\nAccept-Ranges: bytes\r\n"
    );
    Blocks { content: content.into_bytes().into(), not_modified: shared.as_bytes().into() }
}

/// Bytes of a listing, at most; what does not fit is counted at its end. Some 200,000 ordinary
/// names.
pub(crate) const LISTING_MAX: usize = 32 << 20;
/// Bytes of a row, as an estimate.
const ROW_BYTES: u64 = 160;
/// The same for a row whose file is looked at: opening and closing it takes some microseconds, and
/// far longer where the directory lies on another machine.
const LOOK_BYTES: u64 = 8 << 10;

#[cfg(test)]
mod tests;
