use super::*;

/// Names with the types that they are sent as; `+` stands for `; charset=utf-8`.
fn assert_types(cases: &[(&str, &str)]) {
    for (name, expected) in cases {
        let expected = expected.strip_suffix('+').map_or((*expected, false), |essence| (essence, true));
        let Media { essence, utf8 } = media_type(name.as_bytes());
        assert_eq!((essence, utf8), expected, "{name}");
    }
}

#[test]
fn the_types_that_a_site_lives_on() {
    for (name, essence, utf8) in [
        ("index.html", "text/html", true),
        ("a/b.css", "text/css", true),
        ("app.js", "text/javascript", true),
        ("APP.JS", "text/javascript", true),
        ("app.mjs", "text/javascript", true),
        ("app.js.map", "application/json", true),
        ("data.json", "application/json", true),
        ("app.webmanifest", "application/manifest+json", true),
        ("logo.svg", "image/svg+xml", true),
        ("feed.xml", "application/xml", true),
        ("feed.atom", "application/atom+xml", true),
        ("notes.txt", "text/plain", true),
        ("notes.md", "text/markdown", true),
        ("code.wasm", "application/wasm", false),
        ("font.woff2", "font/woff2", false),
        ("font.otf", "font/otf", false),
        ("photo.avif", "image/avif", false),
        ("photo.webp", "image/webp", false),
        ("photo.png", "image/png", false),
        ("favicon.ico", "image/x-icon", false),
        ("paper.pdf", "application/pdf", false),
        ("film.mp4", "video/mp4", false),
        ("segment.ts", "video/mp2t", false),
        ("archive.tar.gz", "application/gzip", false),
        ("app.js.br", "application/octet-stream", false),
        ("app.js.zst", "application/zstd", false),
        ("LICENSE", "application/octet-stream", false),
        ("folder.html/LICENSE", "application/octet-stream", false),
        ("strange.qqqq", "application/octet-stream", false),
        ("ends.", "application/octet-stream", false),
    ] {
        assert_eq!(media_type(name.as_bytes()), Media { essence, utf8 }, "{name}");
    }
    assert_eq!(media_type(b"a.\xff").essence, "application/octet-stream");
}

#[test]
fn what_a_page_is_made_of() {
    assert_types(&[
        ("a.htm", "text/html+"),
        ("a.shtml", "text/html+"),
        ("a.xhtml", "application/xhtml+xml+"),
        ("a.xht", "application/xhtml+xml+"),
        ("a.cjs", "text/javascript+"),
        ("a.jsm", "text/javascript+"),
        ("a.es", "text/javascript+"),
        ("a.jsonld", "application/ld+json+"),
        ("a.json5", "application/json5"),
        ("a.importmap", "application/importmap+json+"),
        ("a.geojson", "application/geo+json+"),
        ("a.topojson", "application/json+"),
        ("a.ndjson", "application/x-ndjson+"),
        ("a.jsonl", "application/x-ndjson+"),
        ("a.har", "application/octet-stream"),
        ("a.appcache", "text/cache-manifest+"),
        ("a.mml", "text/mathml+"),
        ("a.mathml", "application/mathml+xml+"),
        ("a.xsl", "application/xml+"),
        ("a.xslt", "application/xslt+xml+"),
        ("a.dtd", "application/xml-dtd"),
        ("a.rss", "application/rss+xml+"),
        ("a.rdf", "application/rdf+xml+"),
        ("a.wgsl", "text/wgsl+"),
        ("a.swf", "application/x-shockwave-flash"),
    ]);
}

