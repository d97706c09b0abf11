//! The keys of `[server]` about encodings of sites.

use super::{Form, KEY, Key};

pub(super) const COMPRESS: Key = Key {
    name: "compress",
    form: Form::Switch,
    default: Some("true"),
    example: "false",
    doc: "Whether sites that are folders or plain archives go out compressed. A process of low \
                  priority makes encodings of their files, and keeps them in the cache. A pack has its own.",
    ..KEY
};

pub(super) const CACHE: Key = Key {
    name: "cache",
    form: Form::Path,
    default: None,
    example: "\"/var/cache/sitar\"",
    doc: "The folder for encodings, which is made where it is missing. It has to belong to the user that \
                  starts sitar, no other may write to it, and it lies in no site. Without it: the \
                  CacheDirectory of systemd; as root `/var/cache/sitar`; else `sitar` in `$XDG_CACHE_HOME` or `~/.cache`.",
    ..KEY
};

pub(super) const CACHE_SIZE: Key = Key {
    name: "cache_size",
    form: Form::Size,
    default: Some("\"1 GiB\""),
    example: "\"4 GiB\"",
    doc: "The space that encodings may take in the cache: a size, or a number of MiB.",
    ..KEY
};
