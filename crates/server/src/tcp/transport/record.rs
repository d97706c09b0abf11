//! What a log has of the answers of a connection.

use std::time::{Duration, Instant};

use sitar_http::{Method, Rejection, Request, Status};
use sitar_io::{Key, usdt};
use sitar_site::Reply;

use super::state::Transport;
use crate::content::source::refusal_len;
use crate::log::{Answer, Recorder, Requested};
use crate::numbers::HttpVersion;

/// What a note takes of the shard: what records, the connection whose event is handled, the time.
pub(crate) type Noting<'l> = (&'l mut Recorder, Key, Instant);

impl Transport {
    /// Notes the answer to what was `requested`, since when (`None`: this turn), with a status and
    /// as many bytes of content. It is recorded when it is known whether all of it has been
    /// gathered ([`Recorder::begin`], [`Recorder::watch`]).
    #[inline]
    pub(in crate::tcp) fn note(
        &self,
        noting: Noting<'_>,
        (requested, version, start): (Requested<'_>, HttpVersion, Option<Instant>),
        (status, length): (Status, u64),
    ) {
        let (log, key, now) = noting;
        usdt::response(|| usdt::Response {
            number: log.probe(length),
            connection: key.0,
            status: status.code(),
            content_length: length,
            waited: start.map_or(Duration::ZERO, |start| now.saturating_duration_since(start)),
            request: requested.probed(),
        });
        log.note_start(start);
        log.note(requested, status, || {
            let (peer, tls) = (self.known().peer(), self.known().tls());
            Answer { requested, version, start, peer, tls, status, length }
        });
    }

    /// Notes the reply to a request of HTTP/2.
    #[inline]
    pub(in crate::tcp) fn note_reply(
        &self,
        noting: Noting<'_>,
        (request, since): (&Request<'_>, Option<Instant>),
        reply: &Reply<'_>,
    ) {
        let requested = Requested::Request(request, self.known().labels().host());
        self.note(noting, (requested, HttpVersion::Http2, since), (reply.status, reply.content()));
    }

    /// Notes that a request of HTTP/2 is refused.
    pub(in crate::tcp) fn note_refused(
        &self,
        noting: Noting<'_>,
        (request, since): (&Request<'_>, Option<Instant>),
        rejection: &Rejection,
    ) {
        let requested = Requested::Request(request, self.known().labels().host());
        let head_only = request.method == Method::Head;
        self.note_refusal(noting, (requested, HttpVersion::Http2, since), rejection, head_only);
    }

    /// Notes the refusal of what was `requested`. `head_only`: it has no content.
    pub(in crate::tcp) fn note_refusal(
        &self,
        noting: Noting<'_>,
        requested: (Requested<'_>, HttpVersion, Option<Instant>),
        &Rejection { status, reason }: &Rejection,
        head_only: bool,
    ) {
        let length = if head_only { 0 } else { refusal_len(status, reason) as u64 };
        self.note(noting, requested, (status, length));
    }
}
