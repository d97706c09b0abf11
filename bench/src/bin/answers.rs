//! `answers SITE KIND ROUNDS`: requests of one kind from bytes to answer, without sockets and
//! without sealing, so that a tool can count their instructions. `cargo xtask instructions` runs it
//! twice and takes the difference.
//!
//! It does the work of a shard for a warm request: parse the head, look the path up, make the
//! answer, write its head, copy its body behind that.

use sitar_http::h1::{self, Limits, ResponseHead};
use sitar_server::cost::Shard;
use sitar_site::{Body, Budget, Options, Representation, Route, Scratch, Site};
use std::hint::black_box;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Number of files of the site that `cargo xtask instructions` makes: `000.css` and so on.
const FILES: usize = 200;
/// A trace takes each answer that is a multiple of this.
const TRACED: u32 = 100;
const DATE: &[u8; 29] = b"Sun, 06 Nov 1994 08:49:37 GMT";
const BROWSER: &str = "sec-ch-ua: \"Chromium\";v=\"140\", \"Not=A?Brand\";v=\"24\"\r\nsec-ch-ua-mobile: ?0\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) \
    Chrome/140.0.0.0 Safari/537.36\r\n\
    sec-ch-ua-platform: \"Linux\"\r\nAccept: text/css,*/*;q=0.1\r\n\
    Sec-Fetch-Site: same-origin\r\nSec-Fetch-Mode: no-cors\r\n\
    Sec-Fetch-Dest: style\r\nReferer: https://example.org/\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n\
    Accept-Language: en-US,en;q=0.9\r\n";

fn main() -> ExitCode {
    match run() {
        Ok(written) => {
            println!("{written} bytes");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<usize> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [path, kind, rounds] = &arguments[..] else { return Err("usage: answers SITE KIND ROUNDS".into()) };
    let rounds: usize = rounds.parse()?;
    let site = Site::open(&PathBuf::from(path), &Options::default()).map_err(|error| error.to_string())?;
    let (kind, shard) = match kind.split_once(' ') {
        Some(("logged", kind)) => (kind, Shard::new(true)),
        Some(("traced", kind)) => (kind, Shard::traced(TRACED)),
        _ => (&kind[..], Shard::new(false)),
    };
    let mut warm = Warm { table: load(&site)?, site, scratch: Scratch::new(), out: vec![0; 16 << 10], shard };
    let requests = requests(&mut warm, kind)?;
    let mut written = 0;
    for round in 0..rounds {
        written += warm.answer(black_box(&requests[round % requests.len()]))?;
    }
    if warm.shard.dropped() > 0 {
        return Err("more rounds than there is room for records".into());
    }
    Ok(written)
}

/// A site with everything loaded, by file.
struct Warm {
    site: Site,
    table: Vec<Representation>,
    scratch: Scratch,
    out: Vec<u8>,
    shard: Shard,
}

fn load(site: &Site) -> Result<Vec<Representation>> {
    let budget = Budget::new(64 << 20, 8 << 20);
    // Past every modification, so that the answers' dates are those of the files.
    let now = SystemTime::now() + Duration::from_secs(60);
    let limits = Limits::default();
    let mut table: Vec<Option<Representation>> = (0..site.files()).map(|_| None).collect();
    for number in 0..FILES {
        let request = request(number, "");
        let head = h1::parse(&request, &limits).map_err(|_| "refused")?.ok_or("not whole")?;
        let mut scratch = Scratch::new();
        let Route::File(found) = site.route(&head.request, &mut scratch) else {
            return Err("not a file".into());
        };
        table[found.file().index()] = Some(site.load(found.file(), &budget, now)?);
    }
    table.into_iter().map(|loaded| loaded.ok_or_else(|| "a file that was not requested".into())).collect()
}

fn request(number: usize, fields: &str) -> Vec<u8> {
    format!("GET /{number:03}.css HTTP/1.1\r\nHost: localhost:8443\r\n{fields}\r\n").into_bytes()
}

fn requests(warm: &mut Warm, kind: &str) -> Result<Vec<Vec<u8>>> {
    let one = |number: usize| {
        Ok(match kind {
            "plain" => request(number, ""),
            "browser" => request(number, BROWSER),
            "unmodified" => {
                let len = warm.answer(&request(number, ""))?;
                let answer = String::from_utf8_lossy(&warm.out[..len]).into_owned();
                let etag = answer.lines().find_map(|line| line.strip_prefix("ETag: ")).ok_or("no ETag")?;
                request(number, &format!("{BROWSER}If-None-Match: {etag}\r\n"))
            }
            _ => return Err("KIND is plain, browser or unmodified".into()),
        })
    };
    let requests: Result<Vec<Vec<u8>>> = (0..FILES).map(one).collect();
    let requests = requests?;
    let expected = if kind == "unmodified" { "304" } else { "200" };
    warm.answer(&requests[0])?;
    if !warm.out.starts_with(format!("HTTP/1.1 {expected} ").as_bytes()) {
        return Err("not the answer that is to be counted".into());
    }
    Ok(requests)
}

impl Warm {
    /// Answers one request into `out`, and returns the answer's length.
    fn answer(&mut self, wire: &[u8]) -> Result<usize> {
        let head = h1::parse(wire, &Limits::default()).map_err(|_| "refused")?.ok_or("not whole")?;
        let Route::File(found) = self.site.route(&head.request, &mut self.scratch) else {
            return Err("not a file".into());
        };
        let reply = self.table[found.file().index()].respond(&head.request, found);
        let (version, status, content_length) = (head.version, reply.status, reply.content_length);
        let content = reply.content();
        let close = !head.keep_alive;
        let len = reply.pieces(|fields| {
            let answer = ResponseHead { version, status, date: DATE, fields, content_length, close };
            h1::write_head(&mut self.out, &answer)
        });
        let mut len = len.ok_or("no room")?;
        if let Body::Memory { region, range } = &reply.body {
            let body = &region[range.clone()];
            self.out[len..len + body.len()].copy_from_slice(body);
            len += body.len();
        }
        self.shard.answer(&head.request, status, content);
        Ok(len)
    }
}
