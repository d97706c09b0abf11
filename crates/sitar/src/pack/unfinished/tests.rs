use std::os::unix::fs::symlink;
use std::process::Command;

use super::*;
use crate::pack::tests::names;

/// The number of a process that is gone.
fn gone() -> u32 {
    let mut child = Command::new("true").spawn().unwrap();
    child.wait().unwrap();
    child.id()
}

#[test]
fn what_killed_packs_have_left_is_removed_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let (gone, own) = (gone(), std::process::id());
    let kept = [
        // A process that runs, one that holds the lock, and what is no process.
        ".site.tar.1.unfinished".to_owned(),
        format!(".site.tar.0{gone}.unfinished"),
        ".site.tar.0.unfinished".to_owned(),
        ".site.tar.99999999999.unfinished".to_owned(),
        format!(".site.tar.{gone}x.unfinished"),
        format!(".site.tar.{gone}.unfinished2"),
        format!("site.tar.{gone}.unfinished"),
        // Another archive's.
        format!(".other.tar.{gone}.unfinished"),
        format!(".my.site.tar.{gone}.unfinished"),
    ];
    for name in &kept {
        fs::write(path(name), "kept").unwrap();
    }
    let locked = File::open(path(&kept[1])).unwrap();
    flock(&locked, FlockOperation::LockExclusive).unwrap();
    for process in [gone, own] {
        fs::write(path(&format!(".site.tar.{process}.unfinished")), "left").unwrap();
    }
    let (file, made) = Unfinished::create(folder.path(), OsStr::new("site.tar")).unwrap();
    assert_eq!(made, path(&format!(".site.tar.{own}.unfinished")));
    assert_eq!(fs::read(&made).unwrap(), b"");
    let mut expected = kept.to_vec();
    expected.push(format!(".site.tar.{own}.unfinished"));
    expected.sort();
    assert_eq!(names(folder.path()), expected);
    // While it is written, nothing takes it for a leftover.
    assert!(!remove_abandoned(&made));
    assert!(Unfinished::create(folder.path(), OsStr::new("site.tar")).is_err());
    drop(file);
    assert!(remove_abandoned(&made));
}

#[test]
fn links_are_not_followed_and_only_files_are_removed() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let gone = [gone(), gone(), gone()].map(|process| format!(".site.tar.{process}.unfinished"));
    fs::write(path("precious"), "precious").unwrap();
    symlink("precious", path(&gone[0])).unwrap();
    fs::create_dir(path(&gone[1])).unwrap();
    assert!(Command::new("mkfifo").arg(path(&gone[2])).status().unwrap().success());
    Unfinished::create(folder.path(), OsStr::new("site.tar")).unwrap();
    let own = format!(".site.tar.{}.unfinished", std::process::id());
    let mut expected = [gone.to_vec(), vec![own.clone(), "precious".to_owned()]].concat();
    expected.sort();
    assert_eq!(names(folder.path()), expected);
    // A link where the own file is to be.
    fs::remove_file(path(&own)).unwrap();
    symlink("precious", path(&own)).unwrap();
    assert!(Unfinished::create(folder.path(), OsStr::new("site.tar")).is_err());
    assert_eq!(fs::read(path("precious")).unwrap(), b"precious");
}

#[test]
fn a_name_of_any_length_has_room() {
    let folder = tempfile::tempdir().unwrap();
    for length in [1, 200, 201, 255] {
        Unfinished::create(folder.path(), OsStr::new(&"n".repeat(length))).unwrap();
    }
}

#[test]
fn a_process_that_has_ended_runs_no_more() {
    let own = Pid::from_raw(std::process::id().cast_signed()).unwrap();
    assert!(!is_running(own));
    assert!(is_running(Pid::INIT));
    // Ended, and not waited for.
    let mut child = Command::new("true").spawn().unwrap();
    let process = Pid::from_child(&child);
    while is_running(process) {
        std::thread::yield_now();
    }
    assert_eq!(test_kill_process(process), Ok(()));
    child.wait().unwrap();
    assert!(!is_running(process));
}
