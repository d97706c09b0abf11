use super::*;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use rustix::fs::ResolveFlags;

/// A directory of this test's own, which goes when it ends.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("sitar-io-walk-{}-{number}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Folder(path.canonicalize().unwrap())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn bytes(path: &Path) -> Box<[u8]> {
    path.as_os_str().as_encoded_bytes().into()
}

fn root(path: &Path) -> OwnedFd {
    rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).unwrap()
}

/// Returns what a descriptor is open on, or why there is none.
fn found(opened: Result<OwnedFd, Errno>) -> Result<(u64, u64), Errno> {
    opened.map(|fd| rustix::fs::fstat(&fd).map(|stat| (stat.st_dev, stat.st_ino)).unwrap())
}

const READ: OFlags = OFlags::RDONLY.union(OFlags::CLOEXEC).union(OFlags::NONBLOCK);
const LOOK: OFlags = OFlags::PATH.union(OFlags::CLOEXEC);
const LIST: OFlags = READ.union(OFlags::DIRECTORY);

#[test]
fn everything_is_found_that_openat2_finds_and_refused_as_it_refuses() {
    let folder = Folder::new();
    let site = folder.0.join("site");
    fs::create_dir_all(site.join("a/b/c")).unwrap();
    fs::create_dir_all(site.join(".hidden")).unwrap();
    for name in ["x", "a/x", "a/b/c/x", ".hidden/x"] {
        fs::write(site.join(name), name).unwrap();
    }
    fs::write(folder.0.join("secret"), "secret").unwrap();
    for (link, target) in [
        ("to-file", "a/x"),
        ("to-folder", "a/b"),
        ("slash", "a/b/"),
        ("file-slash", "x/"),
        ("twice", "to-folder/../to-folder/c"),
        ("a/b/up", "../../x"),
        ("a/b/upup", "../../../secret"),
        ("a/b/top", "../.."),
        ("a/b/here", "."),
        ("a/b/dots", "./.././/../a/./x"),
        ("out", "../secret"),
        ("above", ".."),
        ("absolute", "/etc/passwd"),
        ("dangling", "nothing/at/all"),
        ("self", "self"),
        ("round", "a/../round"),
        ("file-as-folder", "x/y"),
        ("file-up", "x/../x"),
        ("to-self", "self/x"),
        ("to-hidden", ".hidden/x"),
    ] {
        symlink(target, site.join(link)).unwrap();
    }
    for at in 0..42 {
        symlink(if at == 0 { "x".to_owned() } else { format!("n{}", at - 1) }, site.join(format!("n{at}")))
            .unwrap();
    }
    rustix::fs::mknodat(CWD, site.join("pipe"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    let root = root(&site);
    let paths = [
        "",
        ".",
        "./",
        "/",
        "..",
        "../site",
        "x",
        "x/",
        "x/.",
        "x/..",
        "x/y",
        "a",
        "a/",
        "a//x",
        "a/./x",
        "a/../x",
        "a/../../secret",
        "a/b/c/x",
        "a/b/c/x/",
        "a/b/up",
        "a/b/upup",
        "a/b/top",
        "a/b/top/x",
        "a/b/here/here/c/x",
        "a/b/dots",
        "to-file",
        "to-file/",
        "to-folder",
        "to-folder/c/x",
        "to-folder/../x",
        "slash",
        "slash/c",
        "file-slash",
        "twice",
        "twice/x",
        "out",
        "above",
        "above/secret",
        "above/site/x",
        "absolute",
        "dangling",
        "self",
        "self/x",
        "round",
        "file-as-folder",
        "file-up",
        "to-self",
        "to-hidden",
        "none",
        "none/x",
        "n39",
        "n40",
        "n41",
        "pipe",
        "pipe/x",
    ];
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let mut both = [0, 0];
    for path in paths {
        for flags in [READ, LOOK, LIST] {
            let ask = || rustix::fs::openat2(&root, path, flags, Mode::empty(), resolve);
            // openat2(2): a name with `..` is to be asked for again where directories were renamed
            // meanwhile, by other tests for instance.
            let opened = std::iter::repeat_with(ask).find(|opened| !matches!(opened, Err(Errno::AGAIN)));
            let kernel = found(opened.unwrap());
            let walked = found(open(root.as_fd(), path.as_bytes(), flags, Bounds::default(), &mut |_| ()));
            assert_eq!(walked, kernel, "{path} {flags:?}");
            both[usize::from(kernel.is_ok())] += 1;
        }
    }
    assert_eq!(both, [111, 54], "refused and found");
    for (path, expected) in [
        ("./".repeat(2047) + "x", Ok(())),
        ("./".repeat(2047) + "./", Err(Errno::NAMETOOLONG)),
        ("/".repeat(4096), Err(Errno::NAMETOOLONG)),
        ("n".repeat(256), Err(Errno::NAMETOOLONG)),
        ("n".repeat(255), Err(Errno::NOENT)),
    ] {
        let kernel = rustix::fs::openat2(&root, &path, LOOK, Mode::empty(), resolve);
        assert_eq!(kernel.map(drop), expected);
        let walked = open(root.as_fd(), path.as_bytes(), LOOK, Bounds::default(), &mut |_| ());
        assert_eq!(walked.map(drop), expected);
    }
}

#[test]
fn the_root_has_names_of_its_own() {
    let folder = Folder::new();
    let site = folder.0.join("srv/site");
    fs::create_dir_all(site.join("a")).unwrap();
    fs::create_dir_all(folder.0.join("srv/site2")).unwrap();
    symlink("srv", folder.0.join("www")).unwrap();
    fs::write(site.join("x"), "x").unwrap();
    fs::write(folder.0.join("srv/site2/x"), "secret").unwrap();
    let (real, given) = (bytes(&site), bytes(&folder.0.join("www/site")));
    let link = |name: &str, target: &[u8]| {
        symlink(std::str::from_utf8(target).unwrap(), site.join(name)).unwrap();
    };
    link("real", &[&*real, b"/x"].concat());
    link("given", &[&*given, b"/./x"].concat());
    link("itself", &real);
    link("climbs", b"../site/x");
    link("a/climbs", b"../../../srv/site/x");
    link("above", b"..");
    link("beside", b"../site2/x");
    link("sibling", &[&*real, b"2/x"].concat());
    link("through", &[&*real, b"/../site2/x"].concat());
    // Above a link lies what only a look could tell.
    link("unknown", &[&bytes(&folder.0), &b"/www/../srv/site/x"[..]].concat());
    let (root, names) = (root(&site), [real, given]);
    let walk = |path: &str, leave, names| {
        let bounds = Bounds { names, leave };
        found(open(root.as_fd(), path.as_bytes(), READ, bounds, &mut |_| ()))
    };
    let x = walk("x", false, &[]);
    assert!(x.is_ok());
    for path in ["real", "given", "climbs", "a/climbs", "itself/x", "itself/a/../itself/x"] {
        assert_eq!(walk(path, false, &names), x, "{path}");
        assert_eq!(walk(path, false, &[]), Err(Errno::XDEV), "{path}, without a name");
    }
    for path in ["above", "beside", "sibling", "through", "unknown"] {
        assert_eq!(walk(path, false, &names), Err(Errno::XDEV), "{path}");
    }
    // Where links may leave the root, they lead to where the kernel finds them.
    for path in [
        "real", "given", "climbs", "a/climbs", "itself/x", "above", "beside", "sibling", "through", "unknown",
    ] {
        let kernel = found(rustix::fs::openat(&root, path, READ, Mode::empty()));
        assert_eq!(walk(path, true, &names), kernel, "{path}");
        assert!(kernel.is_ok(), "{path}");
    }
    symlink("/proc/self/fd/0", site.join("magic")).unwrap();
    assert_eq!(walk("magic", true, &names), Err(Errno::XDEV));
}

#[test]
fn what_links_lead_through_is_shown() {
    let folder = Folder::new();
    let site = &folder.0;
    fs::create_dir_all(site.join(".r1/deep")).unwrap();
    fs::write(site.join(".r1/deep/page"), "1").unwrap();
    symlink(".r1", site.join(".current")).unwrap();
    symlink(".current/deep/page", site.join("page")).unwrap();
    symlink(".current/none/page", site.join("gone")).unwrap();
    let root = root(site);
    let name_of = |fd: BorrowedFd<'_>| {
        let path = fs::read_link(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&fd))).unwrap();
        path.strip_prefix(site).unwrap().display().to_string()
    };
    let shown = |path: &str| {
        let mut shown = Vec::new();
        let _ = open(root.as_fd(), path.as_bytes(), LOOK, Bounds::default(), &mut |step| {
            shown.push(match step {
                Step::Folder(fd) => format!("through {}", name_of(fd)),
                Step::Name(fd, name) => format!("{}:{}", name_of(fd), std::str::from_utf8(name).unwrap()),
            });
        });
        shown
    };
    assert_eq!(shown("page"), [":.current", "through .r1", "through .r1/deep"]);
    assert_eq!(shown("gone"), [":.current", "through .r1", ".r1:none"]);
    assert_eq!(shown(".r1/deep/page"), [""; 0]);
}

/// A folder and a link to another one outside take turns at one name.
#[test]
fn an_exchange_meanwhile_leads_nowhere() {
    let folder = Folder::new();
    let site = folder.0.join("site");
    fs::create_dir_all(site.join("d/e")).unwrap();
    fs::create_dir_all(folder.0.join("outside/e")).unwrap();
    fs::write(site.join("d/e/x"), "own").unwrap();
    fs::write(folder.0.join("outside/e/x"), "secret").unwrap();
    symlink("../outside", site.join("l")).unwrap();
    symlink("d/e/../e/x", site.join("via")).unwrap();
    let (root, done) = (root(&site), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let flags = rustix::fs::RenameFlags::EXCHANGE;
                rustix::fs::renameat_with(&root, "l", &root, "d", flags).unwrap_or_default();
            }
        });
        for path in ["d/e/x", "via"].repeat(3_000) {
            if let Ok(fd) = open(root.as_fd(), path.as_bytes(), READ, Bounds::default(), &mut |_| ()) {
                let mut read = [0; 8];
                let length = rustix::io::read(&fd, &mut read).unwrap();
                assert_eq!(&read[..length], b"own");
            }
        }
        done.store(true, Ordering::Relaxed);
    });
}
