//! The format of `/metrics` that a client wants, by its Accept field (RFC 9110 §12.5.1).

use sitar_http::Request;
use sitar_http::semantics::prefers;

/// A format of numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// The text format of Prometheus, version 0.0.4.
    Prometheus,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

impl Format {
    /// Returns the media type.
    pub(crate) fn media_type(self) -> &'static str {
        match self {
            Format::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// Returns the format for a request: OpenMetrics where it is wanted more than text. Versions in
    /// Accept are not looked at: what is sent says its own.
    pub(crate) fn of(request: &Request<'_>) -> Format {
        match prefers(request, "application/openmetrics-text", "text/plain") {
            true => Format::OpenMetrics,
            false => Format::Prometheus,
        }
    }
}

#[cfg(test)]
mod tests {
    use sitar_http::{Field, Method, RequestTarget};

    use super::*;

    #[test]
    fn the_format_is_the_one_that_is_wanted_more() {
        for (lines, expected) in [
            (&[][..], Format::Prometheus),
            (&["*/*"], Format::Prometheus),
            (&["text/plain"], Format::Prometheus),
            (&["text/html, application/xhtml+xml, */*;q=0.8"], Format::Prometheus),
            (&["application/openmetrics-text"], Format::OpenMetrics),
            (&["Application/OpenMetrics-Text; Version=1.0.0; charset=utf-8"], Format::OpenMetrics),
            (&["application/openmetrics-text;q=0.5,text/plain;q=0.4"], Format::OpenMetrics),
            (&["application/openmetrics-text;q=0.4,text/plain;version=0.0.4;q=0.5"], Format::Prometheus),
            (&["application/openmetrics-text;q=0.4", "text/*;q=0.5"], Format::Prometheus),
            (&["application/openmetrics-text;q=0.4", "*/*"], Format::Prometheus),
            (&["application/openmetrics-text;version=1.0.0;q=0.3", "*/*;q=0.1"], Format::OpenMetrics),
            (&["application/openmetrics-text;q=0, */*;q=0"], Format::Prometheus),
            // Prometheus 2.53, and then 3.
            (
                &["application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;\
                   version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"],
                Format::OpenMetrics,
            ),
            (
                &["application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                   application/openmetrics-text;version=0.0.1;q=0.5,\
                   text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"],
                Format::OpenMetrics,
            ),
        ] {
            let mut request = Request::new(Method::Get, RequestTarget { path: b"/metrics", query: None });
            for line in lines {
                request.fields.push(Field::Accept, line.as_bytes()).unwrap();
            }
            assert_eq!(Format::of(&request), expected, "{lines:?}");
        }
    }
}