#[test]
fn pictures_and_fonts() {
    assert_types(&[
        ("a.svgz", "image/svg+xml+"),
        ("a.apng", "image/apng"),
        ("a.jpg", "image/jpeg"),
        ("a.jpeg", "image/jpeg"),
        ("a.jpe", "image/jpeg"),
        ("a.jfif", "image/jpeg"),
        ("a.pjpeg", "image/jpeg"),
        ("a.pjp", "image/jpeg"),
        ("a.gif", "image/gif"),
        ("a.jxl", "image/jxl"),
        ("a.bmp", "image/bmp"),
        ("a.cur", "image/x-icon"),
        ("a.tif", "image/tiff"),
        ("a.tiff", "image/tiff"),
        ("a.heic", "image/heic"),
        ("a.heif", "image/heif"),
        ("a.jp2", "image/jp2"),
        ("a.psd", "image/vnd.adobe.photoshop"),
        ("a.ktx2", "image/ktx2"),
        ("a.hdr", "image/vnd.radiance"),
        ("a.woff", "font/woff"),
        ("a.ttf", "font/ttf"),
        ("a.ttc", "font/collection"),
        ("a.eot", "application/vnd.ms-fontobject"),
    ]);
}

#[test]
fn sound_and_film() {
    assert_types(&[
        ("a.mp3", "audio/mpeg"),
        ("a.m4a", "audio/mp4"),
        ("a.m4b", "audio/mp4"),
        ("a.m4r", "audio/mp4"),
        ("a.aac", "audio/aac"),
        ("a.ogg", "audio/ogg"),
        ("a.oga", "audio/ogg"),
        ("a.opus", "audio/ogg"),
        ("a.flac", "audio/flac"),
        ("a.wav", "audio/wav"),
        ("a.weba", "audio/webm"),
        ("a.mid", "audio/midi"),
        ("a.m4v", "video/x-m4v"),
        ("a.webm", "video/webm"),
        ("a.ogv", "video/ogg"),
        ("a.mov", "video/quicktime"),
        ("a.mkv", "video/x-matroska"),
        ("a.avi", "video/x-msvideo"),
        ("a.mpeg", "video/mpeg"),
        ("a.3gp", "video/3gpp"),
        // HLS and DASH. A source file of TypeScript is not what a browser asks for by this
        // extension.
        ("a.m3u8", "application/vnd.apple.mpegurl"),
        ("a.m3u", "audio/x-mpegurl"),
        ("a.pls", "audio/x-scpls"),
        ("a.mpd", "application/dash+xml+"),
        ("a.m4s", "video/iso.segment"),
        ("a.mts", "video/mp2t"),
        ("a.vtt", "text/vtt+"),
        ("a.srt", "application/x-subrip"),
        ("a.ttml", "application/ttml+xml+"),
    ]);
}

#[test]
fn what_is_saved_or_installed() {
    assert_types(&[
        ("a.zip", "application/zip"),
        ("a.gz", "application/gzip"),
        ("a.tgz", "application/gzip"),
        ("a.tar", "application/x-tar"),
        ("a.bz2", "application/x-bzip2"),
        ("a.tbz2", "application/x-bzip2"),
        ("a.xz", "application/x-xz"),
        ("a.txz", "application/x-xz"),
        ("a.tzst", "application/zstd"),
        ("a.7z", "application/x-7z-compressed"),
        ("a.rar", "application/vnd.rar"),
        ("a.rpm", "application/x-redhat-package-manager"),
        ("a.deb", "application/vnd.debian.binary-package"),
        ("a.exe", "application/x-msdos-program"),
        ("a.msi", "application/x-msdownload"),
        ("a.msix", "application/msix"),
        ("a.msixbundle", "application/msixbundle"),
        ("a.appx", "application/appx"),
        ("a.appinstaller", "application/appinstaller"),
        ("a.dmg", "application/x-apple-diskimage"),
        ("a.apk", "application/vnd.android.package-archive"),
        ("a.pkpass", "application/vnd.apple.pkpass"),
        ("a.mobileconfig", "application/x-apple-aspen-config"),
        ("a.plist", "application/x-plist"),
        ("a.jar", "application/java-archive"),
        ("a.crx", "application/x-chrome-extension"),
        ("a.xpi", "application/x-xpinstall"),
        ("a.iso", "application/x-iso9660-image"),
        ("a.bin", "application/octet-stream"),
        ("a.crt", "application/x-x509-ca-cert"),
        ("a.p12", "application/x-pkcs12"),
    ]);
}

