use super::*;

const DATE: &[u8; 29] = b"Sun, 06 Nov 1994 08:49:37 GMT";

fn head(answer: &ResponseHead<'_>) -> String {
    let mut out = [0; 512];
    let len = write_head(&mut out, answer).unwrap();
    // What does not fit is not written, at any size.
    for short in 0..len {
        assert_eq!(write_head(&mut out[..short], answer), None);
    }
    assert_eq!(write_head(&mut out[..len], answer), Some(len));
    String::from_utf8(out[..len].to_vec()).unwrap()
}

const OK: ResponseHead<'_> = ResponseHead {
    version: Version::Http11,
    status: Status::OK,
    date: DATE,
    fields: &[b"Content-Type: text/html\r\n"],
    content_length: Some(1234),
    close: false,
};

#[test]
fn heads() {
    assert_eq!(
        head(&OK),
        "HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: 1234\r\n\
         Content-Type: text/html\r\n\r\n"
    );
    assert_eq!(
        head(&ResponseHead {
            status: Status::PARTIAL_CONTENT,
            fields: &[b"Content-Type: text/html\r\n", b"Content-Range: bytes 0-0/2\r\n"],
            close: true,
            ..OK
        }),
        "HTTP/1.1 206 Partial Content\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: 1234\r\n\
         Connection: close\r\nContent-Type: text/html\r\nContent-Range: bytes 0-0/2\r\n\r\n"
    );
    assert_eq!(
        head(&ResponseHead { version: Version::Http10, content_length: Some(0), fields: &[], ..OK }),
        "HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n"
    );
    assert_eq!(
        head(&ResponseHead {
            version: Version::Http10,
            close: true,
            content_length: Some(u64::MAX),
            fields: &[],
            ..OK
        }),
        "HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: 18446744073709551615\r\n\
         Connection: close\r\n\r\n"
    );
    assert_eq!(
        head(&ResponseHead {
            status: Status::NOT_MODIFIED,
            content_length: None,
            fields: &[b"ETag: \"x\"\r\n"],
            ..OK
        }),
        "HTTP/1.1 304 Not Modified\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nETag: \"x\"\r\n\r\n"
    );
}

#[test]
fn the_overhead_is_bounded() {
    for code in 200..600 {
        let Some(status) = Status::from_code(code) else { continue };
        let largest = ResponseHead {
            version: Version::Http10,
            status,
            content_length: Some(u64::MAX),
            fields: &[],
            ..OK
        };
        assert!(write_head(&mut [0; HEAD_OVERHEAD_MAX], &largest).is_some(), "{code}");
    }
}

#[test]
fn rejections() {
    let text = |rejection: &Rejection, head_only: bool| {
        let mut out = [0; REJECTION_MAX];
        let len = write_rejection(&mut out, rejection, DATE, head_only).unwrap();
        assert_eq!(write_rejection(&mut out[..len - 1], rejection, DATE, head_only), None);
        String::from_utf8(out[..len].to_vec()).unwrap()
    };
    let bad = Rejection { status: Status::BAD_REQUEST, reason: "a control character" };
    let bad_head = "HTTP/1.1 400 Bad Request\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: 37\r\n\
                    Connection: close\r\nContent-Type: text/plain; charset=utf-8\r\n\
                    X-Content-Type-Options: nosniff\r\nCache-Control: no-store\r\n\r\n";
    assert_eq!(text(&bad, false), format!("{bad_head}400 Bad Request: a control character\n"));
    assert_eq!("400 Bad Request: a control character\n".len(), 37);
    assert_eq!(text(&bad, true), bad_head);

    let method = Rejection { status: Status::METHOD_NOT_ALLOWED, reason: "files are only read" };
    assert!(text(&method, false).contains("\r\nAllow: GET, HEAD, OPTIONS\r\n"));

    let longest =
        Rejection { status: Status::REQUEST_HEADER_FIELDS_TOO_LARGE, reason: &"x".repeat(100).leak()[..] };
    assert!(text(&longest, false).ends_with("x\n"));
}
