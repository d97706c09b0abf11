//! Requests that wait for a file.

use crate::{Field, Fields, Method, Request, RequestTarget};
use std::fmt;

/// A copy of a request whose response needs a file that has to be loaded first. One allocation.
pub struct ParkedRequest {
    method: Method,
    bytes: Box<[u8]>,
    method_name: usize,
    path: usize,
    query: Option<usize>,
    authority: Option<usize>,
    /// Fields that are needed later, and the lengths of their values.
    fields: [(Field, u32); Fields::KEPT_MAX],
    fields_len: u8,
}

/// As the request, in which credentials are not shown.
impl fmt::Debug for ParkedRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ParkedRequest").field(&self.request()).finish()
    }
}

impl ParkedRequest {
    /// Copies a request, with the fields that are [needed later](Field::is_needed_later).
    #[must_use]
    pub fn new(request: &Request<'_>) -> ParkedRequest {
        let mut bytes = Vec::with_capacity(128);
        bytes.extend_from_slice(request.method_name);
        bytes.extend_from_slice(request.target.path);
        bytes.extend_from_slice(request.target.query.unwrap_or_default());
        bytes.extend_from_slice(request.authority.unwrap_or_default());
        let mut parked = ParkedRequest {
            method: request.method,
            bytes: Box::default(),
            method_name: request.method_name.len(),
            path: request.target.path.len(),
            query: request.target.query.map(<[u8]>::len),
            authority: request.authority.map(<[u8]>::len),
            fields: [(Field::Host, 0); Fields::KEPT_MAX],
            fields_len: 0,
        };
        for (field, value) in request.fields.iter().filter(|(field, _)| field.is_needed_later()) {
            // There are as many places as in a request, and a value is shorter than 4 GiB.
            parked.fields[usize::from(parked.fields_len)] = (field, value.len() as u32);
            parked.fields_len += 1;
            bytes.extend_from_slice(value);
        }
        parked.bytes = bytes.into_boxed_slice();
        parked
    }

    /// Returns a view of the request.
    #[must_use]
    pub fn request(&self) -> Request<'_> {
        let mut rest = &self.bytes[..];
        let mut next = |len: usize| {
            let (first, later) = rest.split_at_checked(len).unwrap_or_default();
            rest = later;
            first
        };
        let method_name = next(self.method_name);
        let path = next(self.path);
        let query = self.query.map(&mut next);
        let mut request = Request::new(self.method, RequestTarget { path, query });
        request.method_name = method_name;
        request.authority = self.authority.map(&mut next);
        for (field, len) in &self.fields[..usize::from(self.fields_len)] {
            // Fewer than there is room for.
            let _ = request.fields.push(*field, next(*len as usize));
        }
        request
    }

    /// Returns the bytes of memory that it takes.
    #[must_use]
    pub fn memory(&self) -> usize {
        size_of::<ParkedRequest>() + self.bytes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_needed_later_comes_back() {
        let mut request = Request::new(Method::Head, RequestTarget { path: b"/a/b", query: Some(b"q=1") });
        request.authority = Some(b"example.org");
        for (field, value) in [
            (Field::Range, &b"bytes=0-1"[..]),
            (Field::Host, b"other.example.org"),
            (Field::UserAgent, b"curl"),
            (Field::AcceptEncoding, b"br"),
            (Field::AcceptEncoding, b"gzip"),
            (Field::WantReprDigest, b"sha-256=1"),
            (Field::Authorization, b"Basic Ym9iOnNlY3JldA=="),
        ] {
            request.fields.push(field, value).unwrap();
        }
        let parked = ParkedRequest::new(&request);
        assert!(!format!("{parked:?}").contains("Ym9i"), "{parked:?}");
        let back = parked.request();
        assert_eq!(
            (back.method, back.target, back.authority),
            (request.method, request.target, request.authority)
        );
        assert_eq!(back.fields.get(Field::Range), Some(&b"bytes=0-1"[..]));
        assert_eq!(back.fields.all(Field::AcceptEncoding).collect::<Vec<_>>(), [&b"br"[..], b"gzip"]);
        assert_eq!(back.fields.get(Field::WantReprDigest), Some(&b"sha-256=1"[..]));
        assert_eq!(back.fields.get(Field::UserAgent), Some(&b"curl"[..]));
        assert!(!back.fields.has(Field::Host));
        let mut unknown = Request::new(Method::Unknown, RequestTarget { path: b"/", query: None });
        unknown.method_name = b"BREW";
        assert_eq!(ParkedRequest::new(&unknown).request(), unknown);
        let bare = Request::new(Method::Get, RequestTarget { path: b"/", query: None });
        assert_eq!(ParkedRequest::new(&bare).request(), bare);
    }

    #[test]
    fn as_many_lines_come_back_as_a_request_keeps() {
        let mut request = Request::new(Method::Get, RequestTarget { path: b"/", query: None });
        let values: Vec<_> = (0..16).map(|nth| vec![b'a' + nth; 70_000]).collect();
        for value in &values {
            request.fields.push(Field::IfNoneMatch, value).unwrap();
        }
        let parked = ParkedRequest::new(&request);
        assert!(parked.request().fields.all(Field::IfNoneMatch).eq(values.iter().map(|value| &value[..])));
    }
}
