use super::*;
use std::fs;
use std::os::unix::fs::MetadataExt as _;

#[test]
fn what_was_read_too_soon_after_a_change_is_read_again() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a"), b"a").unwrap();
    let metadata = fs::metadata(folder.path().join("a")).unwrap();
    let origin = Origin::of(&rustix::fs::stat(folder.path().join("a")).unwrap());
    let changed = UNIX_EPOCH + Duration::new(metadata.ctime() as u64, metadata.ctime_nsec() as u32);
    let after = |millis| changed + Duration::from_millis(millis);
    assert_eq!([0, 50, 51, 5000].map(|millis| origin.is_settled(after(millis))), [false, false, true, true]);
    assert!(!origin.is_settled(changed - Duration::from_secs(1)), "a clock that was set back");
    // A modification time that was set to one that lies ahead: the change time tells.
    let ahead = Origin { stamp: Stamp { size: 1, modified: (4_000_000_000, 0) }, ..origin };
    assert_eq!([50, 51].map(|millis| ahead.is_settled(after(millis))), [false, true]);
    // A file system that counts whole seconds.
    let whole = Origin { stamp: Stamp { size: 1, modified: (1000, 0) }, changed: (1000, 0), ..origin };
    let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
    assert_eq!([1000, 1002, 1003].map(|seconds| whole.is_settled(at(seconds))), [false, false, true]);
}
