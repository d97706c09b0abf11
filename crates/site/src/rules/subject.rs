//! The parts of a request that rules are matched against.

use crate::open::path::{NAME_MAX, PATH_MAX, Resolved, plain, resolve};
use sitar_http::Request;

/// The parts of a request that patterns are matched against.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subject<'k> {
    /// The path's key: decoded, without slashes at its ends and without empty segments. An escaped
    /// slash is an [`ESCAPED_SLASH`](crate::open::path::ESCAPED_SLASH).
    pub(crate) key: &'k [u8],
    /// The path ended in a slash.
    pub(crate) slash: bool,
    /// The host that was asked, with its port; `None` when the client named none.
    pub(crate) authority: Option<&'k [u8]>,
}

/// Calls `with` with what rules are matched against.
pub(crate) fn subject<T>(request: &Request<'_>, with: impl FnOnce(&Subject<'_>) -> T) -> Option<T> {
    let call = |path: Resolved<'_>| {
        with(&Subject { key: path.key, slash: path.slash, authority: request.authority })
    };
    match plain(request.target.path) {
        Some(path) => Some(call(path)),
        None if request.target.path.len() <= NAME_MAX => {
            resolve(request.target.path, &mut [0; NAME_MAX]).ok().map(call)
        }
        None => resolve(request.target.path, &mut [0; PATH_MAX]).ok().map(call),
    }
}
