//! Tar archives as an untrusted list of positions: every header is read, no body is.
//!
//! Understood are v7 and ustar (POSIX.1-1988), and GNU's long names, links and base-256 numbers. So
//! are pax extended headers, local and global (POSIX.1-2001 "pax Interchange Format"), and sparse
//! files as GNU tar and bsdtar write them ([`sparse`]). Refused with a reason are compressed,
//! cut-short and multi-volume archives, sparse files of star, and anything whose checksum is wrong.
//! Names come out as they were written; [`crate::open::path::normalize`] and
//! [`crate::open::tree::Tree`] give them their meaning.
//!
//! Where real readers differ, the stricter reading wins, because a silent difference would be a
//! site that shows other files than `tar -t` lists: an archive without its end marker counts as cut
//! short, and a zero block must be followed by another (or by the end of the file).

use crate::open::error::{OpenFault, Warnings};
use crate::open::printable::printable;
use header::{Header, OldSparse, TypeFlag};
use pax::{MapForm, Overrides};
use sparse::{EXTENTS_MAX, Entries, MapText};
use window::{BLOCK, Window, read_error};

pub use read_at::ReadAt;
pub(crate) use sparse::Map;

mod header;
mod pax;
mod read_at;
mod sparse;
#[cfg(test)]
pub(crate) mod tests;
mod window;

/// One member: a name and what it stands for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) name: Vec<u8>,
    pub(crate) kind: MemberKind,
}

/// The kind of a member.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum MemberKind {
    File(Stored),
    /// A file with holes: `size` counts them too, and `offset` is only a name for it that no other
    /// file of the archive has.
    Sparse(Stored, Map),
    Directory,
    /// The name of an earlier member.
    HardLink(Vec<u8>),
    /// A path relative to the link's own folder.
    Symlink(Vec<u8>),
    /// Cannot be served, and why.
    Other(&'static str),
}

/// The place of a file's bytes in the archive.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    /// First byte, from the archive's start. `offset + size` lies within the archive, unless there
    /// is a [`Map`].
    pub(crate) offset: u64,
    /// Bytes.
    pub(crate) size: u64,
    /// Seconds since the Unix epoch.
    pub(crate) mtime: Option<u64>,
}

/// Takes the members of an archive.
pub(crate) trait Members {
    /// Takes the next member, in the archive's order.
    fn add(&mut self, member: Member, warnings: &mut Warnings) -> Result<(), OpenFault>;
    /// Returns the file that a hard link to this name shares, as far as members have been added,
    /// and its map if it is sparse.
    fn file(&self, name: &[u8]) -> Option<(Stored, Option<&Map>)>;
}

/// Adds each member of the archive to `members`.
pub(crate) fn scan(
    source: &impl ReadAt,
    warnings: &mut Warnings,
    members: &mut impl Members,
) -> Result<(), OpenFault> {
    if source.size() == 0 {
        return Err(OpenFault::Empty);
    }
    let mut scanner = Scanner {
        window: Window::new(source),
        at: 0,
        headers: 0,
        global: Overrides::default(),
        extents: 0,
        last: String::new(),
    };
    while let Some(member) = scanner.next(members)? {
        members.add(member, warnings)?;
    }
    Ok(())
}

struct Scanner<'s, R> {
    window: Window<'s, R>,
    /// Offset of the next header; always a multiple of a block.
    at: u64,
    headers: u64,
    global: Overrides,
    /// Parts of sparse files that were kept.
    extents: usize,
    /// The last member's name, for messages.
    last: String,
}

/// The fields that headers before a member have for it.
#[derive(Default)]
struct Pending {
    local: Overrides,
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
    any: bool,
}

