//! From a request to its answer.

use sitar_http::h1::RequestHead;
use sitar_http::{Method, Rejection, Status};

use super::Format;

/// What a client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// The numbers.
    Metrics(Format),
    /// Whether the supervisor lives.
    Health,
    /// Whether a worker serves.
    Ready,
}

/// An answer, after which the connection ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: Status,
    media_type: &'static str,
    body: String,
    /// A further line of the head.
    line: &'static str,
    /// The body is not sent (RFC 9110 §9.3.2).
    head_only: bool,
}

const PLAIN: &str = "text/plain; charset=utf-8";

impl Answer {
    /// A line of text.
    pub(crate) fn line(status: Status, text: &str) -> Answer {
        Answer { status, media_type: PLAIN, body: format!("{text}\n"), line: "", head_only: false }
    }

    /// Numbers in a format.
    pub(crate) fn numbers(format: Format, body: String) -> Answer {
        Answer { status: Status::OK, media_type: format.media_type(), body, line: "", head_only: false }
    }

    /// The refusal of what is no request.
    pub(super) fn refusal(rejection: &Rejection) -> Answer {
        Answer::line(rejection.status, rejection.reason)
    }

    /// Returns what is sent.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        let Answer { status, media_type, body, line, head_only } = self;
        let (code, reason, len) = (status.code(), status.reason(), body.len());
        let mut text = format!(
            "HTTP/1.1 {code} {reason}\r\nContent-Type: {media_type}\r\nContent-Length: {len}\r\n\
             Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n{line}Connection: close\r\n\r\n"
        );
        if !head_only {
            text.push_str(&body);
        }
        text.into_bytes()
    }
}

/// Answers a request. `handler` knows what is asked for.
pub(super) fn answer(head: &RequestHead<'_>, handler: impl FnOnce(Asked) -> Answer) -> Answer {
    let request = &head.request;
    let asked = match request.target.path {
        b"/metrics" => Asked::Metrics(Format::of(request)),
        b"/healthz" => Asked::Health,
        b"/readyz" => Asked::Ready,
        _ => {
            let text = "there is /metrics, /healthz and /readyz";
            let head_only = request.method == Method::Head;
            return Answer { head_only, ..Answer::line(Status::NOT_FOUND, text) };
        }
    };
    match request.method {
        Method::Get => handler(asked),
        Method::Head => Answer { head_only: true, ..handler(asked) },
        _ => Answer {
            line: "Allow: GET, HEAD\r\n",
            ..Answer::line(Status::METHOD_NOT_ALLOWED, "only GET and HEAD are answered here")
        },
    }
}
