//! A request head is read the same however its bytes arrive, and whatever is read can be answered.

use sitar_http::h1::{self, Limits};
use sitar_http::semantics::{AcceptEncoding, Coding, Validators, preconditions, range};
use sitar_http::{Status, date};

/// `data` is what a client sends.
pub(crate) fn check(data: &[u8]) {
    for limits in [Limits::default(), Limits { head: 64, target: 8, fields: 2, body: 10 }] {
        let whole = h1::parse(data, &limits);

        let mut scanned = 0;
        let mut pieces = Ok(None);
        for end in 1..=data.len() {
            pieces = h1::parse_from(&data[..end], scanned, &limits);
            if pieces != Ok(None) {
                break;
            }
            scanned = end;
        }

        match whole {
            Ok(None) => assert_eq!(pieces, Ok(None)),
            Ok(Some(head)) => {
                assert_eq!(pieces, Ok(Some(head)));
                assert!(head.len <= limits.head);
                assert!(data[..head.len].ends_with(b"\r\n\r\n"));
                let path = head.request.target.path;
                assert!(path == b"*" || path.starts_with(b"/"));
                answer(&head);
                if let Ok(Some(mut drain)) = h1::BodyDrain::new(head.body, &limits) {
                    let _ = drain.feed(&data[head.len..]);
                }
            }
            Err(rejection) => {
                assert!(!matches!(pieces, Ok(Some(_))));
                assert!(matches!(rejection.status.code(), 400 | 411 | 414 | 417 | 431 | 501 | 505));
                let mut out = [0; h1::REJECTION_MAX];
                assert!(h1::write_rejection(&mut out, &rejection, &date::write_imf(0), false).is_some());
            }
        }
    }
}

fn answer(head: &h1::RequestHead<'_>) {
    let validators = Validators { etag: Some(b"\"x\""), last_modified: Some(784_111_777) };
    let _ = preconditions(&head.request, &validators);
    let _ = range(&head.request, &validators, 1000);
    let _ = AcceptEncoding::of(&head.request).best(&[Coding::Br, Coding::Identity]);
    let answer = h1::ResponseHead {
        version: head.version,
        status: Status::OK,
        date: &date::write_imf(784_111_777),
        fields: &[],
        content_length: Some(1000),
        close: !head.keep_alive,
    };
    assert!(h1::write_head(&mut [0; h1::HEAD_OVERHEAD_MAX], &answer).is_some());
}
