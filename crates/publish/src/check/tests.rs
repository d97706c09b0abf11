use super::*;
use std::fs;

fn site(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    folder
}

fn found(files: &[(&str, &[u8])]) -> Vec<String> {
    let folder = site(files);
    let findings = check(folder.path(), &Options::default(), Some(1 << 20)).unwrap();
    findings.problems.iter().map(|problem| format!("{} {problem}", problem.kind.name())).collect()
}

#[test]
fn a_site_in_order() {
    let files: &[(&str, &[u8])] = &[
        ("index.html", b"<a href=about>a</a> <a href=/docs/#x>d</a> <a href=docs>d</a> <a href='?q'>q</a> <a href=#top>t</a>\
            <a href=http://example.com/>e</a> <a href=mailto:a@b>m</a> <a href=//cdn.example/x>c</a> <a href=/old>o</a>\
            <script src=app.js></script> <link rel=stylesheet href=css/a.css> <img src='a%20b.png' srcset='caf\xc3\xa9.png 2x'>"),
        ("about.html", b"<base href=/docs/><a href=./>d</a><a href=../about>a</a><a href='..\\about'>a</a>"),
        ("docs/index.html", b"<a href=../>home</a> <a href=page>p</a> <script src=https://cdn.example/x.js></script>"),
        ("docs/page.html", b"<!doctype html><a href=index.html>i</a>"),
        ("css/a.css", b"@import 'b.css'; a { background: url(../a%20b.png) } b { c: url(data:image/png;base64,AA==) }"),
        ("css/b.css", b""),
        ("app.js.br", b"js"),
        ("a b.png", b"\x89PNG\r\n\x1a\n"),
        ("caf\u{e9}.png", b""),
        ("_redirects", b"/old /about 301\n/away https://example.com/ 301\n/s/* /about/:splat 301\n"),
        ("_headers", b"/docs/*\n  X-A: b\n/about\n  X-A: b\nhttps://other.example/*\n  X-A: b\n"),
    ];
    assert_eq!(found(files), [""; 0]);
    let folder = site(files);
    let findings = check(folder.path(), &Options::default(), None).unwrap();
    assert!(findings.is_clean());
    assert_eq!((findings.files, findings.links), (9, 23));
}

#[test]
fn everything_that_can_be_wrong() {
    let large = vec![b'x'; (1 << 20) + 1];
    let found = found(&[
        (
            "index.html",
            b"<a href=gone>\n<a href=/x/../../y>\n<img src=http://e.example/i.png>\n<a href=/wrong%zz>\n\
            <img srcset='a.png, b.png 2x'>\n<p style='background:url(c.png)'>\n<form action=/api>",
        ),
        ("d/page.html", b"<a href=x>\n<base href=//other.example/><a href=x>"),
        ("d/up.html", b"<a href=../../up>"),
        ("s.css", b"a{b:url(gone.png)}\n@import '//x';"),
        ("a.png", b"\xff\xd8\xff\xe0"),
        ("large.bin", &large),
        (
            "_redirects",
            b"/d/page /x 301\n/r/* /gone 301\n/r/a /index.html 301\n/w /nothing 200\n/index.html /d/page 301\n",
        ),
        ("_headers", b"/nothing/*\n  X-A: b\n"),
    ]);
    assert_eq!(
        found,
        [
            "dead-rule _redirects:3: never applies: the rule in line 2 takes all that it could",
            "dead-rule _redirects:1: never applies: there is a page at its source; a ! behind the status replaces it",
            "dead-rule _redirects:5: never applies: there is a page at its source; a ! behind the status replaces it",
            "dead-rule _redirects:4: the page that it shows does not exist: /nothing",
            "dead-rule _redirects:1: its target does not exist: /x",
            "dead-rule _redirects:2: its target does not exist: /gone",
            "media-type a.png: is a JPEG image, but its name says image/png",
            "leaves-site d/up.html:1: the link ../../up climbs above the site's root",
            "broken-link index.html:1: links to gone, which is not there",
            "leaves-site index.html:2: the link /x/../../y climbs above the site's root",
            "mixed-content index.html:3: loads http://e.example/i.png without encryption: browsers refuse it",
            "broken-link index.html:4: links to /wrong%zz, which is not there",
            "broken-link index.html:5: loads b.png, which is not there",
            "broken-link index.html:6: loads c.png, which is not there",
            "oversized large.bin: is 2 MiB large",
            "broken-link s.css:1: loads gone.png, which is not there",
        ]
    );
}

