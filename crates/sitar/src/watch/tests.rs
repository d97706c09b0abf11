mod certificates;
mod several;

use super::file_system::Events;
use super::notify::{News, Owner, WatchRefusal};
use super::site::SiteSource;
use super::source::Source;
use super::sources::AnySource;
use super::*;
use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use rustix::fs::{CWD, RenameFlags};
use sitar_site::{OpenError, Options, OutOfReach, open_root};

fn write(root: &Path, name: &str, text: &str) {
    let path = root.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// The one source of a watcher.
struct Single(Sources);

impl Single {
    /// Watches `path`, which is not opened yet.
    fn new(path: &Path, options: &Options, watch: Watch) -> Single {
        let mut sources = Sources::new();
        let source = sources.site(path, options, watch);
        sources.push(AnySource::Site(Box::new(source)));
        Single(sources)
    }

    fn source(&mut self) -> &mut SiteSource {
        site_of(&mut self.0.list[0])
    }

    /// Opens the site as the start does.
    fn start(&mut self) -> Arc<Site> {
        site_of(&mut self.0.list[0]).start(self.0.notify.as_mut()).unwrap()
    }

    /// Opens the site again.
    fn open(&mut self) -> Result<Site, OpenError> {
        site_of(&mut self.0.list[0]).open(self.0.notify.as_mut())
    }

    fn reload(&mut self, asked: bool, serve: &Told) {
        site_of(&mut self.0.list[0]).reload(self.0.notify.as_mut(), asked, serve);
    }

    fn poll_site(&mut self, serve: &Told) {
        self.0.poll(SourceId(0), serve);
    }

    fn watching(&self) -> Watching {
        self.0.watching(SourceId(0))
    }

    fn news(&mut self) -> News {
        self.0
            .notify
            .as_mut()
            .unwrap()
            .read()
            .remove(&Owner { source: SourceId(0), part: 0 })
            .unwrap_or_default()
    }
}

fn site_of(source: &mut AnySource) -> &mut SiteSource {
    let AnySource::Site(site) = source else { panic!("no site") };
    site
}

/// Hands on the number of files of what is served, the fingerprints of certificates, and what is
/// said.
struct Told {
    sites: Sender<(SourceId, usize)>,
    certificates: Sender<(SourceId, String)>,
    lines: Sender<String>,
    failing: Mutex<Option<String>>,
    /// The sources that were out of reach of the sandbox.
    out_of_reach: Mutex<Vec<SourceId>>,
    /// Another process takes over from this one then.
    is_taken_over: bool,
}

impl Told {
    fn new() -> (Told, Receiver<(SourceId, usize)>, Receiver<String>) {
        let ((sites, served), (lines, said)) = (channel(), channel());
        let told = Told {
            sites,
            certificates: channel().0,
            lines,
            failing: Mutex::default(),
            out_of_reach: Mutex::default(),
            is_taken_over: false,
        };
        (told, served, said)
    }
}

impl Serve for Told {
    fn site(&self, id: SourceId, site: Site) {
        self.sites.send((id, site.len())).unwrap();
    }

    fn certificate(&self, id: SourceId, loaded: Loaded) -> Result<(), String> {
        self.certificates.send((id, loaded.report.fingerprint)).map_err(|error| error.to_string())
    }

    fn failing(&self, _: SourceId, why: Option<&str>) {
        *self.failing.lock().unwrap() = why.map(str::to_owned);
    }

    fn out_of_reach(&self, id: SourceId) -> bool {
        self.out_of_reach.lock().unwrap().push(id);
        self.is_taken_over
    }

    fn say(&self, level: Level, line: &str) {
        let line = match level {
            Level::Info => line.to_owned(),
            level => format!("{level}: {line}"),
        };
        self.lines.send(line).unwrap();
    }
}

/// Runs a watcher on another thread until `test` is over, however it ends.
fn while_watched(sources: Sources, serve: &Told, test: impl FnOnce(&Control)) {
    struct Stop<'c>(&'c Control);
    impl Drop for Stop<'_> {
        fn drop(&mut self) {
            self.0.stop();
        }
    }
    let control = Control::new().unwrap();
    std::thread::scope(|scope| {
        let _stop = Stop(&control);
        scope.spawn(|| Watcher::new(sources, &control, serve).run());
        test(&control);
    });
}

