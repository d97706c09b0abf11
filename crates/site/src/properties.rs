//! Properties that hold for any input, stated once for property tests, fuzzing and the replay of
//! their corpus. Not part of the interface.

use crate::answer::reply::{Reply, Scratch};
use crate::answer::route::Route;
use crate::open::error::Warnings;
use crate::open::index::{Index, Slot};
use crate::open::path::{NAME_MAX, is_key, is_public, normalize, plain, resolve};
use crate::open::site::Site;
use crate::open::tar::{self, Map};
use sitar_http::{Method, Request, RequestTarget, Status};

/// Any bytes as an archive: the index holds exactly the public names that were listed, and every
/// body lies inside. Returns how many files there are.
///
/// The same bytes are tried with their checksums put right, too: almost any change to a header
/// makes its checksum wrong, and nothing behind that check would be reached.
pub fn archive(bytes: &[u8]) -> Result<usize, crate::OpenFault> {
    let mut sealed = bytes.to_vec();
    put_checksums_right(&mut sealed);
    if sealed != bytes {
        drop(listed(&sealed));
    }
    listed(bytes)
}

/// Puts the checksum of every block with the magic of a header right, also where it lies in a body.
fn put_checksums_right(archive: &mut [u8]) {
    for block in archive.chunks_exact_mut(512).filter(|block| block[257..262] == *b"ustar") {
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
        block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    }
}

fn listed(bytes: &[u8]) -> Result<usize, crate::OpenFault> {
    let mut warnings = Warnings::default();
    let ((names, bodies), _, maps) = crate::open::opening::list(&bytes, None, &mut warnings)?;
    let index = Index::new(names.clone())?;
    for (name, stored) in names.iter().zip(&bodies) {
        assert!(stored.offset >= 512, "a body outside of the archive");
        match maps.get(&stored.offset) {
            Some(map) => sparse(bytes, stored.size, map),
            None => {
                assert!(stored.size <= bytes.len() as u64, "a body outside of the archive");
                assert!(stored.offset + stored.size <= bytes.len() as u64, "a body outside of the archive");
            }
        }
        assert_eq!(normalize(name).ok().flatten().as_deref(), Some(name), "a name that is not a key");
        assert_moves_nowhere(name);
        assert_eq!(
            matches!(index.get(name), Some(Slot::File(_))),
            is_public(name),
            "a name lost or invented"
        );
    }
    assert!(warnings.finish().len() <= 101, "warnings without bound");
    Ok(index.files)
}

/// The parts of a sparse file lie in the archive and in the file, one behind the other, and its end
/// can be read.
fn sparse(bytes: &[u8], size: u64, map: &Map) {
    assert!(size <= i64::MAX as u64, "a file larger than any");
    let (mut at, mut offset) = (0, 0);
    for extent in map.extents() {
        assert!(extent.len > 0 && extent.at >= at && extent.offset >= offset, "parts that overlap");
        (at, offset) = (extent.at + extent.len, extent.offset + extent.len);
    }
    assert!(at <= size && offset <= bytes.len() as u64, "a part outside of the archive");
    let mut end = [1; 700];
    let len = usize::try_from(size).unwrap_or(end.len()).min(end.len());
    let read = map.read(&mut end[..len], size - len as u64, |part, offset| {
        tar::ReadAt::read_exact_at(&bytes, part, offset)
    });
    assert!(read.is_ok(), "an end that cannot be read");
}

/// The same in plain words, whatever the code that is tested takes for a key.
fn assert_moves_nowhere(name: &[u8]) {
    assert!(!name.contains(&0), "a zero byte in a name");
    assert!(name.len() <= 4096, "a name that no request can have");
    for segment in name.split(|&byte| byte == b'/') {
        assert!(!matches!(segment, b"" | b"." | b".."), "a name that moves");
    }
}

