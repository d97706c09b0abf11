use crate::open::opening::tests::ask;
use crate::open::tar::tests::{archive, member};
use crate::{OpenError, Options, OutOfReach, Site, open_root};
use landlock::{ABI, Access as _, AccessFs, PathBeneath, Ruleset, RulesetAttr as _, RulesetCreatedAttr as _};
use rustix::thread::set_thread_res_uid;
use std::fs;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

crate::open::directory::tests::walking_too! {
    a_site_is_opened_beneath_the_descriptor_that_it_is_given
}

/// A directory with rules, a link by its own path, and a folder.
fn directory(folder: &Path) -> PathBuf {
    let root = folder.canonicalize().unwrap().join("site");
    fs::create_dir_all(root.join("docs")).unwrap();
    fs::write(root.join("index.html"), "root").unwrap();
    fs::write(root.join("_headers"), "/*\n  X-Rule: yes\n").unwrap();
    fs::write(root.join("docs/index.html"), "docs").unwrap();
    symlink(root.join("docs/index.html"), root.join("absolute.html")).unwrap();
    root
}

fn beneath(prefix: &str) -> Options {
    Options { prefix: Some(prefix.to_owned()), ..Options::default() }
}

/// Opens what lies at `actual` as the site at another path, which nothing lies at.
fn opened_elsewhere(actual: &Path, options: &Options) -> Result<Site, OpenError> {
    let given = Path::new("/not/there");
    let opener = |path: &Path| {
        assert_eq!(path, given);
        open_root(actual)
    };
    Site::open_with(&opener, given, options, &mut |_| ())
}

#[test]
fn a_site_is_opened_beneath_the_descriptor_that_it_is_given() {
    let folder = tempfile::tempdir().unwrap();
    let root = directory(folder.path());
    let site = opened_elsewhere(&root, &Options::default()).unwrap();
    let (status, fields, body) = ask(&site, "GET /", "");
    assert_eq!((status, &*body), (200, "root"));
    assert!(fields.to_lowercase().contains("x-rule: yes"), "{fields}");
    // By the path that the directory really has.
    assert_eq!(ask(&site, "GET /absolute", "").2, "docs");
    let followed = Options { follow_links: true, ..Options::default() };
    assert_eq!(ask(&opened_elsewhere(&root, &followed).unwrap(), "GET /absolute", "").2, "docs");
    assert_eq!(ask(&opened_elsewhere(&root, &beneath("docs")).unwrap(), "GET /", "").2, "docs");

    let tar = folder.path().join("site.tar");
    fs::write(&tar, archive(&[member("index.html", b'0', b"archived")])).unwrap();
    assert_eq!(ask(&opened_elsewhere(&tar, &Options::default()).unwrap(), "GET /", "").2, "archived");
}

#[test]
fn errors_name_the_path_and_not_what_was_opened() {
    let folder = tempfile::tempdir().unwrap();
    let root = directory(folder.path());
    let said = |actual: &Path, options: &Options| {
        let error = opened_elsewhere(actual, options).map(|site| site.len()).unwrap_err();
        assert!(!error.is_out_of_reach());
        error.to_string()
    };
    let missing = root.join("none");
    assert_eq!(
        said(&missing, &Options::default()),
        "/not/there: cannot open it: No such file or directory (os error 2)"
    );
    assert_eq!(said(&root, &beneath("none")), "/not/there: there is no folder 'none' in it; there is: docs");
    assert_eq!(
        said(&root.join("index.html"), &Options::default()),
        "/not/there: this is not a tar archive; make one with: tar -C FOLDER -cf site.tar ."
    );
}

#[test]
fn an_opener_says_that_a_site_is_out_of_reach() {
    let opener = |_: &Path| -> io::Result<OwnedFd> { Err(OutOfReach.into()) };
    let opened = Site::open_with(&opener, Path::new("/srv/site"), &Options::default(), &mut |_| ());
    let error = opened.map(|site| site.len()).unwrap_err();
    assert!(error.is_out_of_reach());
    assert_eq!(error.to_string(), "/srv/site: cannot open it: it is out of reach of the sandbox");
}