impl<R: ReadAt> Scanner<'_, R> {
    /// Returns the next member; `before` are those before it.
    fn next(&mut self, before: &impl Members) -> Result<Option<Member>, OpenFault> {
        let mut pending = Pending::default();
        loop {
            let at = self.at;
            let block = match self.window.block(at)? {
                Some(block) => block,
                None if at == 0 => return Err(self.not_a_tar()),
                None => {
                    return Err(OpenFault::Truncated {
                        offset: self.window.source().size(),
                        member: self.last.clone(),
                    });
                }
            };
            if block == [0; BLOCK] {
                return self.end(at, pending.any);
            }
            let Some(header) = Header::check(&block) else {
                if at == 0 {
                    return Err(self.not_a_tar());
                }
                return Err(self.damaged(at, "a header's checksum is wrong"));
            };
            self.headers += 1;
            if self.headers > HEADERS_MAX {
                return Err(OpenFault::TooMany { what: "headers in the archive", limit: HEADERS_MAX });
            }
            let own_size = header.size().ok_or_else(|| self.damaged(at, "a size is not a number"))?;
            match header.flag() {
                TypeFlag::PaxLocal => {
                    pending.any = true;
                    let body = self.extension(at, own_size)?;
                    pax::apply(&body, &mut pending.local).map_err(|what| self.damaged(at, what))?;
                }
                TypeFlag::PaxGlobal => {
                    let body = self.extension(at, own_size)?;
                    pax::apply(&body, &mut self.global).map_err(|what| self.damaged(at, what))?;
                }
                TypeFlag::LongName => {
                    pending.any = true;
                    pending.long_name = Some(until_zero(self.extension(at, own_size)?));
                }
                TypeFlag::LongLink => {
                    pending.any = true;
                    pending.long_link = Some(until_zero(self.extension(at, own_size)?));
                }
                flag => return self.member(at, &header, flag, own_size, pending, before).map(Some),
            }
        }
    }

    /// The header that a name, a size and a body belong to.
    fn member(
        &mut self,
        at: u64,
        header: &Header<'_>,
        flag: TypeFlag,
        own_size: u64,
        pending: Pending,
        before: &impl Members,
    ) -> Result<Member, OpenFault> {
        let Pending { mut local, long_name, long_link, .. } = pending;
        let name = Overrides::pick(&mut local.path, &self.global.path)
            .or(long_name)
            .unwrap_or_else(|| header.name());
        let name = local.map.name.take().unwrap_or(name);
        let link = Overrides::pick(&mut local.link, &self.global.link)
            .or(long_link)
            .unwrap_or_else(|| header.link());
        let size = Overrides::pick(&mut local.size, &self.global.size).unwrap_or(own_size);
        let mtime =
            Overrides::pick(&mut local.mtime, &self.global.mtime).map_or_else(|| header.mtime(), Some);
        self.last = printable(&name);

        let data = at + BLOCK as u64;
        if local.sparse || self.global.sparse || flag == TypeFlag::GnuSparse {
            let is_file = matches!(flag, TypeFlag::File | TypeFlag::GnuSparse);
            if self.global.sparse || !is_file {
                return Err(self.damaged(at, "it says that something other than one file is sparse"));
            }
            let kind = self.sparse(at, header, flag, local, Stored { offset: data, size, mtime })?;
            return Ok(Member { name, kind });
        }
        let has_body = match flag {
            TypeFlag::HardLink => size > 0 && self.is_body(at, size, before.file(&link))?,
            // POSIX pax: links, devices and directories have no body, whatever their size field
            // says (for a directory it may be a quota).
            TypeFlag::Symlink | TypeFlag::Device | TypeFlag::Directory => false,
            _ => true,
        };
        let kind = match flag {
            // Before there was a type for them, directories were files whose name ended in a slash.
            TypeFlag::File if name.ends_with(b"/") => MemberKind::Directory,
            TypeFlag::File => MemberKind::File(Stored { offset: data, size, mtime }),
            TypeFlag::Directory | TypeFlag::GnuDumpDirectory => MemberKind::Directory,
            TypeFlag::HardLink if has_body => MemberKind::File(Stored { offset: data, size, mtime }),
            TypeFlag::HardLink => MemberKind::HardLink(link),
            TypeFlag::Symlink => MemberKind::Symlink(link),
            TypeFlag::Device => MemberKind::Other("it is a device or a named pipe"),
            TypeFlag::VolumeLabel => MemberKind::Other("it is a volume label"),
            TypeFlag::Continuation => return Err(OpenFault::MultiVolume { member: self.last.clone() }),
            TypeFlag::Unknown => MemberKind::Other("its type is unknown"),
            // `next` consumes these, and the sparse ones are done.
            TypeFlag::GnuSparse
            | TypeFlag::PaxLocal
            | TypeFlag::PaxGlobal
            | TypeFlag::LongName
            | TypeFlag::LongLink => MemberKind::Other("its type is unknown"),
        };
        self.skip(data, if has_body { size } else { 0 })?;
        Ok(Member { name, kind })
    }

    /// A sparse file. `stored` is what follows the header: the parts, and in version 1.0 a map in
    /// front of them.
    fn sparse(
        &mut self,
        at: u64,
        header: &Header<'_>,
        flag: TypeFlag,
        local: Overrides,
        stored: Stored,
    ) -> Result<MemberKind, OpenFault> {
        let unknown = || OpenFault::Sparse { member: self.last.clone() };
        let Stored { mut offset, size, mtime } = stored;
        let (real, entries, text) = if flag == TypeFlag::GnuSparse {
            let old = header.sparse().filter(|_| !local.sparse).ok_or_else(unknown)?;
            let mut entries = Entries::default();
            self.old_map(&old, &mut offset, &mut entries)?;
            (old.size, entries, 0)
        } else {
            let map = local.map;
            match map.version() {
                MapForm::Records if !map.is_complete() => {
                    return Err(self.damaged(at, "a sparse file's map is not complete"));
                }
                MapForm::Records => (map.size, map.entries, 0),
                MapForm::Text => {
                    let mut entries = Entries::default();
                    let text = self.text_map(offset, size, &mut entries)?;
                    (map.size, entries, text)
                }
                MapForm::Unknown => return Err(unknown()),
            }
        };
        self.skip(offset, size)?;
        self.extents += entries.len();
        if self.extents > EXTENTS_MAX {
            return Err(OpenFault::TooMany { what: "parts of sparse files", limit: EXTENTS_MAX as u64 });
        }
        let real = real.filter(|&real| i64::try_from(real).is_ok());
        let real = real.ok_or_else(|| self.damaged(at, "a sparse file's size is not a number"))?;
        let (parts, len) = (offset + text, size - text);
        let map = entries.finish(real, parts, len).map_err(|what| self.damaged(at, what))?;
        let stored = Stored { offset: parts, size: real, mtime };
        Ok(match map {
            Some(map) => MemberKind::Sparse(stored, map),
            None => MemberKind::File(stored),
        })
    }

    /// The map of an old GNU header and of the blocks behind it, which move `offset`.
    fn old_map(
        &mut self,
        old: &OldSparse<'_>,
        offset: &mut u64,
        entries: &mut Entries,
    ) -> Result<(), OpenFault> {
        let mut added = header::old_entries(old.entries, entries);
        let mut is_extended = old.is_extended;
        while is_extended && added.is_ok() && entries.len() <= EXTENTS_MAX {
            let Some(block) = self.window.block(*offset)? else {
                return Err(OpenFault::Truncated {
                    offset: self.window.source().size(),
                    member: self.last.clone(),
                });
            };
            let more;
            (more, is_extended) = header::more_entries(&block);
            added = header::old_entries(more, entries);
            *offset += BLOCK as u64;
        }
        added.map_err(|what| self.damaged(*offset, what))
    }

    /// The map in front of the data, which ends with a whole block. Returns how many bytes it
    /// takes.
    fn text_map(&mut self, data: u64, size: u64, entries: &mut Entries) -> Result<u64, OpenFault> {
        let mut text = MapText::default();
        let mut taken = 0;
        while size - taken >= BLOCK as u64 {
            let Some(block) = data.checked_add(taken).map(|at| self.window.block(at)).transpose()?.flatten()
            else {
                return Err(OpenFault::Truncated {
                    offset: self.window.source().size(),
                    member: self.last.clone(),
                });
            };
            taken += BLOCK as u64;
            if text.block(&block, entries).map_err(|what| self.damaged(data, what))? {
                return Ok(taken);
            }
        }
        Err(self.damaged(data, "a sparse file's map is not complete"))
    }

    /// Whether a hard link's size is that of a body. POSIX.1-2001 has a pax archive's link bring
    /// the content of its file once more; before, sizes of links meant nothing, and some writers
    /// give that of the target (among them programs in Go, in pax archives too). What follows
    /// decides: a header, or the end, comes directly behind the link or behind the body.
    ///
    /// Both can be, by chance or because a file holds an archive. Then it is a body only if it is
    /// the target's content: a wrong guess in one direction reads a body as headers, in the other
    /// the next header as a body, and either would let the content of a file name members. Where
    /// the target is not there, the archive is refused.
    fn is_body(
        &mut self,
        at: u64,
        size: u64,
        target: Option<(Stored, Option<&Map>)>,
    ) -> Result<bool, OpenFault> {
        let is_next = |block: &[u8; BLOCK]| *block == [0; BLOCK] || Header::check(block).is_some();
        let data = at + BLOCK as u64;
        let behind = data.checked_add(size).and_then(|end| end.checked_next_multiple_of(BLOCK as u64));
        let Some(behind) = behind else { return Ok(false) };
        let next = self.window.block(data)?;
        let follows = next.is_some_and(|block| is_next(&block));
        // An archive that is cut off there is refused; its last body is one nevertheless.
        let follows_body = behind == self.window.source().size()
            || self.window.block(behind)?.is_some_and(|block| is_next(&block));
        if !follows || !follows_body {
            return Ok(follows_body);
        }
        match target {
            Some((target, map)) if target.size == size => self.is_copy(target, map, data),
            Some(_) => Ok(false),
            None if next == Some([0; BLOCK]) => Ok(false),
            None => Err(self.damaged(at, "it cannot be told whether a hard link brings content")),
        }
    }

    /// Whether the bytes at `other` begin and end as a file does, which a body and a header do not.
    fn is_copy(&self, file: Stored, map: Option<&Map>, other: u64) -> Result<bool, OpenFault> {
        let len = file.size.min(BLOCK as u64);
        let read = |part: &mut [u8], at: u64| self.window.source().read_exact_at(part, at);
        let is_same = |from: u64| {
            let (mut one, mut two) = ([0; BLOCK], [0; BLOCK]);
            // At most BLOCK, so it fits.
            let (one, two) = (&mut one[..len as usize], &mut two[..len as usize]);
            match map {
                Some(map) => map.read(one, from, read),
                None => read(one, file.offset + from),
            }
            .and_then(|()| read(two, other + from))
            .map(|()| one == two)
            .map_err(read_error)
        };
        Ok(is_same(0)? && is_same(file.size - len)?)
    }

    /// The body of an extension header: read, because it is part of the index.
    fn extension(&mut self, at: u64, size: u64) -> Result<Vec<u8>, OpenFault> {
        let data = at + BLOCK as u64;
        if size > EXTENSION_MAX {
            return Err(self.damaged(at, "an extension header is longer than 1 MiB"));
        }
        self.skip(data, size)?;
        // At most EXTENSION_MAX, checked above.
        let mut body = vec![0; usize::try_from(size).unwrap_or(0)];
        self.window.source().read_exact_at(&mut body, data).map_err(read_error)?;
        Ok(body)
    }

    /// Moves behind a body, which must lie within the archive.
    fn skip(&mut self, data: u64, size: u64) -> Result<(), OpenFault> {
        let end = data.checked_add(size).filter(|&end| end <= self.window.source().size());
        // The last block may lack its padding; then the end marker is missing too, and that is what
        // is reported.
        match end.and_then(|end| end.checked_next_multiple_of(BLOCK as u64)) {
            Some(next) => {
                self.at = next;
                Ok(())
            }
            None => {
                Err(OpenFault::Truncated { offset: self.window.source().size(), member: self.last.clone() })
            }
        }
    }

    fn end(&mut self, at: u64, pending: bool) -> Result<Option<Member>, OpenFault> {
        if pending {
            return Err(self.damaged(at, "an extension header has no member"));
        }
        match self.window.block(at + BLOCK as u64)? {
            Some(block) if block != [0; BLOCK] => Err(self.damaged(at, "an end marker stands in the middle")),
            // What follows the end marker is padding, or another archive that `tar` does not list
            // either.
            Some(_) | None => Ok(None),
        }
    }

    fn damaged(&self, offset: u64, what: &'static str) -> OpenFault {
        OpenFault::Damaged { offset, member: self.last.clone(), what }
    }

    /// The first block is no header: a compressed archive deserves a better answer than "no".
    fn not_a_tar(&self) -> OpenFault {
        let first = self.window.bytes();
        for &(magic, format, remedy) in COMPRESSED {
            if first.starts_with(magic) {
                return OpenFault::Compressed { format, remedy };
            }
        }
        OpenFault::NotTar
    }
}

fn until_zero(mut bytes: Vec<u8>) -> Vec<u8> {
    if let Some(zero) = bytes.iter().position(|&byte| byte == 0) {
        bytes.truncate(zero);
    }
    bytes
}

/// Headers in one archive, extensions included: about 2 GiB of nothing but headers.
const HEADERS_MAX: u64 = 4 << 20;
/// Bytes of one pax header or one long name.
const EXTENSION_MAX: u64 = 1 << 20;

/// First bytes of what people mistake for a tar, and what to type.
const COMPRESSED: &[(&[u8], &str, &str)] = &[
    (b"\x1f\x8b", "gzip", "gunzip -k"),
    (b"\x28\xb5\x2f\xfd", "Zstandard", "unzstd"),
    (b"\xfd7zXZ\0", "xz", "unxz -k"),
    (b"BZh", "bzip2", "bunzip2 -k"),
    (b"\x04\x22\x4d\x18", "LZ4", "unlz4"),
    (b"LZIP", "lzip", "lzip -dk"),
    (b"PK\x03\x04", "zip", "unzip -d FOLDER"),
];