#[test]
fn header_rules_apply_to_what_redirects_answer() {
    let found = found(&[
        ("index.html", b""),
        (
            "_redirects",
            b"/api/* https://api.example/:splat 302\n/old/:page 410\nhttp://own.example/* https://own.example/:splat \
              301!\n",
        ),
        (
            "_headers",
            b"/api/v1/*\n  Access-Control-Allow-Origin: *\n/*/x\n  X-A: b\n/old/*\n  X-A: b\n/new/*\n  X-A: b\n/.vite/*\n  \
              X-A: b\n",
        ),
    ]);
    assert_eq!(
        found,
        [
            "dead-rule _headers:7: never applies: there is no file at such a path",
            "dead-rule _headers:9: never applies: there is no file at such a path",
        ]
    );
}

#[test]
fn rules_with_mistakes_are_findings_and_the_rest_is_looked_at_all_the_same() {
    let found = found(&[
        ("index.html", b"<a href=gone>"),
        ("_redirects", b"\n/a\n/x/* https://good.example\\:splat 302\n"),
        ("_headers", b"/*\n  Date: x\n"),
    ]);
    assert_eq!(
        found,
        [
            "rule _headers:2: this header is the server's own: 'Date: x'; take the line out",
            "rule _redirects:2: there is no target: '/a'; a rule is: /source /target 301",
            "rule _redirects:3: a backslash in the target's host, which browsers read as a slash: \
             '/x/* https://good.example\\:splat 302'; write https://good.example/:splat",
            "broken-link index.html:1: links to gone, which is not there",
        ]
    );
}

#[test]
fn lines_that_take_the_place_of_others() {
    let found = found(&[
        ("index.html", b""),
        ("docs/page.html", b""),
        (
            "_headers",
            b"/*\n  Cache-Control: max-age=60\n  X-Frame-Options: DENY\n  X-Robots-Tag: noindex\n  Referrer-Policy: same-origin\n\
              /docs/*\n  cache-control: no-store\n  ! X-Frame-Options\n  X-Frame-Options: SAMEORIGIN\n  X-Robots-Tag: all\n  \
              Referrer-Policy: same-origin\n\
              /docs/page\n  Content-Type: text/a\n  Content-Type: text/b\n  Cache-Control: public\n  Cache-Control: max-age=1\n",
        ),
        // Header rules are looked at whatever is rewritten.
        ("_redirects", b"/app/* /index.html 200\n"),
    ]);
    assert_eq!(
        found,
        [
            "override _headers:7: takes the place of cache-control in line 2, where both match (Cloudflare would send both); \
             if that is meant, write above it: ! cache-control",
            "override _headers:14: takes the place of line 13, which also sets Content-Type for this path",
            "override _headers:16: takes the place of Cache-Control in line 7, where both match (Cloudflare would send both); \
             if that is meant, write above it: ! Cache-Control",
        ]
    );
}

#[test]
fn files_that_are_not_encoded_as_they_are_said_to_be() {
    let encoded = sitar_brotli::compress(b"all of it", 5).unwrap();
    let found = found(&[
        ("a.wasm.gz", b"\x1f\x8b\x08\0 and so on"),
        ("b.wasm.gz", b"\0asm"),
        ("c.js.br", &encoded),
        ("d.js.br", b"plain text that no decoder takes for brotli"),
        ("e.css.zst", b"\x28\xb5\x2f\xfd and so on"),
        ("f.css.zst", b"a { }"),
        ("good.svgz", b"\x1f\x8b\x08\0 and so on"),
        ("bad.svgz", b"<svg xmlns='http://www.w3.org/2000/svg'>"),
        // Without a rule it is an archive, whatever is in it.
        ("downloads/g.gz", b"\x1f\x8b\x08\0 and so on"),
        ("h.html", b"\x1f\x8b\x08\0 and so on"),
        ("index.html", b""),
        (
            "_headers",
            b"/*.wasm.gz\n  Content-Encoding: gzip\n/*.br\n  Content-Encoding: br\n/*.zst\n  Content-Encoding: zstd\n\
              /h.html\n  Content-Encoding: gzip\n",
        ),
    ]);
    assert_eq!(
        found,
        [
            "media-type b.wasm.gz: is not encoded in gzip, but is sent with Content-Encoding: gzip",
            "media-type bad.svgz: is not encoded in gzip, but is sent with Content-Encoding: gzip",
            "media-type d.js.br: is not encoded in br, but is sent with Content-Encoding: br",
            "media-type f.css.zst: is not encoded in zstd, but is sent with Content-Encoding: zstd",
        ]
    );
}

#[test]
fn what_is_left_out_is_told() {
    let folder = site(&[("index.html", b"")]);
    std::os::unix::fs::symlink("../outside", folder.path().join("out")).unwrap();
    let findings = check(folder.path(), &Options::default(), None).unwrap();
    let problems: Vec<_> = findings.problems.iter().map(ToString::to_string).collect();
    assert_eq!(problems, ["out: is left out: it is a link that leads out of the site (--follow-links)"]);
    assert!(check(&folder.path().join("nothing"), &Options::default(), None).is_err());
}

