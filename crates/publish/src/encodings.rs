//! Making the encodings file of a site that is a directory or a plain archive.
//!
//! What is encoded, and which encodings are kept, is decided as for a pack. What an earlier
//! encodings file has of the same version or of the same content is copied, so a site of which
//! little has changed costs little. The smallest files come first: where there is no room for all,
//! most of them have encodings.
//!
//! The bytes are those of [`sitar_site::raw::encodings`].

use crate::pack::Level;
use crate::pack::encode::{SAVED_MIN, SIZE_MAX, Worth, encode, worth};
use sitar_site::raw::encodings::{
    CODINGS, ENCODING, Encoding, FOOTER, Footer, MANIFEST_MAX, ORIGINAL, Original, VERSION,
};
use sitar_site::raw::{FILES_MAX, Hash, Unencoded, sha256};
use sitar_site::{Encodings, FileId, Site};
use std::collections::HashMap;
use std::io::{self, Write};

/// Settings for [`encode_site()`].
pub struct EncodeOptions<'o> {
    /// The effort for encodings that are made. Better ones of an earlier file are kept.
    pub level: Level,
    /// An earlier encodings file, of this site or another.
    pub earlier: Option<&'o Encodings>,
    /// Bytes that the encodings file may have.
    pub room: u64,
    /// Asked before each file is encoded: whether there is no more time for it.
    pub is_over: &'o mut dyn FnMut() -> bool,
}

/// A report about an encodings file.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Encoded {
    /// Files that were looked at, because their types can be encoded.
    pub files: usize,
    /// Files of them that were encoded by this run.
    pub made: usize,
    /// Files whose encodings, or the lack of them, came out of the earlier file.
    pub taken_over: usize,
    /// Files that are to be looked at again, because they were changed a moment ago, could not be
    /// read, or there was no more time.
    pub left: usize,
    /// Files with fewer encodings than would pay, because there is no room.
    pub without_room: usize,
    /// Bytes of the encodings file.
    pub bytes: u64,
    /// The earlier file has all of this, and nothing was written.
    pub is_unchanged: bool,
}

/// Makes encodings of the files of a site that is a directory or a plain archive, and writes an
/// encodings file. Of any other site it is empty.
///
/// # Errors
/// The output's. What was written until then is no encodings file.
pub fn encode_site<'o>(
    site: &'o Site,
    output: impl Write,
    options: EncodeOptions<'o>,
) -> io::Result<Encoded> {
    let earlier = Earlier::of(options.earlier);
    let candidates = candidates(site, &earlier, options.level);
    let mut writer = Writer {
        site,
        options,
        earlier,
        output,
        at: 0,
        originals: Vec::new(),
        encodings: Vec::new(),
        names: Vec::new(),
        is_full: false,
        encoded: Encoded { files: candidates.len(), ..Encoded::default() },
    };
    if writer.earlier.is_all(&candidates) {
        writer.encoded.is_unchanged = true;
        writer.encoded.taken_over = candidates.len();
        return Ok(writer.encoded);
    }
    for candidate in &candidates {
        writer.file(candidate)?;
    }
    writer.finish()
}

/// A file that may be encoded.
struct Candidate<'s> {
    name: &'s [u8],
    file: FileId,
    version: Hash,
    size: u64,
    worth: Worth,
    /// The place in the earlier file of this version of it.
    known: Option<usize>,
    /// That is as good as it is to be.
    is_done: bool,
}

fn candidates<'s>(site: &'s Site, earlier: &Earlier<'_>, level: Level) -> Vec<Candidate<'s>> {
    let Some(unencoded) = site.unencoded_names() else { return Vec::new() };
    let mut all: Vec<Candidate<'s>> = unencoded
        .filter_map(|(name, file)| {
            let worth = worth(name);
            // What a rule says is encoded already is sent as it is.
            if worth == Worth::No || site.rules().stored_coding(name).is_some() {
                return None;
            }
            let (version, size) = site.version_of(file)?;
            if size < SAVED_MIN as u64 || size > SIZE_MAX {
                return None;
            }
            let known = earlier.version(name, &version, size);
            let is_done = known.is_some_and(|place| earlier.is_best(place) || level == Level::Fast);
            Some(Candidate { name, file, version, size, worth, known, is_done })
        })
        .collect();
    all.sort_unstable_by_key(|candidate| (candidate.size, candidate.name));
    all.truncate(FILES_MAX);
    all
}