#[test]
fn documents_and_data() {
    assert_types(&[
        ("a.ics", "text/calendar+"),
        ("a.vcf", "text/vcard+"),
        ("a.csv", "text/csv+"),
        ("a.tsv", "text/tab-separated-values+"),
        ("a.yaml", "application/yaml+"),
        ("a.yml", "application/yaml+"),
        ("a.toml", "application/toml+"),
        ("a.ini", "text/plain+"),
        ("a.log", "text/plain+"),
        ("a.org", "text/x-org+"),
        ("a.patch", "text/x-diff+"),
        ("a.diff", "text/x-diff+"),
        ("a.rs", "text/x-rust+"),
        ("a.py", "text/x-python+"),
        ("a.c", "text/x-c+"),
        ("a.sh", "application/x-sh"),
        ("a.rtf", "application/rtf"),
        ("a.epub", "application/epub+zip"),
        ("a.mobi", "application/x-mobipocket-ebook"),
        ("a.doc", "application/msword"),
        ("a.docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
        ("a.xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
        ("a.pptx", "application/vnd.openxmlformats-officedocument.presentationml.presentation"),
        ("a.odt", "application/vnd.oasis.opendocument.text"),
        ("a.stl", "model/stl"),
        ("a.obj", "model/obj"),
        ("a.mtl", "model/mtl"),
        ("a.gltf", "model/gltf+json+"),
        ("a.glb", "model/gltf-binary"),
        ("a.usdz", "model/vnd.usdz+zip"),
        ("a.3mf", "model/3mf"),
        ("a.gpx", "application/gpx+xml+"),
        ("a.kml", "application/vnd.google-earth.kml+xml+"),
        ("a.eml", "message/rfc822"),
        ("a.ttl", "text/turtle+"),
    ]);
}

/// Types that the table before this one knew, and files that sites offer beside pages.
#[test]
fn what_mime_db_lacks() {
    assert_types(&[
        ("app.ipa", "application/x-itunes-ipa"),
        ("fw.ipsw", "application/x-itunes-ipsw"),
        ("page.webarchive", "application/x-safari-webarchive"),
        ("fix.reg", "text/plain+"),
        ("install.ps1", "text/plain+"),
        ("install.cmd", "text/plain+"),
        ("a.vbs", "text/plain+"),
        ("a.csproj", "text/xml+"),
        ("a.vsix", "application/vsix"),
        ("dom.idl", "text/plain+"),
        ("a.wave", "audio/wav"),
        ("a.ac3", "audio/ac3"),
        ("a.dv", "video/x-dv"),
        ("a.avifs", "image/avif"),
        ("a.cr2", "image/x-canon-cr2"),
        ("a.nef", "image/x-nikon-nef"),
        ("a.tar.Z", "application/x-compress"),
        ("a.accdb", "application/msaccess"),
        ("a.tar.gz.asc", "application/pgp-signature"),
        ("a.flatpakref", "application/vnd.flatpak.ref"),
        ("a.AppImage", "application/vnd.appimage"),
        ("a.pkpasses", "application/vnd.apple.pkpasses"),
        ("a.reality", "model/vnd.reality"),
        ("a.cbor", "application/cbor"),
        ("a.sarif", "application/sarif+json+"),
        ("a.arrow", "application/vnd.apache.arrow.file"),
        ("a.sqlite", "application/vnd.sqlite3"),
        // Still there.
        ("a.epub", "application/epub+zip"),
        ("a.apk", "application/vnd.android.package-archive"),
        ("a.deb", "application/vnd.debian.binary-package"),
        ("a.crx", "application/x-chrome-extension"),
        // Programs for one browser that is gone: a download is safer.
        ("a.hta", "application/octet-stream"),
        ("a.sct", "application/octet-stream"),
    ]);
}

#[test]
fn names_without_an_extension() {
    assert_types(&[
        (".well-known/apple-app-site-association", "application/json+"),
        ("apple-app-site-association", "application/json+"),
        ("x/apple-app-site-association", "application/octet-stream"),
        (".well-known/openid-configuration", "application/json+"),
        (".well-known/oauth-authorization-server", "application/json+"),
        (".well-known/oauth-authorization-server/tenant", "application/json+"),
        (".well-known/oauth-protected-resource/mcp", "application/json+"),
        (".well-known/openid-credential-issuer", "application/json+"),
        (".well-known/openid-federation", "application/entity-statement+jwt"),
        (".well-known/webfinger", "application/jrd+json+"),
        (".well-known/nodeinfo", "application/json+"),
        (".well-known/jmap", "application/json+"),
        (".well-known/matrix/client", "application/json+"),
        (".well-known/matrix/server", "application/json+"),
        (".well-known/matrix/support", "application/json+"),
        (".well-known/webauthn", "application/json+"),
        (".well-known/passkey-endpoints", "application/json+"),
        (".well-known/host-meta", "application/xrd+xml+"),
        (".well-known/host-meta.json", "application/json+"),
        (".well-known/assetlinks.json", "application/json+"),
        (".well-known/did.json", "application/json+"),
        (".well-known/security.txt", "text/plain+"),
        (".well-known/mta-sts.txt", "text/plain+"),
        (".well-known/atproto-did", "text/plain+"),
        (".well-known/dnt", "application/tracking-status+json+"),
        (".well-known/pvd", "application/pvd+json+"),
        (".well-known/core", "application/link-format"),
        (".well-known/acme-challenge/LoqXcYV8", "application/octet-stream"),
        (".well-known/openpgpkey/hu/iy9q119eutrkn8s1", "application/octet-stream"),
        (".well-known/unknown", "application/octet-stream"),
        (".well-known", "application/octet-stream"),
        ("openid-configuration", "application/octet-stream"),
        ("well-known/webfinger", "application/octet-stream"),
    ]);
    assert!(WELL_KNOWN.is_sorted_by_key(|(name, _)| *name));
}

#[test]
fn extensions_of_any_case_and_form() {
    assert_types(&[
        ("A.HTML", "text/html+"),
        ("a.SvGz", "image/svg+xml+"),
        ("a.b.c.PNG", "image/png"),
        (".html", "text/html+"),
        ("a.disposition-notification", "message/disposition-notification"),
        ("a.x_b", "model/vnd.parasolid.transmit.binary"),
        // Nothing of the table's own form is taken for an extension.
        ("a.html text/html\nhtml", "application/octet-stream"),
        ("a.html ", "application/octet-stream"),
        ("a.html\n", "application/octet-stream"),
        ("a. ", "application/octet-stream"),
        ("a.\n", "application/octet-stream"),
        ("a.\u{e9}", "application/octet-stream"),
        ("a.1234567890123456789012345", "application/octet-stream"),
        ("", "application/octet-stream"),
        (".", "application/octet-stream"),
    ]);
}

#[test]
fn the_table_is_what_the_search_needs() {
    let lines: Vec<(&str, &str)> = TYPES.lines().map(|line| line.split_once(' ').unwrap()).collect();
    assert!(lines.len() > 1_200 && TYPES.ends_with('\n'));
    assert!(lines.is_sorted_by(|(one, _), (other, _)| one < other), "sorted, each once");
    for (extension, essence) in &lines {
        assert!(extension.len() <= EXTENSION_MAX, "{extension}");
        assert!(extension.bytes().all(|byte| byte.is_ascii_graphic() && !byte.is_ascii_uppercase()));
        assert!(essence.bytes().all(|byte| byte.is_ascii_graphic()) && essence.contains('/'), "{essence}");
        assert_eq!(by_extension(extension.as_bytes()), Some(*essence), "{extension}");
    }
    // What is said in own.txt is in the table.
    for line in include_str!("own.txt").lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let words: Vec<_> = line.splitn(3, ' ').collect();
        assert!(lines.contains(&(words[0], words[1])), "{line}: run cargo xtask media");
    }
}