/// Any bytes as a pack, its hash put right: what is accepted could have been packed. Returns how
/// many files there are, and `None` when there is no index.
pub fn index(bytes: &[u8]) -> Result<Option<usize>, crate::OpenFault> {
    let mut bytes = bytes.to_vec();
    crate::open::pack::read::reseal(&mut bytes);
    let crate::open::pack::read::PackProbe::Pack(packed) = crate::open::pack::read::find(&bytes.as_slice())?
    else {
        return Ok(None);
    };
    let mut free = 0;
    for (name, record) in packed.members() {
        let rules = matches!(name, b"_headers" | b"_redirects");
        assert!(is_public(name) || rules, "a hidden name");
        assert_eq!(normalize(name).ok().flatten().as_deref(), Some(name), "a name that is not a key");
        assert_moves_nowhere(name);
        assert!(record.offset >= free + 512, "a body in another");
        free = record.offset + record.size;
    }
    assert!(free + 512 <= bytes.len() as u64, "a body outside of the archive");
    for block in packed.blocks.iter().flat_map(|blocks| [&blocks.content, &blocks.not_modified]) {
        let mut lines = block.split_inclusive(|&byte| byte == b'\n');
        assert!(lines.all(|line| line.ends_with(b"\r\n") && line.len() > 3), "a head that could end early");
        assert!(!block.contains(&0), "a zero byte in a head");
        let text = block.to_ascii_lowercase();
        for field in ["content-length", "transfer-encoding", "connection"] {
            assert!(!text.starts_with(format!("{field}:").as_bytes()), "framing in a head");
            let later = format!("\n{field}:");
            assert!(!text.windows(later.len()).any(|window| window == later.as_bytes()), "framing in a head");
        }
    }
    let index = Index::new(packed.names)?;
    if index.has_clash {
        return Err(crate::OpenFault::DamagedPack { offset: 0, what: "a name clashes" });
    }
    Ok(Some(index.files))
}

/// Any bytes as an encodings file: refused, or one that could have been written. Returns how many
/// originals there are.
///
/// The same bytes are tried with their hash put right, too.
pub fn encodings(bytes: &[u8]) -> std::io::Result<usize> {
    let mut sealed = bytes.to_vec();
    crate::open::encodings::read::reseal(&mut sealed);
    if sealed != bytes {
        let _ = manifest(&sealed);
    }
    manifest(bytes)
}

fn manifest(bytes: &[u8]) -> std::io::Result<usize> {
    let manifest = crate::raw::Manifest::read(&bytes)?;
    let mut free = 0;
    for (place, (name, original)) in manifest.originals().enumerate() {
        assert!(is_public(name), "a hidden name");
        assert_eq!(normalize(name).ok().flatten().as_deref(), Some(name), "a name that is not a key");
        assert_moves_nowhere(name);
        let all = manifest.encodings(place);
        assert_eq!(all.len(), usize::from(original.encodings), "encodings lost or invented");
        for (at, encoding) in all.iter().enumerate() {
            assert!(encoding.coding != sitar_http::semantics::Coding::Identity, "no coding");
            assert!(all[..at].iter().all(|other| other.coding != encoding.coding), "a coding twice");
            assert!(encoding.offset >= free, "a body in another");
            assert!((1..original.size).contains(&encoding.size), "an encoding that is no smaller");
            free = encoding.offset + encoding.size;
        }
    }
    assert!(free <= bytes.len() as u64, "a body outside of the file");
    assert!(manifest.encodings(manifest.len()).is_empty(), "encodings of nothing");
    Ok(manifest.len())
}