/// The files of the only site.
fn of_one(files: usize) -> (SourceId, usize) {
    (SourceId(0), files)
}

/// Takes all news until now, as one.
fn told(source: &mut Single) -> News {
    let mut sum = News::default();
    loop {
        let news = source.news();
        if news == News::default() {
            return sum;
        }
        sum = News {
            changed: sum.changed || news.changed,
            replaced: sum.replaced || news.replaced,
            writing: news.writing.or(sum.writing),
        };
    }
}

fn source(path: &Path) -> Single {
    let mut source = Single::new(path, &Options::default(), Watch::Auto);
    source.open().unwrap();
    assert_eq!(source.watching(), Watching::Events);
    assert_eq!(told(&mut source), News::default());
    source
}

#[test]
fn whatever_could_change_an_answer_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("site");
    write(&root, "a/b/page.html", "x");
    write(&root, ".store/x.css", "x");
    write(&root, "_headers", "");
    symlink("../.store/x.css", root.join("a/x.css")).unwrap();
    let mut source = source(&root);
    let mut changed = |what: &str, act: &dyn Fn()| {
        act();
        assert!(told(&mut source).changed, "{what}");
        // As after a look: what is new is watched, too.
        source.open().unwrap();
        assert!(!told(&mut source).changed, "{what}, the look itself");
    };
    changed("written", &|| write(&root, "a/b/page.html", "y"));
    changed("added", &|| write(&root, "a/b/other.html", "y"));
    changed("a new folder", &|| write(&root, "c/d/page.html", "y"));
    changed("in the new folder", &|| write(&root, "c/d/page.html", "z"));
    changed("renamed", &|| fs::rename(root.join("c"), root.join("e")).unwrap());
    changed("in the renamed folder", &|| write(&root, "e/d/page.html", "1"));
    changed("removed", &|| fs::remove_file(root.join("e/d/page.html")).unwrap());
    changed("a rule file", &|| write(&root, "_headers", "/*\n  A: b\n"));
    changed("what a link leads to, in a folder that is not served", &|| write(&root, ".store/x.css", "y"));
    changed("the link", &|| {
        fs::remove_file(root.join("a/x.css")).unwrap();
        symlink("b/page.html", root.join("a/x.css")).unwrap();
    });
    changed("a mode", &|| {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(root.join("a/b/page.html"), fs::Permissions::from_mode(0o600)).unwrap();
    });
}

/// A link in front of which nothing is served: its target stays where it was.
#[test]
fn what_links_lead_through_is_watched() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("site");
    write(&root, ".r1/index.html", "1");
    write(&root, ".r2/index.html", "2");
    write(&root, ".store/deep/style.css", "x");
    symlink(".r1", root.join(".current")).unwrap();
    symlink(".current/index.html", root.join("index.html")).unwrap();
    symlink("../.store/deep", root.join(".way")).unwrap();
    fs::create_dir(root.join("sub")).unwrap();
    symlink("../.store/deep/style.css", root.join("sub/style.css")).unwrap();
    symlink(".later/page.html", root.join("later.html")).unwrap();
    let mut source = source(&root);
    let mut changed = |what: &str, act: &dyn Fn()| {
        act();
        let news = told(&mut source);
        assert!(news.changed && !news.replaced, "{what}");
        source.open().unwrap();
        assert!(!told(&mut source).changed, "{what}, the look itself");
    };
    changed("a hidden link that is exchanged", &|| {
        symlink(".r2", root.join(".next")).unwrap();
        fs::rename(root.join(".next"), root.join(".current")).unwrap();
    });
    changed("a hidden folder that is renamed", &|| {
        fs::rename(root.join(".store"), root.join(".gone")).unwrap();
    });
    changed("and that is there again", &|| {
        fs::rename(root.join(".gone"), root.join(".store")).unwrap();
    });
    changed("a file below it that is replaced", &|| {
        write(&root, ".store/deep/new.css", "y");
        fs::rename(root.join(".store/deep/new.css"), root.join(".store/deep/style.css")).unwrap();
    });
    changed("what a link waits for", &|| write(&root, ".later/page.html", "x"));
    write(&root, ".store/other", "x");
    write(&root, ".r1/other", "x");
    assert!(!told(&mut source).changed, "what no link leads to");
}

