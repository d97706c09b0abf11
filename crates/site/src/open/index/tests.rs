use super::*;
use sitar_http::h1;

fn index(names: &[&'static str]) -> Index {
    Index::new(Names::of(names.iter().map(|name| name.as_bytes())).unwrap()).unwrap()
}

/// The position in `names` and the coding that a client gets.
fn choose(index: &Index, key: &str, accept: &str) -> Option<(usize, Coding)> {
    let text = format!("GET / HTTP/1.1\r\nHost: h\r\n{accept}\r\n");
    let head = h1::parse(text.as_bytes(), &h1::Limits::default()).unwrap().unwrap();
    let Some(Slot::File(choice)) = index.get(key.as_bytes()) else { return None };
    let file = choice.pick(|| AcceptEncoding::of(&head.request))?;
    let entry = index.entry(file)?;
    Some((entry.source, entry.coding))
}

#[test]
fn sidecars_are_encodings_and_files() {
    let index = index(&["app.js", "app.js.br", "app.js.gz", "app.js.zst", "plain.css"]);
    let all = "Accept-Encoding: gzip, deflate, br, zstd\r\n";
    assert_eq!(choose(&index, "app.js", all), Some((1, Coding::Br)));
    assert_eq!(choose(&index, "app.js", "Accept-Encoding: gzip, zstd\r\n"), Some((3, Coding::Zstd)));
    assert_eq!(choose(&index, "app.js", "Accept-Encoding: gzip\r\n"), Some((2, Coding::Gzip)));
    assert_eq!(choose(&index, "app.js", "Accept-Encoding: br;q=0.5, gzip\r\n"), Some((2, Coding::Gzip)));
    assert_eq!(choose(&index, "app.js", ""), Some((0, Coding::Identity)));
    assert_eq!(choose(&index, "app.js", "Accept-Encoding: deflate\r\n"), Some((0, Coding::Identity)));
    // Never 406: what there is, as it is.
    assert_eq!(choose(&index, "app.js", "Accept-Encoding: identity;q=0\r\n"), Some((0, Coding::Identity)));
    assert_eq!(choose(&index, "app.js.br", all), Some((1, Coding::Identity)));
    assert_eq!(choose(&index, "plain.css", all), Some((4, Coding::Identity)));
    assert_eq!((index.files, index.representations()), (5, 8));
    let entry = |id| index.entry(FileId(id)).unwrap();
    let vary: Vec<_> = (0..8).map(|id| entry(id).vary).collect();
    assert_eq!(vary, [true, false, false, false, false, true, true, true]);
    assert_eq!(entry(5).media.essence, "text/javascript");
    assert_eq!(entry(1).media.essence, "application/octet-stream");
}

#[test]
fn a_sidecar_works_without_its_original() {
    let index = index(&["d/index.html.br", "d/page.html.gz"]);
    assert_eq!(choose(&index, "d/page.html", "Accept-Encoding: gzip\r\n"), Some((1, Coding::Gzip)));
    assert_eq!(choose(&index, "d/page.html", ""), None);
    assert!(
        matches!(index.get(b"d"), Some(Slot::Directory(id)) if index.directories[*id as usize].index.is_some())
    );
}

#[test]
fn a_folder_is_not_hidden_by_a_sidecar() {
    let index = index(&["docs/index.html", "docs.gz"]);
    assert!(matches!(index.get(b"docs"), Some(Slot::Directory(_))));
    assert!(matches!(index.get(b"docs.gz"), Some(Slot::File(_))));
}

#[test]
fn folders_exist_by_what_they_hold() {
    let index = index(&["a/b/c.html", "index.html", ".hidden/x", "_headers", "_redirects.br"]);
    assert!(matches!(index.get(b""), Some(Slot::Directory(0))));
    assert!(matches!(index.get(b"a"), Some(Slot::Directory(_))));
    assert!(matches!(index.get(b"a/b"), Some(Slot::Directory(_))));
    assert!(index.directories[0].index.is_some());
    for key in ["a/b/", "a/", ".hidden", ".hidden/x", "_headers", "_redirects", "_redirects.br", "a/b/c"] {
        assert_eq!(index.get(key.as_bytes()), None, "{key}");
    }
    assert_eq!(index.files, 2);
}

#[test]
fn names_of_sidecars() {
    assert_eq!(sidecar(b"a.js.br"), Some((&b"a.js"[..], Coding::Br)));
    assert_eq!(sidecar(b"a.zst"), Some((&b"a"[..], Coding::Zstd)));
    assert_eq!(sidecar(b"d/a.gz"), Some((&b"d/a"[..], Coding::Gzip)));
    for name in ["a.js", ".br", "d/.gz", "abr", ""] {
        assert_eq!(sidecar(name.as_bytes()), None, "{name}");
    }
}

#[test]
fn folders_without_bound_are_refused() {
    // Each name brings 255 folders of its own whose names are long: quadratic in the archive's
    // size.
    let names: Vec<String> = (0..400).map(|n| format!("{n}{}f", "/abcdefghijklmn".repeat(255))).collect();
    let names = Names::of(names.iter().map(String::as_bytes)).unwrap();
    let refused = Index::new(names).map(|index| index.files);
    assert_eq!(refused.unwrap_err().to_string(), "more than 268435456 bytes of folder names");
}