/// An earlier encodings file.
struct Earlier<'e> {
    file: Option<&'e Encodings>,
    by_name: HashMap<&'e [u8], usize>,
    by_content: HashMap<(Hash, Worth), usize>,
    originals: Vec<&'e Original>,
}

impl<'e> Earlier<'e> {
    /// None of it counts when it was made by other encoders.
    fn of(file: Option<&'e Encodings>) -> Earlier<'e> {
        let file = file.filter(|file| file.manifest().encoders() == encoders());
        let mut earlier =
            Earlier { file, by_name: HashMap::new(), by_content: HashMap::new(), originals: Vec::new() };
        for (place, (name, original)) in file.iter().flat_map(|file| file.manifest().originals()).enumerate()
        {
            earlier.by_name.insert(name, place);
            earlier.by_content.insert((original.hash, worth(name)), place);
            earlier.originals.push(original);
        }
        earlier
    }

    fn version(&self, name: &[u8], version: &Hash, size: u64) -> Option<usize> {
        let place = *self.by_name.get(name)?;
        let original = self.originals.get(place)?;
        (original.version == *version && original.size == size).then_some(place)
    }

    /// The place of a file with that content. Of that length, too: what it claims bounds its
    /// bodies, which are read into memory.
    fn content(&self, read: &Unencoded, worth: Worth) -> Option<usize> {
        let place = *self.by_content.get(&(read.hash, worth))?;
        (self.originals.get(place)?.size == read.content.len() as u64).then_some(place)
    }

    fn is_best(&self, place: usize) -> bool {
        self.originals.get(place).is_some_and(|original| original.is_best)
    }

    /// Whether it has these files, at their best, and no others.
    fn is_all(&self, candidates: &[Candidate<'_>]) -> bool {
        self.file.is_some()
            && candidates.len() == self.originals.len()
            && candidates.iter().all(|candidate| candidate.is_done)
    }

    /// Reads the encodings of an original. `None`: not all of them are whole.
    fn bodies(&self, place: usize) -> Option<[Option<Vec<u8>>; 3]> {
        let file = self.file?;
        let mut bodies = [None, None, None];
        for encoding in file.manifest().encodings(place) {
            let at = CODINGS.iter().position(|coding| *coding == encoding.coding)?;
            bodies[at] = Some(file.body(encoding)?);
        }
        Some(bodies)
    }
}

/// The encodings file, as far as it has got.
struct Writer<'o, W> {
    site: &'o Site,
    options: EncodeOptions<'o>,
    earlier: Earlier<'o>,
    output: W,
    at: u64,
    originals: Vec<(Original, u16)>,
    encodings: Vec<Encoding>,
    names: Vec<u8>,
    /// There was no room for any encoding of a file.
    is_full: bool,
    encoded: Encoded,
}

impl<W: Write> Writer<'_, W> {
    fn file(&mut self, candidate: &Candidate<'_>) -> io::Result<()> {
        if candidate.is_done && self.take_over(candidate, candidate.known, None)? {
            self.encoded.taken_over += 1;
            return Ok(());
        }
        if self.is_full {
            // The larger ones have larger encodings. What is known may fit.
            if !self.take_over(candidate, candidate.known, None)? {
                self.encoded.without_room += 1;
            }
            return Ok(());
        }
        if (self.options.is_over)() {
            return self.leave(candidate);
        }
        // One that cannot be read now, or has just been changed, waits for another run.
        let Ok(read) = self.site.read_unencoded(candidate.file, SIZE_MAX) else {
            return self.leave(candidate);
        };
        let same = self.earlier.content(&read, candidate.worth);
        let is_good = |place: &usize| self.earlier.is_best(*place) || self.options.level == Level::Fast;
        if self.take_over(candidate, same.filter(is_good), Some(&read))? {
            self.encoded.taken_over += 1;
            return Ok(());
        }
        let bodies = encode(&read.content, candidate.worth, self.options.level);
        self.encoded.made += 1;
        let original = Original {
            version: read.version,
            hash: read.hash,
            size: read.content.len() as u64,
            is_best: self.options.level == Level::Best,
            encodings: 0,
        };
        self.original(candidate.name, original, bodies)
    }