/// Runs on a thread that may read beneath `root` and nothing else, if the kernel has Landlock.
fn sandboxed(root: BorrowedFd<'_>, test: impl FnOnce() + Send) {
    std::thread::scope(|scope| {
        let run = scope.spawn(move || {
            let read = AccessFs::from_read(ABI::V1);
            let ruleset = Ruleset::default().handle_access(AccessFs::from_all(ABI::V1)).unwrap();
            let ruleset = ruleset.create().unwrap().add_rule(PathBeneath::new(root, read)).unwrap();
            let status = ruleset.restrict_self().unwrap();
            if status.ruleset == landlock::RulesetStatus::FullyEnforced {
                test();
            }
        });
        run.join().unwrap();
    });
}

#[test]
fn a_directory_that_the_sandbox_does_not_cover_is_out_of_reach_and_an_archive_is_not() {
    let (covered, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (near, far) = (directory(covered.path()), directory(elsewhere.path()));
    let tar = elsewhere.path().join("site.tar");
    fs::write(&tar, archive(&[member("index.html", b'0', b"archived")])).unwrap();
    // As another process would have opened them.
    let [near, far, tar] = [near, far, tar].map(|path| open_root(&path).unwrap());
    let open = |fd: &OwnedFd, options: &Options| {
        Site::open_with(&|_: &Path| fd.try_clone(), Path::new("/srv/site"), options, &mut |_| ())
    };
    sandboxed(near.as_fd(), || {
        for follow_links in [false, true] {
            let options = Options { follow_links, ..Options::default() };
            let site = open(&near, &options).unwrap();
            assert_eq!(ask(&site, "GET /", "").2, "root");
            assert_eq!(ask(&site, "GET /absolute", "").2, "docs");
        }
        assert_eq!(ask(&open(&near, &beneath("docs")).unwrap(), "GET /", "").2, "docs");
        assert_eq!(ask(&open(&tar, &Options::default()).unwrap(), "GET /", "").2, "archived");
        for (options, doing) in
            [(Options::default(), "read the directory"), (beneath("docs"), "open the folder to serve")]
        {
            let error = open(&far, &options).map(|site| site.len()).unwrap_err();
            assert!(error.is_out_of_reach(), "{error}");
            let expected = format!("/srv/site: cannot {doing}: it is out of reach of the sandbox");
            assert_eq!(error.to_string(), expected);
        }
    });
}

#[test]
fn a_directory_that_this_user_may_not_read_is_not_out_of_reach() {
    let folder = tempfile::tempdir().unwrap();
    let root = directory(folder.path());
    let fd = open_root(&root).unwrap();
    let docs = root.join("docs");
    for (path, mode) in [(&docs, 0), (&root, 0o711)] {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    std::thread::scope(|scope| {
        scope.spawn(|| {
            if rustix::process::getuid().is_root() {
                let other = rustix::process::Uid::from_raw(65534);
                set_thread_res_uid(other, other, other).unwrap();
            } else {
                fs::set_permissions(&root, fs::Permissions::from_mode(0o111)).unwrap();
            }
            for (options, doing) in
                [(Options::default(), "read the directory"), (beneath("docs"), "open the folder to serve")]
            {
                let opener = |_: &Path| fd.try_clone();
                let opened = Site::open_with(&opener, Path::new("/srv/site"), &options, &mut |_| ());
                let error = opened.map(|site| site.len()).unwrap_err();
                assert!(!error.is_out_of_reach(), "{error}");
                let expected = format!("/srv/site: cannot {doing}: Permission denied (os error 13)");
                assert_eq!(error.to_string(), expected);
            }
        });
    });
    for path in [&root, &docs] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
}
