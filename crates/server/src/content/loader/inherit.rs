//! What a snapshot takes over of the files that are loaded for the one before it.

use std::collections::HashMap;
use std::sync::Arc;

use sitar_site::Representation;

use crate::snapshot::{FileKey, Snapshot};

/// Representations and where they belong.
pub(crate) type Loaded = Vec<(FileKey, Arc<Representation>)>;

/// Returns the part of `loaded`, which is of `older`, that `next` has unchanged.
pub(crate) fn inherited(
    next: &Snapshot,
    older: &Snapshot,
    loaded: Loaded,
    now: std::time::SystemTime,
) -> Loaded {
    let mut by_host: HashMap<_, Vec<_>> = HashMap::new();
    for (key, representation) in loaded {
        by_host.entry(key.host).or_default().push((key.file, representation));
    }
    let mut kept = Loaded::new();
    // Dates say since when content is what it is under its name: only where one host was before.
    for (host, before) in next.hosts.successors(&older.hosts) {
        let (Some(site), Some(last)) = (next.site(host), older.site(before)) else { continue };
        let loaded = by_host.get(&before).cloned().unwrap_or_default();
        let files = if Arc::ptr_eq(site, last) { loaded } else { site.inherit(last, loaded, now) };
        kept.extend(files.into_iter().map(|(file, loaded)| (FileKey { host, file }, loaded)));
    }
    kept
}
