//! Several sources in one watcher, and sites that cannot be opened at the start.

use super::*;

const PATIENCE: Duration = Duration::from_secs(30);

/// An archive of one file, in tar's form of 1988.
fn archive(text: &str) -> Vec<u8> {
    let mut header = [0; 512];
    header[..10].copy_from_slice(b"index.html");
    header[100..107].copy_from_slice(b"0000644");
    header[124..135].copy_from_slice(format!("{:011o}", text.len()).as_bytes());
    header[136..147].copy_from_slice(b"00000000000");
    header[156] = b'0';
    header[257..265].copy_from_slice(b"ustar\x0000");
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut archive = header.to_vec();
    archive.extend(text.as_bytes());
    archive.resize(archive.len().next_multiple_of(512) + 1024, 0);
    archive
}

fn add(sources: &mut Sources, path: &Path) -> SourceId {
    let (id, site) = sources.add_site(path, &Options::default(), Watch::Auto);
    site.unwrap();
    id
}

/// Returns the sources that have news, and whether their paths lead elsewhere.
fn news(sources: &mut Sources) -> Vec<(usize, bool)> {
    let news = sources.notify.as_mut().unwrap().read();
    news.into_iter().map(|(owner, news)| (owner.source.0, news.replaced)).collect()
}

#[test]
fn a_folder_of_two_sites_is_watched_for_both() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("site");
    write(&root, "index.html", "x");
    write(&root, "sub/index.html", "x");
    symlink("../site/sub", folder.path().join("sub")).unwrap();
    let mut sources = Sources::new();
    add(&mut sources, &root);
    add(&mut sources, &root.join("sub"));
    add(&mut sources, &root);
    assert_eq!(news(&mut sources), []);
    write(&root, "index.html", "y");
    assert_eq!(news(&mut sources), [(0, false), (2, false)]);
    write(&root, "sub/index.html", "y");
    assert_eq!(news(&mut sources), [(0, false), (1, false), (2, false)]);

    // The first one leads elsewhere: what it shared is still watched for the others.
    let Sources { notify, list, .. } = &mut sources;
    fs::rename(root.join("sub"), root.join("away")).unwrap();
    assert!(site_of(&mut list[1]).open(notify.as_mut()).is_err());
    site_of(&mut list[0]).open(notify.as_mut()).unwrap();
    site_of(&mut list[2]).open(notify.as_mut()).unwrap();
    news(&mut sources);
    write(&root, "away/index.html", "z");
    assert_eq!(news(&mut sources), [(0, false), (2, false)]);
    fs::rename(root.join("away"), root.join("sub")).unwrap();
    assert_eq!(news(&mut sources), [(0, false), (1, true), (2, false)]);
    sources.notify.as_mut().unwrap().forget(Owner { source: SourceId(0), part: 0 });
    write(&root, "index.html", "2");
    assert_eq!(news(&mut sources), [(2, false)]);
}

#[test]
fn an_event_is_for_the_sites_that_it_concerns() {
    let folder = tempfile::tempdir().unwrap();
    let path = |number: usize| folder.path().join(format!("{number}.tar"));
    let mut sources = Sources::new();
    (0..200).for_each(|number| fs::write(path(number), archive("x")).unwrap());
    (0..200).for_each(|number| assert_eq!(add(&mut sources, &path(number)), SourceId(number)));
    assert_eq!(news(&mut sources), []);
    fs::write(folder.path().join("other.tar"), archive("x")).unwrap();
    assert_eq!(news(&mut sources), []);
    fs::write(path(77), archive("y")).unwrap();
    assert_eq!(news(&mut sources), [(77, false)]);
    fs::rename(folder.path().join("other.tar"), path(123)).unwrap();
    assert_eq!(news(&mut sources), [(123, true)]);
    // One goes over to polls: the others keep their events.
    let Sources { notify, list, .. } = &mut sources;
    site_of(&mut list[77]).method.refuse(WatchRefusal::Watches);
    notify.as_mut().unwrap().forget(Owner { source: SourceId(77), part: 0 });
    fs::write(path(77), archive("z")).unwrap();
    fs::write(path(78), archive("z")).unwrap();
    assert_eq!(news(&mut sources), [(78, false)]);
}

fn expect(said: &Receiver<String>, part: &str) {
    let line = said.recv_timeout(PATIENCE).unwrap();
    assert!(line.contains(part), "{line}");
}