/// Any bytes as a request's path: the key, if there is one, is a plain name below the root.
pub fn path(raw: &[u8]) {
    let mut buffer = [0; NAME_MAX];
    let resolved = resolve(raw, &mut buffer);
    if let Ok(resolved) = resolved {
        let is_escaped = raw.windows(3).any(|three| three.eq_ignore_ascii_case(b"%2f"));
        assert!(is_escaped || !resolved.key.contains(&0), "a zero byte without an escaped slash");
        assert!(!resolved.key.contains(&0) || !is_key(resolved.key), "an escaped slash in a file's name");
        if resolved.key.is_empty() {
            assert!(resolved.slash, "the root is a directory");
        } else {
            for segment in resolved.key.split(|&byte| byte == b'/') {
                assert!(!matches!(segment, b"" | b"." | b".."), "a segment that moves");
            }
        }
        let mut url = Vec::new();
        crate::open::path::encode(resolved.key, &mut url);
        assert!(url.iter().all(u8::is_ascii_graphic), "a Location that could end its line");
        url.insert(0, b'/');
        if url.len() <= NAME_MAX {
            let mut again = [0; NAME_MAX];
            assert_eq!(
                resolve(&url, &mut again).map(|found| found.key),
                Ok(resolved.key),
                "a key that moves when sent back"
            );
        }
    }
    // The short way is only ever a shorter way; names too long for the buffer are in no index
    // either.
    if let Some(short) = plain(raw)
        && short.key.len() <= NAME_MAX
    {
        assert_eq!(resolved, Ok(short), "two ways to read one path");
    }
}

/// Paths that rules are tried on.
const TARGETS: [&[u8]; 12] = [
    b"/",
    b"/a",
    b"/a/b/c/d/e/f",
    b"/x//evil.example",
    b"/x/%5Cevil.example",
    b"/q?id=/evil.example&id=\\x",
    b"/%0D%0ASet-Cookie:%20a",
    b"/movies/a%00",
    b"/index.html?a=b",
    b"/caf%C3%A9/",
    b"/path/a?param1=%0d%0a&param2=//x",
    b"/page.jpg",
];

