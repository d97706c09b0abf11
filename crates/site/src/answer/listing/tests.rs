use super::*;
use crate::open::opening::Options;
use crate::open::path::{NAME_MAX, resolve};
use crate::rules::Rules;
use proptest::prelude::*;

fn row(name: &[u8]) -> Row<'_> {
    Row { name, kind: Kind::File { size: Some(1_536), modified: Some(784_111_777) } }
}

fn written(mut to: impl Write, folder: &[u8], name: &[u8]) -> String {
    to.begin(folder);
    to.row(&row(name));
    String::from_utf8(to.end(0)).unwrap()
}

#[test]
fn sizes_are_for_readers() {
    for (bytes, text) in [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1_048_575, "1023.9 KiB"),
        (1_048_576, "1.0 MiB"),
        (5_368_709_120, "5.0 GiB"),
        (u64::MAX, "15.9 EiB"),
    ] {
        assert_eq!(html::size_text(bytes), text);
    }
}

#[test]
fn what_does_not_fit_is_counted() {
    let files: &[(&str, &[u8])] = &[("a", b"1"), ("b", b"2"), ("c/d", b"3"), ("e", b"4")];
    let options = Options { listing: true, ..Options::default() };
    let site = Site::with_rules(files, &options, Rules::default());
    let listing = |file: usize, most| {
        let file = FileId(u32::try_from(site.index.representations() + file).unwrap());
        let made = site.make_listing(file, &Budget::new(1 << 20, 1 << 20), most).unwrap().unwrap();
        String::from_utf8(made.beginning(usize::MAX).unwrap().0).unwrap()
    };
    let page = listing(0, 1700);
    assert_eq!(page.matches("<tr><td>").count(), 4, "{page}");
    let page = listing(0, 0);
    assert_eq!(page.matches("<tr><td>").count(), 0);
    assert!(page.contains("<p>The list is too long: 4 more are not shown.</p>"), "{page}");
    let object = listing(1, 30);
    assert_eq!(
        object,
        "{\"path\":\"/\",\"entries\":[\n{\"name\":\"c\",\"href\":\"./c/\",\"type\":\"folder\"}\n],\"omitted\":3}\n"
    );
    assert_eq!(site.files(), site.index.representations() + 4);
    let end = FileId(u32::try_from(site.files()).unwrap());
    assert!(site.make_listing(end, &Budget::new(0, 0), 0).is_none());
    assert!(site.make_listing(FileId(0), &Budget::new(0, 0), 0).is_none());
}

#[test]
fn what_shows_nothing_is_shown() {
    // Of UAX #44's Default_Ignorable_Code_Point, and a blank that is none.
    for char in
        "\u{ad}\u{34f}\u{115f}\u{17b4}\u{200b}\u{202e}\u{2061}\u{2800}\u{fff0}\u{1d173}\u{e0020}\u{e0fff}"
            .chars()
    {
        assert!(text::is_deceptive(char), "U+{:04X}", u32::from(char));
    }
    for char in "aé\u{200c}\u{200d}\u{fe0f}\u{e0100}\u{fffd}🦀".chars() {
        assert!(!text::is_deceptive(char), "U+{:04X}", u32::from(char));
    }
}

fn names() -> impl Strategy<Value = Vec<u8>> {
    let pieces = prop::sample::select(vec![
        &b"a"[..],
        b"<",
        b">",
        b"\"",
        b"'",
        b"&",
        b"%",
        b"?",
        b"#",
        b":",
        b"\\",
        b"\n",
        b"\r",
        b"\x7f",
        b"\xff",
        b"\xe2\x80",
        b"\xc2\x80",
        "\u{202e}".as_bytes(),
        "\u{2067}".as_bytes(),
        "é".as_bytes(),
        b"]]>",
        b"<!--",
        b"<bdi>",
        b"..",
        b"{",
        b"}",
    ]);
    prop::collection::vec(pieces, 1..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    /// A name's link leads to the name, and neither link nor text leaves its place.
    #[test]
    fn a_name_stays_in_its_place(name in names(), folder in names()) {
        let mut url = b"/".to_vec();
        text::push_url(&name, &mut url);
        let mut room = [0; NAME_MAX];
        if !matches!(&name[..], b".." | b".") {
            prop_assert_eq!(resolve(&url, &mut room).unwrap().key, &name[..]);
        }
        let href = String::from_utf8(url[1..].to_vec()).unwrap();
        let page = written(html::Html::default(), &folder, &name);
        let row = page.lines().find(|line| line.starts_with("<tr><td>")).unwrap();
        let start = format!("<tr><td><a href=\"./{href}\"><bdi>");
        let text = row.strip_prefix(start.as_str()).unwrap();
        let end = "</bdi></a></td><td>1.5 KiB</td><td>1994-11-06 08:49</td></tr>";
        let text = text.strip_suffix(end).unwrap().replace("<code>U+", "").replace("</code>", "");
        prop_assert!(!text.contains(['<', '>', '"', '\'']), "{}", text);
        prop_assert!(!text.chars().any(text::is_deceptive), "{}", text);
        // The template's lines and one row.
        let plain = written(html::Html::default(), b"a", b"a");
        prop_assert_eq!(page.lines().count(), plain.lines().count());
        let object = written(json::Json::default(), &folder, &name);
        prop_assert_eq!(object.lines().count(), 3);
        prop_assert!(!object.chars().any(|char| char != '\n' && text::is_deceptive(char)));
        prop_assert_eq!(object.matches('"').count(), plain_quotes());
    }
}

/// The quotation marks of a JSON listing with one file.
fn plain_quotes() -> usize {
    written(json::Json::default(), b"a", b"a").matches('"').count()
}