#[test]
fn a_site_that_is_not_there_at_the_start_is_served_when_it_comes() {
    let folder = tempfile::tempdir().unwrap();
    let (there, root) = (folder.path().join("there"), folder.path().join("later/site"));
    write(&there, "index.html", "x");
    let mut sources = Sources::new();
    let (_, first) = sources.add_site(&there, &Options::default(), Watch::Auto);
    let (later, missing) = sources.add_site(&root, &Options::default(), Watch::Auto);
    assert!(first.is_ok() && missing.is_err());
    let (serve, served, said) = Told::new();
    while_watched(sources, &serve, |_| {
        write(&root, "_redirects", "/a /b 999");
        expect(&said, "error: the site still cannot be served: ");
        assert!(serve.failing.lock().unwrap().as_ref().unwrap().contains("_redirects"));
        write(&root, "index.html", "x");
        fs::remove_file(root.join("_redirects")).unwrap();
        assert_eq!(served.recv_timeout(PATIENCE), Ok((later, 1)));
        expect(&said, "the site can be served now: 1 file now (");
        assert_eq!(*serve.failing.lock().unwrap(), None);
        // As any other from then on.
        write(&root, "more.html", "x");
        assert_eq!(served.recv_timeout(PATIENCE), Ok((later, 2)));
        expect(&said, "the site has changed: 2 files now (");
        fs::rename(&root, folder.path().join("away")).unwrap();
        expect(&said, "error: the site as it is now cannot be served, the one before still is: ");
    });
}

#[test]
fn half_an_archive_at_the_start_is_served_when_it_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let whole = archive(&"x".repeat(5000));
    for watch in [Watch::Auto, Watch::Poll(Duration::from_millis(50))] {
        let path = folder.path().join("site.tar");
        fs::write(&path, &whole[..1024]).unwrap();
        let mut sources = Sources::new();
        let (id, site) = sources.add_site(&path, &Options::default(), watch);
        assert!(site.is_err());
        let (serve, served, said) = Told::new();
        while_watched(sources, &serve, |_| {
            let mut copy = fs::File::options().append(true).open(&path).unwrap();
            copy.write_all(&whole[1024..]).unwrap();
            drop(copy);
            assert_eq!(served.recv_timeout(PATIENCE), Ok((id, 1)));
            expect(&said, "the site can be served now: 1 file now (");
        });
    }
}

#[test]
fn without_watching_a_missing_site_is_waited_for_until_it_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("site");
    let mut sources = Sources::new();
    let (id, site) = sources.add_site(&root, &Options::default(), Watch::Off);
    assert!(site.is_err() && sources.next().is_none());
    let (serve, served, said) = Told::new();
    while_watched(sources, &serve, |control| {
        control.read_again();
        expect(&said, "error: the site still cannot be served: ");
        write(&root, "index.html", "x");
        control.read_again();
        assert_eq!(served.recv_timeout(PATIENCE), Ok((id, 1)));
        expect(&said, "the site can be served now: 1 file now (");
    });
}

#[test]
fn a_site_that_is_opened_by_another_process_may_be_out_of_reach() {
    let folder = tempfile::tempdir().unwrap();
    let (root, given) = (folder.path().join("site"), folder.path().join("given"));
    write(&root, "index.html", "x");
    for is_taken_over in [true, false] {
        let is_far = Arc::new(AtomicBool::new(false));
        let opener = {
            let (root, given, is_far) = (root.clone(), given.clone(), Arc::clone(&is_far));
            move |path: &Path| {
                assert_eq!(path, given);
                if is_far.load(Ordering::SeqCst) { Err(OutOfReach.into()) } else { open_root(&root) }
            }
        };
        let mut sources = Sources::with_opener(Arc::new(opener));
        // Nothing lies at the path itself.
        let (id, site) = sources.add_site(&given, &Options::default(), Watch::Off);
        assert_eq!(site.unwrap().len(), 1);
        let (mut serve, served, said) = Told::new();
        serve.is_taken_over = is_taken_over;
        while_watched(sources, &serve, |control| {
            is_far.store(true, Ordering::SeqCst);
            control.read_again();
            let noted = || serve.out_of_reach.lock().unwrap().first().copied();
            let until = Instant::now() + PATIENCE;
            while noted().is_none() && Instant::now() < until {
                std::thread::sleep(Duration::from_millis(1));
            }
            assert_eq!(noted(), Some(id));
            if !is_taken_over {
                expect(&said, "the one before still is: ");
            }
            is_far.store(false, Ordering::SeqCst);
            control.read_again();
            assert_eq!(served.recv_timeout(PATIENCE), Ok((id, 1)));
            expect(&said, "the site was read again: 1 file now (");
        });
        assert_eq!(serve.failing.lock().unwrap().as_deref(), None);
    }
}