    /// Takes over what the earlier file has of a file, of worse encoders if need be.
    fn leave(&mut self, candidate: &Candidate<'_>) -> io::Result<()> {
        self.encoded.left += 1;
        self.take_over(candidate, candidate.known, None).map(drop)
    }

    /// Takes over the original at a place of the earlier file. Returns whether there is one.
    fn take_over(
        &mut self,
        candidate: &Candidate<'_>,
        place: Option<usize>,
        read: Option<&Unencoded>,
    ) -> io::Result<bool> {
        let known =
            place.and_then(|place| Some((*self.earlier.originals.get(place)?, self.earlier.bodies(place)?)));
        let Some((original, bodies)) = known else { return Ok(false) };
        let version = read.map_or(candidate.version, |read| read.version);
        self.original(candidate.name, Original { version, ..*original }, bodies).map(|()| true)
    }

    /// Writes the encodings of a file for which there is room.
    fn original(
        &mut self,
        name: &[u8],
        mut original: Original,
        bodies: [Option<Vec<u8>>; 3],
    ) -> io::Result<()> {
        let Ok(length) = u16::try_from(name.len()) else { return Ok(()) };
        original.encodings = 0;
        let record = (ORIGINAL + name.len()) as u64;
        let is_too_many = (self.manifest() + FOOTER) as u64 + record > MANIFEST_MAX;
        if is_too_many || self.end() + record > self.options.room {
            self.is_full = true;
            self.encoded.without_room += 1;
            return Ok(());
        }
        let mut is_short = false;
        for (coding, body) in CODINGS.into_iter().zip(bodies) {
            let Some(body) = body else { continue };
            let size = body.len() as u64;
            let needed = record + ENCODING as u64 + size;
            if self.end() + needed > self.options.room {
                is_short = true;
                continue;
            }
            self.output.write_all(&body)?;
            self.encodings.push(Encoding { coding, offset: self.at, size, hash: sha256(&body) });
            self.at += size;
            original.encodings += 1;
        }
        if is_short {
            self.encoded.without_room += 1;
            // With more room there are more of them.
            original.is_best = false;
            if original.encodings == 0 {
                self.is_full = true;
                return Ok(());
            }
        }
        self.names.extend_from_slice(name);
        self.originals.push((original, length));
        Ok(())
    }

    /// Returns how many bytes the file has when it ends here.
    fn end(&self) -> u64 {
        self.at + (self.manifest() + FOOTER) as u64
    }

    fn manifest(&self) -> usize {
        self.originals.len() * ORIGINAL + self.encodings.len() * ENCODING + self.names.len()
    }

    fn finish(mut self) -> io::Result<Encoded> {
        let mut bytes = Vec::with_capacity(self.manifest() + FOOTER);
        self.originals.iter().for_each(|(original, name)| original.write(*name, &mut bytes));
        self.encodings.iter().for_each(|encoding| encoding.write(&mut bytes));
        bytes.extend_from_slice(&self.names);
        // All of them lie within MANIFEST_MAX, which has 32 bits.
        let footer = Footer {
            version: VERSION,
            offset: self.at,
            originals: self.originals.len() as u32,
            encodings: self.encodings.len() as u32,
            names: self.names.len() as u32,
            encoders: encoders().to_vec(),
            hash: [0; 32],
        };
        footer.write(&mut bytes);
        let hash = sha256(&bytes);
        bytes.extend_from_slice(&hash);
        self.output.write_all(&bytes)?;
        self.output.flush()?;
        self.encoded.bytes = self.at + bytes.len() as u64;
        Ok(self.encoded)
    }
}

/// The text for the encoders: that of the best level, which names the versions of all of them.
fn encoders() -> &'static [u8] {
    Level::Best.encoders().as_bytes()
}

#[cfg(test)]
mod tests;
