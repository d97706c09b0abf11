//! The keys of `[log]`.

use super::{Form, KEY, Key, Table};
use crate::events;
use crate::log::format::{Addresses, Format};
use crate::settings::values;

/// The most that a number of a sample may be.
const SAMPLE_MAX: u64 = 1_000_000;

/// `[log]`.
pub(crate) static LOG: Table = Table {
    name: "[log]",
    doc: "The access log, a record of each answer, and the form of the event log. docs/access-log.md and \
          docs/events.md describe them.",
    keys: &[
        Key {
            name: "access",
            form: Form::Text,
            default: Some("\"off\""),
            example: "\"/var/log/sitar/access.log\"",
            doc: "Where records go: the path of a file, `\"stdout\"`, `\"journal\"` (that of systemd) or \
                  `\"off\"`. A path has a slash, and may be relative to the folder of this file. The file is \
                  made where it is missing, with mode 0640.",
            ..KEY
        },
        Key {
            name: "format",
            form: Form::Word(values::words::<Format>),
            default: Some("\"json\""),
            example: "\"combined\"",
            doc: "The format of a record.",
            ..KEY
        },
        Key {
            name: "addresses",
            form: Form::Word(values::words::<Addresses>),
            default: Some("\"full\""),
            example: "\"truncated\"",
            doc: "How much of the addresses of clients is written.",
            ..KEY
        },
        Key {
            name: "sample",
            form: Form::Table(&SAMPLE),
            example: "{ 2xx = 10 }",
            doc: "Classes of statuses of which one record in a number of them is written. Without it: all are.",
            ..KEY
        },
        Key {
            name: "events",
            form: Form::Word(values::words::<events::Form>),
            default: Some("\"text\""),
            example: "\"json\"",
            doc: "The form of the event log, which is what a server says on standard error.",
            ..KEY
        },
    ],
};

macro_rules! class {
    ($name:literal) => {
        Key {
            name: $name,
            form: Form::Number(1, SAMPLE_MAX),
            example: "10",
            doc: concat!("One of this many records with ", $name, " is written."),
            ..KEY
        }
    };
}

/// `sample`.
pub(crate) static SAMPLE: Table = Table {
    name: "sample",
    doc: "Classes of statuses, of which the first record of each run of this length is written. The others \
          are counted.",
    keys: &[class!("2xx"), class!("3xx"), class!("4xx"), class!("5xx")],
};

/// The key of a site.
pub(super) const ACCESS_LOG: Key = Key {
    name: "access_log",
    form: Form::Text,
    example: "\"/var/log/sitar/example.log\"",
    doc: "Where records of the site's answers go, as `access` of `[log]` says it. Without it: where that says.",
    ..KEY
};