#[test]
fn what_links_lead_to_outside_is_watched_when_it_is_served() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("site");
    write(folder.path(), "store/1/page.html", "1");
    write(folder.path(), "store/2/page.html", "2");
    write(folder.path(), "pages/a/index.html", "a");
    fs::create_dir(&root).unwrap();
    symlink("1", folder.path().join("store/profile")).unwrap();
    symlink(folder.path().join("store/profile/page.html"), root.join("page.html")).unwrap();
    symlink("../pages", root.join("pages")).unwrap();
    let options = Options { follow_links: true, ..Options::default() };
    let mut source = Single::new(&root, &options, Watch::Auto);
    assert_eq!(source.open().unwrap().len(), 2);
    assert_eq!(told(&mut source), News::default());
    let mut changed = |what: &str, act: &dyn Fn()| {
        act();
        assert!(told(&mut source).changed, "{what}");
        source.open().unwrap();
        assert!(!told(&mut source).changed, "{what}, the look itself");
    };
    changed("a link outside", &|| {
        symlink("2", folder.path().join("store/next")).unwrap();
        fs::rename(folder.path().join("store/next"), folder.path().join("store/profile")).unwrap();
    });
    changed("a file outside", &|| write(folder.path(), "store/2/page.html", "3"));
    changed("in a folder outside", &|| write(folder.path(), "pages/a/more.html", "x"));
    changed("a folder outside", &|| {
        fs::rename(folder.path().join("pages"), folder.path().join("away")).unwrap();
    });
    changed("and it is there again", &|| {
        fs::rename(folder.path().join("away"), folder.path().join("pages")).unwrap();
    });
    write(folder.path(), "store/1/page.html", "what is served no more");
    write(folder.path(), "store/3/page.html", "beside it");
    assert!(!told(&mut source).changed);
}

#[test]
fn what_cannot_change_an_answer_is_not_told() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("site");
    write(&root, "index.html", "x");
    write(&root, ".git/HEAD", "x");
    let mut source = source(&root);
    write(&root, ".index.html.swp", "x");
    write(&root, ".git/HEAD", "y");
    write(folder.path(), "elsewhere/index.html", "x");
    write(folder.path(), "sight", "x");
    fs::read(root.join("index.html")).unwrap();
    assert_eq!(told(&mut source), News::default());
}

#[test]
fn a_busy_folder_above_does_not_wake_the_watcher() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("sites/a/site");
    write(&root, "index.html", "x");
    let source = source(&root);
    write(folder.path(), "other", "x");
    write(folder.path(), "sites/other/index.html", "x");
    fs::rename(folder.path().join("sites/other"), folder.path().join("sites/another")).unwrap();
    let events = source.0.notify.as_ref().unwrap().fd();
    assert_eq!(rustix::io::ioctl_fionread(events), Ok(0), "bytes of events");
}

#[test]
fn a_folder_that_is_exchanged_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    write(folder.path(), "sites/site/index.html", "x");
    write(folder.path(), "next/site/index.html", "y");
    let mut source = source(&path("sites/site"));
    // What is served holds its folder open.
    let mut served = source.open().unwrap();
    let mut replaced = |what: &str, act: &dyn Fn()| {
        act();
        assert!(told(&mut source).replaced, "{what}");
        served = source.open().unwrap();
        assert_eq!(told(&mut source), News::default(), "{what}, the look itself");
    };
    let exchange = |one: &str, other: &str| {
        rustix::fs::renameat_with(CWD, path(one), CWD, path(other), RenameFlags::EXCHANGE).unwrap();
    };
    replaced("above", &|| exchange("sites", "next"));
    replaced("itself", &|| exchange("sites/site", "next/site"));
    replaced("away, and another in its place", &|| {
        fs::rename(path("sites/site"), path("old")).unwrap();
        fs::rename(path("next/site"), path("sites/site")).unwrap();
    });
    replaced("a link in its place", &|| {
        fs::rename(path("sites/site"), path("site")).unwrap();
        symlink("../site", path("sites/site")).unwrap();
    });
    replaced("a folder in the link's place", &|| {
        fs::remove_file(path("sites/site")).unwrap();
        fs::rename(path("site"), path("sites/site")).unwrap();
    });
    replaced("an empty one by another", &|| {
        fs::remove_file(path("sites/site/index.html")).unwrap();
        fs::remove_dir(path("sites/site")).unwrap();
        write(folder.path(), "sites/site/index.html", "z");
    });
    // Gone: it is waited for where it was last seen, however it comes back.
    fs::remove_dir_all(path("sites/site")).unwrap();
    assert!(told(&mut source).replaced && source.open().is_err());
    told(&mut source);
    fs::remove_dir(path("sites")).unwrap();
    assert!(told(&mut source).replaced && source.open().is_err());
    told(&mut source);
    fs::create_dir(path("sites")).unwrap();
    assert!(told(&mut source).replaced && source.open().is_err());
    write(folder.path(), "sites/site/index.html", "z");
    assert!(told(&mut source).replaced && source.open().is_ok());
    drop(served);
}

