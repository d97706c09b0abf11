//! Replays the seed corpus of one fuzz target on a stable compiler.

use std::path::Path;

/// Gives every file of `fuzz/corpus/<target>` to a property, in the order of their names.
///
/// # Panics
/// If the corpus has fewer than `least` files, or the property does not hold for one of them.
pub(crate) fn replay(target: &str, least: usize, check: fn(&[u8])) {
    let seeds = crate::mutation::corpus(target);
    for (path, data) in &seeds {
        // Printed only when the property fails: then this is the file.
        println!("{}", Path::display(path));
        check(data);
    }
    assert!(seeds.len() >= least, "the seed corpus of {target} has only {} files", seeds.len());
}