/// Asks a site that has these rules for everything in [`TARGETS`], and calls `check` with each
/// answer's header lines.
fn ask_all(rules: crate::Rules, options: &crate::Options, check: impl Fn(&[u8], &Reply<'_>, &[u8])) {
    let files: [(&str, &[u8]); 3] = [("index.html", b"<p>"), ("page.jpg", b"jpg"), ("404.html", b"no")];
    let site = Site::with_rules(&files, options, rules);
    for target in TARGETS {
        let Some(parsed) = RequestTarget::from_origin_form(target) else { continue };
        let mut request = Request::new(Method::Get, parsed);
        request.authority = Some(b"sub.pages.dev:8443");
        let loaded;
        let mut scratch = Scratch::new();
        let reply = match site.route(&request, &mut scratch) {
            Route::Reply(reply) => reply,
            Route::File(found) => {
                let Ok(file) = site.load(
                    found.file(),
                    &crate::Budget::new(1 << 20, 1 << 20),
                    std::time::SystemTime::now(),
                ) else {
                    continue;
                };
                loaded = file;
                loaded.respond(&request, found)
            }
        };
        let lines = reply.pieces(|pieces| pieces.concat());
        assert!(lines.len() < 15_000, "an answer's head that does not fit into a record");
        for line in lines.split_inclusive(|&byte| byte == b'\n') {
            let line = line.strip_suffix(b"\r\n").unwrap_or_default();
            let colon = line.iter().position(|&byte| byte == b':').unwrap_or(0);
            assert!(colon > 0 && line[..colon].iter().all(u8::is_ascii_graphic), "a line without a name");
            assert!(!line.iter().any(|&byte| matches!(byte, 0..=8 | 10..=31 | 127)), "a control character");
        }
        check(target, &reply, &lines);
    }
}

fn lines_named<'l>(lines: &'l [u8], name: &'l [u8]) -> impl Iterator<Item = &'l [u8]> {
    lines.split(|&byte| byte == b'\n').filter_map(move |line| {
        let (own, value) = line.split_at_checked(name.len())?;
        own.eq_ignore_ascii_case(name).then(|| value.strip_prefix(b": ")).flatten()
    })
}

/// Any bytes as `_headers`: what is accepted never frames a message, never takes the server's own
/// lines that caching needs, and never sends a field twice that has one value.
pub fn headers(text: &[u8]) {
    hsts(text);
    let Ok(rules) = crate::Rules::compile(Some(text), None) else { return };
    ask_all(rules, &crate::Options::default(), |target, reply, lines| {
        for name in [&b"Content-Length"[..], b"Transfer-Encoding", b"Connection", b"Date", b"Location"] {
            let expected = usize::from(name == b"Location" && (300..400).contains(&reply.status.code()));
            assert_eq!(lines_named(lines, name).count(), expected, "{}", target.escape_ascii());
        }
        for name in [&b"Content-Type"[..], b"Content-Encoding", b"Cache-Control", b"X-Frame-Options", b"Vary"]
        {
            // What has placeholders may stand apart from the server's own Vary, and its value may
            // be anything.
            let most = if name == b"Vary" { 2 } else { 1 };
            assert!(lines_named(lines, name).count() <= most, "{}", target.escape_ascii());
        }
        let etags = usize::from(reply.status == Status::OK);
        assert_eq!(lines_named(lines, b"ETag").count(), etags, "{}", target.escape_ascii());
    });
}

/// The same on a site with HSTS: that is replaced or taken away, and never beside what the rules
/// say. Where they say nothing it is there.
fn hsts(text: &[u8]) {
    const NAME: &[u8] = b"Strict-Transport-Security";
    let Ok(rules) = crate::Rules::compile(Some(text), None) else { return };
    let hsts = crate::Hsts::parse("max-age=31536000").ok();
    let is_named = text.windows(NAME.len()).any(|part| part.eq_ignore_ascii_case(NAME));
    ask_all(rules, &crate::Options { hsts, ..crate::Options::default() }, |target, _, lines| {
        let values: Vec<&[u8]> = lines_named(lines, NAME).collect();
        assert!(values.len() <= 1, "{}: {} lines", target.escape_ascii(), values.len());
        let is_own = values.first().is_some_and(|value| value.starts_with(b"max-age=31536000\r"));
        assert!(is_named || is_own, "{}: without the policy", target.escape_ascii());
    });
}

/// Any bytes as `_redirects`: a redirect leads to a path of this site or to a host that the rules
/// name, whatever is asked.
pub fn redirects(text: &[u8]) {
    let Ok(rules) = crate::Rules::compile(None, Some(text)) else { return };
    ask_all(rules, &crate::Options::default(), |target, _, lines| {
        for location in lines_named(lines, b"Location") {
            let location = location.strip_suffix(b"\r").unwrap_or(location);
            let Some(authority) = destination(location) else { continue };
            assert!(is_named(text, &authority), "{}: a host that no rule names", target.escape_ascii());
        }
    });
}

/// The host, port and user that a browser reads in a Location (URL standard, "basic URL parser");
/// `None`: on the same host.
fn destination(location: &[u8]) -> Option<Vec<u8>> {
    // Tabs and ends of lines are left out before anything else; a backslash is a slash.
    let kept = location.iter().filter(|byte| !matches!(byte, b'\t' | b'\n' | b'\r'));
    let url: Vec<u8> = kept.map(|&byte| if byte == b'\\' { b'/' } else { byte }).collect();
    let lower = url.to_ascii_lowercase();
    let rest = match [&b"https:"[..], b"http:"].iter().find(|scheme| lower.starts_with(scheme)) {
        Some(scheme) => &url[scheme.len()..],
        None if url.starts_with(b"//") => &url[..],
        None => {
            assert!(url.starts_with(b"/"), "neither a path nor an address: {}", location.escape_ascii());
            return None;
        }
    };
    let start = rest.iter().position(|&byte| byte != b'/').unwrap_or(rest.len());
    let authority = rest[start..].split(|byte| matches!(byte, b'/' | b'?' | b'#')).next();
    authority.map(<[u8]>::to_vec)
}

/// Whether a rule has this authority where a target's stands: behind a scheme, and ended by what
/// ends it for browsers too.
fn is_named(text: &[u8], authority: &[u8]) -> bool {
    let named = [b"://", authority].concat();
    let ends = |at: usize| !matches!(text.get(at), Some(byte) if !b"/?# \t\r\n".contains(byte));
    !authority.is_empty()
        && (0..text.len()).any(|at| text[at..].starts_with(&named) && ends(at + named.len()))
}