#[test]
fn a_path_that_leads_elsewhere_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    write(root, "releases/1/index.html", "1");
    write(root, "releases/2/index.html", "2");
    symlink("releases/1", root.join("current")).unwrap();
    let mut source = source(&root.join("current"));
    symlink("releases/2", root.join("next")).unwrap();
    fs::rename(root.join("next"), root.join("current")).unwrap();
    assert!(told(&mut source).replaced);
    source.open().unwrap();
    told(&mut source);
    write(root, "releases/1/index.html", "no longer served");
    assert!(!told(&mut source).changed);
    fs::rename(root.join("releases"), root.join("away")).unwrap();
    assert!(told(&mut source).replaced);
    assert!(source.open().is_err());
    told(&mut source);
    // It is waited for where it was last seen.
    fs::rename(root.join("away"), root.join("releases")).unwrap();
    assert!(told(&mut source).replaced && source.open().is_ok());
}

#[test]
fn an_archive_tells_when_it_is_being_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("site.tar");
    // Two blocks of zeros: an archive of nothing.
    fs::write(&path, [0; 1024]).unwrap();
    let mut source = source(&path);
    let file = fs::File::options().write(true).open(&path).unwrap();
    (&file).write_all(&[0; 512]).unwrap();
    assert_eq!(told(&mut source), News { changed: true, replaced: false, writing: Some(true) });
    drop(file);
    assert_eq!(told(&mut source), News { changed: true, replaced: false, writing: Some(false) });
    fs::write(folder.path().join("next.tar"), [0; 1024]).unwrap();
    assert_eq!(told(&mut source), News::default(), "a neighbour");
    fs::rename(folder.path().join("next.tar"), &path).unwrap();
    assert!(told(&mut source).replaced);
}

/// Runs a watcher that looks without events, and hands on what it serves and says.
#[test]
fn without_events_changes_are_found_by_looking() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("site");
    write(&root, "index.html", "x");
    let mut source = Single::new(&root, &Options::default(), Watch::Auto);
    source.source().method.refuse(WatchRefusal::Watches);
    source.start();
    let Watching::Polls { every, why } = source.watching() else { panic!("by looking") };
    assert_eq!(every, Duration::from_secs(2));
    assert!(why.contains("sysctl fs.inotify.max_user_watches="), "{why}");
    let (control, (serve, served, said)) = (Control::new().unwrap(), Told::new());
    std::thread::scope(|scope| {
        scope.spawn(|| Watcher::new(source.0, &control, &serve).run());
        write(&root, "a.html", "x");
        assert_eq!(served.recv_timeout(Duration::from_secs(30)).unwrap(), of_one(2));
        assert!(said.recv_timeout(Duration::from_secs(30)).unwrap().contains("2 files now"));
        // Nothing happens, nothing is served; until it is asked for.
        assert!(served.recv_timeout(Duration::from_secs(3)).is_err());
        control.read_again();
        assert_eq!(served.recv_timeout(Duration::from_secs(30)).unwrap(), of_one(2));
        control.stop();
    });
}

#[test]
fn looks_go_on_after_what_is_asked_for_has_failed_or_the_events_have_ended() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("site");
    write(&root, "index.html", "x");
    let mut source = Single::new(&root, &Options::default(), Watch::Poll(Duration::from_secs(1)));
    source.start();
    let (serve, served, _said) = Told::new();
    write(&root, "_redirects", "/a /b 999");
    source.reload(true, &serve);
    assert!(served.try_recv().is_err(), "its rules are wrong");
    fs::remove_file(root.join("_redirects")).unwrap();
    write(&root, "a.html", "x");
    source.poll_site(&serve);
    source.poll_site(&serve);
    assert_eq!(served.try_recv(), Ok(of_one(2)));

    // Its writer's end would have been an event.
    let path = folder.path().join("site.tar");
    fs::write(&path, [0; 1024]).unwrap();
    let mut source = Single::new(&path, &Options::default(), Watch::Auto);
    source.start();
    let file = fs::File::options().write(true).open(&path).unwrap();
    (&file).write_all(&[0; 512]).unwrap();
    source.0.note_news();
    assert!(source.source().is_held());
    source.source().method.refuse(WatchRefusal::Watches);
    drop(file);
    fs::write(&path, [0; 2048]).unwrap();
    source.poll_site(&serve);
    source.poll_site(&serve);
    assert_eq!(served.try_recv(), Ok(of_one(0)));
}

