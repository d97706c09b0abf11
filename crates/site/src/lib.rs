//! A web site in a tar archive or a directory: which file a request means, and what to answer.
//!
//! [`Site::open`] reads names and positions, never bodies. [`Site::route`] turns a request into a
//! file's id or a finished answer, without allocating or asking the kernel. [`Site::load`], on a
//! thread that may block, makes a [`Representation`] of a file: its bytes in a
//! [`Region`](sitar_io::Region) as far as the [`Budget`] reaches, its `ETag`, its header lines.
//! [`Site::describe`] makes one without its bytes, which is enough for HEAD.
//! [`Representation::respond`] answers from that, again without allocating.
//!
//! An archive is untrusted input. Everything read from it is bounded, nothing in it can name a byte
//! outside it, and a name in it is only ever compared with, never opened. A directory is read
//! through `openat2` below its root, or name by name where there is no such call.
//!
//! # What is served
//!
//! | | |
//! |---|---|
//! | `/x/` | `x/index.html`; where only `x.html` is, 301 to `/x`, query kept; else 404 |
//! | `/x/` without a page, with [`Options::listing`] | a listing of the folder `x` |
//! | `/x` | `x`, else `x.html`; where only the folder `x` is, 301 to `/x/`, query kept |
//! | `/x.html/` | 404: a file has nothing below it |
//! | `//x`, `/./x`, `/a/../x` | `x`, as it is; see `open/path.rs` |
//! | what is not there | the nearest `404.html` up the tree, with 404, else a line of text |
//! | whatever `_redirects` says | see [`Rules`]; where there is a page, only rules with `!` |
//! | malformed escape, `%00` | 400 |
//! | `%2F` | no file's name has it, rules match it; else as what is not there |
//! | a dotfile, `_headers`, `_redirects` | 404 but below `/.well-known/`; links may lead to them |
//! | `CNAME`, `netlify.toml` and their like at the root | 404, unless [`Options::config_files`] |
//! | `x.br`, `x.zst`, `x.gz` | files of their own, and encodings of `x`, even where no `x` exists |
//! | `x` where only `x.br` exists, to a client that takes no brotli | 404 with `Vary` |
//! | methods other than GET, HEAD, OPTIONS | 405 with `Allow`; unknown ones 501 |
//!
//! The client's own preference (q-values) decides between encodings, then the order br, zstd, gzip.
//! Every encoding has its own strong ETag: its hash, or where a body is sent from the file and no
//! pack knows its hash, one of the file's identity and times.
//!
//! `Cache-Control` is `no-cache` (store it, and ask before each use), and `immutable` for a year
//! where the name carries the content's fingerprint; see `answer/lifetime.rs`. The redirects that
//! add or remove a slash are `no-store`; those of rules say nothing: their status is the owner's
//! choice.
//!
//! # Where things are
//!
//! | folder | contents |
//! |---|---|
//! | `open/` | from an archive, a pack or a directory to a [`Site`] |
//! | `answer/` | from a request and a [`Representation`] to a [`Route`] and a [`Reply`] |
//! | `rules/` | `_headers` and `_redirects` |

mod answer;
mod open;
#[doc(hidden)]
pub mod properties;
pub mod raw;
mod rules;

pub use answer::field_buf::FieldBuf;
pub use answer::hsts::{Hsts, HstsError};
pub use answer::multipart::{Piece, Plan};
pub use answer::page::{Page, redirect_fields};
pub use answer::reply::{Body, Multipart, Reply, Scratch};
pub use answer::representation::Representation;
pub use answer::route::{Route, Target};
pub use open::budget::Budget;
pub use open::directory::Seen;
pub use open::encodings::attach::{Gain, OutdatedEncoding};
pub use open::encodings::read::Encodings;
pub use open::error::{OpenError, OpenFault, Warning};
pub use open::index::FileId;
pub use open::live::Version;
pub use open::load::BodySize;
pub use open::opening::Options;
pub use open::place::Place;
pub use open::printable::Printable;
pub use open::reach::{OutOfReach, open_root};
pub use open::site::Site;
pub use open::streamed::Streamed;
pub use rules::{HeaderSet, RuleError, Rules, Shadowed};