#[test]
fn problems_without_end_are_counted() {
    let page: String = (0..1_500).map(|number| format!("<a href=gone{number}>")).collect();
    let folder = site(&[("index.html", page.as_bytes())]);
    let findings = check(folder.path(), &Options::default(), None).unwrap();
    assert_eq!((findings.problems.len(), findings.more), (1000, 500));
}

/// The same content in the coding that the name says.
fn encoded(name: &str, content: &[u8]) -> Vec<u8> {
    if name.ends_with(".br") {
        return sitar_brotli::compress(content, 5).unwrap();
    }
    if name.ends_with(".zst") {
        return zstd::bulk::compress(content, 3).unwrap();
    }
    let mut compressor = libdeflater::Compressor::new(libdeflater::CompressionLvl::default());
    let mut out = vec![0; compressor.gzip_compress_bound(content.len())];
    let length = compressor.gzip_compress(content, &mut out).unwrap();
    out.truncate(length);
    out
}

#[test]
fn every_sidecar_is_compared_with_its_file() {
    let bomb = encoded("x.gz", &vec![b'a'; 20 << 20]);
    let (right, old) = (|name: &str| encoded(name, b"let a = 1;"), |name: &str| encoded(name, b"let a = 0;"));
    let files: &[(&str, &[u8])] = &[
        ("right.js", b"let a = 1;"),
        ("right.js.br", &right(".br")),
        ("right.js.gz", &right(".gz")),
        ("right.js.zst", &right(".zst")),
        ("only.js.gz", b"no original, so a file like any other"),
        ("a.js", b"let a = 1;"),
        ("a.js.br", b"\xff not brotli"),
        ("a.js.gz", &old(".gz")),
        ("a.js.zst", &right(".zst")[..10]),
        ("b.js", b"let a = 1;"),
        ("b.js.br", &old(".br")),
        ("b.js.gz", &bomb),
        ("b.js.zst", b""),
        ("c.js", b"let a = 1;"),
        ("c.js.gz", &[right(".gz"), right(".gz")].concat()),
        // Larger than any encoding of ten bytes, and not read to its end.
        ("c.js.br", &vec![b' '; 1 << 20]),
        ("d.js", b"let a = 1;"),
        ("d.js.gz", &right(".gz")),
        ("d.js.gz.br", &encoded(".br", &old(".gz"))),
        ("index.html", b"<title>new</title>"),
        ("index.html.gz", &encoded(".gz", b"<title>old</title>")),
    ];
    let expected = [
        "sidecar a.js.br: is not a.js in brotli: browsers cannot decode it to the end",
        "sidecar a.js.gz: is not a.js in gzip: it decodes to something else, such as an older version of it",
        "sidecar a.js.zst: is not a.js in Zstandard: browsers cannot decode it to the end",
        "sidecar b.js.br: is not b.js in brotli: it decodes to something else, such as an older version of it",
        "sidecar b.js.gz: is not b.js in gzip: it decodes to something else, such as an older version of it",
        "sidecar b.js.zst: is not b.js in Zstandard: browsers cannot decode it to the end",
        "sidecar c.js.br: is far larger than c.js, and cannot save any of its bytes",
        "sidecar c.js.gz: is not c.js in gzip: browsers cannot decode it to the end",
        "sidecar d.js.gz.br: is not d.js.gz in brotli: it decodes to something else, such as an older version of it",
        "sidecar index.html.gz: is not index.html in gzip: it decodes to something else, such as an older version of it",
    ];
    assert_eq!(found(files), expected);
    // In a plain tar too.
    let folder = site(files);
    let archive = folder.path().join(".site.tar");
    let packed = std::process::Command::new("tar")
        .arg("-cf")
        .arg(&archive)
        .args(["--exclude=.site.tar", "-C"])
        .arg(folder.path())
        .arg(".")
        .status();
    assert!(packed.unwrap().success());
    let findings = check(&archive, &Options::default(), None).unwrap();
    let problems: Vec<_> = findings.problems.iter().map(|problem| format!("sidecar {problem}")).collect();
    assert_eq!(problems, expected);
}

#[test]
fn a_sidecar_that_is_too_old_to_be_sent_is_found_once() {
    let right = encoded(".gz", b"let a = 1;");
    let folder = site(&[
        ("a.js", b"let a = 1;"),
        ("a.js.gz", &right),
        ("b.js", b"let a = 1;"),
        ("b.js.gz", &encoded(".gz", b"let a = 0;")),
        ("index.html", b""),
    ]);
    for name in ["a.js.gz", "b.js.gz"] {
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_700_000_000);
        fs::File::open(folder.path().join(name)).unwrap().set_modified(time).unwrap();
    }
    let findings = check(folder.path(), &Options::default(), None).unwrap();
    let problems: Vec<_> = findings.problems.iter().map(ToString::to_string).collect();
    assert_eq!(
        problems,
        [
            "a.js.gz: is older than a.js, and therefore not sent for it, although it has the same content; \
             touch it, or pack the site",
            "b.js.gz: is not b.js in gzip: it decodes to something else, such as an older version of it",
        ]
    );
}

