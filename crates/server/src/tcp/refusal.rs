//! Refusals in HTTP/1, after which the connection ends.

use std::time::Instant;

use sitar_http::h1::{self, RequestHead};
use sitar_http::{Method, Rejection, Status};
use sitar_io::Engine;

use super::transport::Transport;
use super::transport::output::Put;
use crate::close::{Close, PeerReason};
use crate::content::source::refusal_len;
use crate::log::Requested;
use crate::numbers::{HttpVersion, RequestLabels};
use crate::shard::context::Shared;

/// RFC 9110 §15.5.9.
const TOO_SLOW: Rejection =
    Rejection { status: Status::REQUEST_TIMEOUT, reason: "the request took too long to arrive" };

/// A request that is refused.
pub(super) struct Refusal<'a> {
    rejection: &'a Rejection,
    /// The answer has no content (RFC 9110 §9.3.2).
    head_only: bool,
    /// `None`: the start of a request that has come in part.
    requested: Option<Requested<'a>>,
    labels: RequestLabels,
    version: HttpVersion,
    /// When it was first looked at; `None`: in this turn.
    since: Option<Instant>,
}

impl<'a> Refusal<'a> {
    /// That of a request, and the host that it leads to.
    pub(super) fn of(
        rejection: &'a Rejection,
        head: &'a RequestHead<'_>,
        labels: RequestLabels,
        since: Option<Instant>,
    ) -> Refusal<'a> {
        let head_only = head.request.method == Method::Head;
        let requested = Some(Requested::Request(&head.request, labels.host()));
        Refusal { rejection, head_only, requested, labels, version: head.version.into(), since }
    }

    /// That of text, all that has come since the last request.
    pub(super) fn of_text(rejection: &'a Rejection, text: &'a [u8]) -> Refusal<'a> {
        let (head_only, requested) = (h1::is_head(text), Some(Requested::Text(text)));
        Refusal { requested, ..Refusal::unread(rejection, head_only) }
    }

    /// That of what cannot be read.
    pub(super) fn unread(rejection: &'a Rejection, head_only: bool) -> Refusal<'a> {
        let (labels, version) = (RequestLabels::UNKNOWN, HttpVersion::Http11);
        let requested = Some(Requested::Text(b""));
        Refusal { rejection, head_only, requested, labels, version, since: None }
    }
}

/// The time for a request is over: refuses it, if it has begun. `more` is handed to a flush.
pub(super) fn late<E: Engine>(io: &mut Transport, cx: &mut Shared<E>, more: bool) -> Result<(), Close> {
    let timeout = io.timeout();
    let text = io.pending();
    if !h1::begins_request(text) {
        io.end(Close::Timeout(timeout));
        return Ok(());
    }
    let head_only = h1::is_head(text);
    let refusal = Refusal { requested: None, ..Refusal::unread(&TOO_SLOW, head_only) };
    let _ = refuse_for(io, cx, &refusal, more, Close::Timeout(timeout))?;
    Ok(())
}

/// Refuses a request, after which the connection ends. Where there is no room, what is gathered
/// goes first; `more` is handed to a flush.
pub(super) fn refuse<E: Engine>(
    io: &mut Transport,
    cx: &mut Shared<E>,
    refusal: &Refusal<'_>,
    more: bool,
) -> Result<Put, Close> {
    let status = refusal.rejection.status;
    let is_ours = status.code() >= 500 && status != Status::HTTP_VERSION_NOT_SUPPORTED;
    let why = match (is_ours, status) {
        (true, _) => Close::Ours("a file cannot be read"),
        (false, Status::NOT_FOUND) => Close::Done,
        (false, _) => Close::Peer(PeerReason::Http),
    };
    refuse_for(io, cx, refusal, more, why)
}

fn refuse_for<E: Engine>(
    io: &mut Transport,
    cx: &mut Shared<E>,
    refusal: &Refusal<'_>,
    more: bool,
    why: Close,
) -> Result<Put, Close> {
    let &Refusal { rejection, head_only, requested, labels, version, since } = refusal;
    let date = cx.date;
    let put = io.put(cx, |output, security| output.rejection(security, rejection, &date, head_only))?;
    match put {
        Put::NoRoom => io.flush(cx, more)?,
        Put::Done => {
            io.end(why);
            cx.numbers.counts().requests.add(1);
            let Rejection { status, reason } = *rejection;
            let content = if head_only { 0 } else { refusal_len(status, reason) as u64 };
            cx.numbers.answered(labels, version, status, content);
            let requested = requested.unwrap_or_else(|| Requested::Text(io.pending()));
            io.note((&mut cx.log, cx.key, cx.now), (requested, version, since), (status, content));
            cx.log.begin(false);
        }
    }
    Ok(put)
}