/// The message names what is served, however soon after another a change comes.
#[test]
fn the_last_message_names_what_is_served() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("site");
    write(&root, "index.html", "x");
    let mut source = Single::new(&root, &Options::default(), Watch::Auto);
    source.start();
    let (control, (serve, served, said)) = (Control::new().unwrap(), Told::new());
    std::thread::scope(|scope| {
        scope.spawn(|| Watcher::new(source.0, &control, &serve).run());
        for files in 2..=4 {
            write(&root, &format!("{files}.html"), "x");
            let _ = served.recv_timeout(Duration::from_secs(30));
        }
        let mut lines = std::iter::from_fn(|| said.recv_timeout(Duration::from_secs(5)).ok());
        let is_found = lines.any(|line| line.contains(": 4 files now ("));
        // Before anything is asserted: the thread ends by nothing else.
        control.stop();
        assert!(is_found);
    });
    assert!(said.try_recv().is_err());
}

/// A file with two names: what is written by the other one has no event in the site's folder.
#[test]
fn a_change_without_an_event_is_found_where_there_is_doubt() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("site");
    write(&root, "index.html", "first");
    write(&root, "other.html", "x");
    fs::hard_link(root.join("index.html"), folder.path().join("name")).unwrap();
    let mut source = Single::new(&root, &Options::default(), Watch::Auto);
    source.source().method.doubt = Some(Events::of_kind(0x794c_7630));
    source.start();
    let both = |source: &Single| match source.watching() {
        Watching::Both { every, why } => (every.as_secs(), why),
        other => panic!("{other:?}"),
    };
    assert_eq!(both(&source), (10, "overlayfs may not tell all of it".to_owned()));
    source.0.begin();
    let (serve, served, said) = Told::new();
    source.poll_site(&serve);
    source.poll_site(&serve);
    assert!(served.try_recv().is_err() && said.try_recv().is_err(), "nothing has happened");

    // A change that an event has reported is left to it.
    write(&root, "other.html", "longer");
    source.poll_site(&serve);
    source.poll_site(&serve);
    assert!(served.try_recv().is_err());
    assert_eq!(both(&source).0, 10);
    source.reload(false, &serve);
    assert_eq!(served.try_recv(), Ok(of_one(2)));
    assert!(said.try_recv().unwrap().starts_with("the site has changed: 2 files now ("));

    fs::write(folder.path().join("name"), "second").unwrap();
    source.poll_site(&serve);
    assert!(served.try_recv().is_err(), "it may not be finished");
    source.poll_site(&serve);
    assert_eq!(served.try_recv(), Ok(of_one(2)));
    let expected = "the watch is now on: by the kernel's events, and by looking every 2 s or less often, \
                    because overlayfs did not report a change";
    assert_eq!(said.try_recv().as_deref(), Ok(expected));
    source.poll_site(&serve);
    assert_eq!(both(&source), (2, "overlayfs did not report a change".to_owned()));
    assert!(served.try_recv().is_err());
}

#[test]
fn a_site_that_is_gone_for_a_while_does_not_change_how_it_is_watched() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("site");
    write(&root, "index.html", "x");
    let mut source = Single::new(&root, &Options::default(), Watch::Auto);
    source.source().method.doubt = Some(Events::of_kind(0x6969));
    source.open().unwrap();
    source.source().method.doubt = None;
    fs::rename(&root, folder.path().join("away")).unwrap();
    assert!(source.open().is_err());
    let why = "NFS does not tell what is changed from elsewhere".to_owned();
    assert_eq!(source.watching(), Watching::Both { every: Duration::from_secs(2), why });
    fs::rename(folder.path().join("away"), &root).unwrap();
    source.open().unwrap();
    assert_eq!(source.watching(), Watching::Events, "it lies elsewhere now");
}