#[test]
fn a_target_that_many_pages_lack_is_one_problem() {
    let page = |text: &str| format!("<script src={text}></script>\n<img src=/a%2Epng?v=1>");
    let (top, deep) = (page("_static/x.js"), page("../_static/./x.js#f"));
    let folder = site(&[
        ("a.html", top.as_bytes()),
        ("b.html", top.as_bytes()),
        ("d/c.html", deep.as_bytes()),
        ("d/d.html", deep.as_bytes()),
        ("d/e.html", deep.as_bytes()),
        ("e.html", b"<a href=once><a href=up><a href=up>\n<a href=up?q><a href=/../a><img src=http://e.example/i.png>"),
        ("index.html", b"<a href=/../a><img src=http://e.example/i.png><img src=http://e.example/j.png>"),
    ]);
    let by = |threads| {
        let work = Work { threads: NonZeroUsize::new(threads).unwrap(), progress: &mut |_, _| () };
        check_with(folder.path(), &Options::default(), None, work).unwrap()
    };
    let findings = by(1);
    let lines: Vec<_> = findings.problems.iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            "a.html:1: loads _static/x.js, which is not there (on 5 pages; also b.html, d/c.html, d/d.html)",
            "a.html:2: loads /a%2Epng?v=1, which is not there (on 5 pages; also b.html, d/c.html, d/d.html)",
            "e.html:1: links to once, which is not there",
            "e.html:1: links to up, which is not there (3 times on this page)",
            "e.html:2: the link /../a climbs above the site's root (on 2 pages; also index.html)",
            "e.html:2: loads http://e.example/i.png without encryption: browsers refuse it (on 2 pages; also index.html)",
            "index.html:1: loads http://e.example/j.png without encryption: browsers refuse it",
        ]
    );
    let first = &findings.problems[0];
    assert_eq!((&*first.target, first.times, first.pages), ("/_static/x.js", 5, 5));
    let others: Vec<_> = first.others.iter().map(|place| (&*place.file, place.line)).collect();
    assert_eq!(others, [("b.html", 1), ("d/c.html", 1), ("d/d.html", 1), ("d/e.html", 1)]);
    assert_eq!((&*findings.problems[1].target, findings.problems[1].line), ("/a.png", 2));
    let up = &findings.problems[3];
    assert_eq!((up.times, up.pages, up.others.len()), (3, 1, 2));
    assert_eq!((findings.files, findings.links, findings.more), (7, 19, 0));
    // However many threads look.
    let again = by(3);
    assert_eq!((again.problems, again.files, again.links), (findings.problems, 7, 19));
}

#[test]
fn progress_is_shown_from_none_to_all() {
    let files: Vec<_> = (0..600).map(|number| format!("{number}.html")).collect();
    let files: Vec<_> = files.iter().map(|name| (name.as_str(), &b""[..])).collect();
    let folder = site(&files);
    let mut seen = Vec::new();
    let progress = &mut |done, all| seen.push((done, all));
    let work = Work { threads: NonZeroUsize::new(2).unwrap(), progress };
    check_with(folder.path(), &Options::default(), None, work).unwrap();
    assert_eq!(seen, [(0, 600), (256, 600), (512, 600), (600, 600)]);
}

#[test]
fn what_is_about_the_whole_site_names_no_page() {
    let folder = site(&[("public/index.html", b"")]);
    let findings = check(folder.path(), &Options::default(), None).unwrap();
    let lines: Vec<_> = findings.problems.iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        ["there is no index.html at the top and everything lies below 'public': use --prefix public"]
    );
}

#[test]
fn svg_files_and_pages_without_scripts_are_searched() {
    assert_eq!(
        found(&[
            ("index.html", b"<meta http-equiv=refresh content='0; url=gone.html'><noscript><img src=n.png></noscript>"),
            ("d/a.svg", b"<svg xmlns='http://www.w3.org/2000/svg'><style>a{b:url(c.png)}</style><script href='s.js'/>\n\
                <image href='i.png'/><use href='#a'/><a href='../index.html'/></svg>"),
        ]),
        [
            "broken-link d/a.svg:1: loads c.png, which is not there",
            "broken-link d/a.svg:1: loads s.js, which is not there",
            "broken-link d/a.svg:2: loads i.png, which is not there",
            "broken-link index.html:1: links to gone.html, which is not there",
            "broken-link index.html:1: loads n.png, which is not there",
        ]
    );
}
