//! What a request comes to, in any version of HTTP.

use std::io::ErrorKind;

use sitar_http::{Rejection, Request, Status};
use sitar_io::Key;
use sitar_site::{Reply, Route, Site};

use super::cache::{self, Cache};

/// An answer, or why there is none.
#[expect(clippy::large_enum_variant, reason = "a box would allocate on the path of a request")]
pub(crate) enum Found<'f> {
    Reply(Reply<'f>),
    Refused(&'static Rejection),
    /// The file is being loaded; the connection with that key will be told.
    Later,
}

#[inline]
pub(crate) fn look_up<'f>(
    site: &'f Site,
    cache: &'f mut Cache,
    key: Key,
    request: &Request<'_>,
) -> Found<'f> {
    match site.route(request) {
        Route::Reply(reply) => Found::Reply(reply),
        Route::File(found) => match cache.get(found.file(), key) {
            cache::Found::Ready(loaded) => Found::Reply(loaded.respond(request, &found)),
            cache::Found::Later => Found::Later,
            cache::Found::Failed(ErrorKind::NotFound) => Found::Refused(&VANISHED),
            cache::Found::Failed(_) => Found::Refused(&UNREADABLE),
        },
    }
}

const VANISHED: Rejection = Rejection { status: Status::NOT_FOUND, reason: "the file is gone" };
const UNREADABLE: Rejection =
    Rejection { status: Status::INTERNAL_SERVER_ERROR, reason: "the file could not be read" };
