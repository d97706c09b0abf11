//! The sites, and the visits to each.

use super::build;
use crate::program::{Places, Result};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// A site and the visits to it.
pub(super) struct Site {
    pub(super) name: &'static str,
    /// Builds it in a folder, and returns the folder of the files to serve.
    pub(super) build: fn(&Places, &Path) -> Result<PathBuf>,
    pub(super) visits: &'static [Visit],
}

/// One page, opened by a browser that knows nothing of the site yet.
pub(super) struct Visit {
    pub(super) path: &'static str,
    /// The page's own status.
    pub(super) status: u64,
    /// Status codes on the way to it.
    pub(super) redirects: &'static [u64],
    /// `location.pathname` in the end.
    pub(super) arrives: &'static str,
    /// A JavaScript expression that must become true.
    pub(super) proof: &'static str,
    pub(super) click: Option<Click>,
    /// The last part of the picture's name; empty for none.
    pub(super) picture: &'static str,
    /// Parts of the faults that must be found.
    pub(super) broken: &'static [&'static str],
}

/// A link to follow.
pub(super) struct Click {
    /// A CSS selector.
    pub(super) on: &'static str,
    pub(super) arrives: &'static str,
    pub(super) proof: &'static str,
    /// Whether the page changes by itself, without loading another document.
    pub(super) stays: bool,
}

impl Visit {
    /// Returns the order for `browser/visit.mjs`, with the picture's path if there is to be one.
    pub(super) fn order(&self, picture: Option<&Path>) -> Value {
        let click = self.click.as_ref();
        let click = click
            .map(|Click { on, arrives, proof, .. }| json!({ "on": on, "arrives": arrives, "proof": proof }));
        json!({
            "path": self.path,
            "arrives": self.arrives,
            "proof": self.proof,
            "click": click,
            "picture": picture,
        })
    }
}

const fn page(path: &'static str, proof: &'static str) -> Visit {
    Visit { path, status: 200, redirects: &[], arrives: path, proof, click: None, picture: "", broken: &[] }
}

/// A folder's page by its name without the slash.
const fn redirected(path: &'static str, arrives: &'static str, proof: &'static str) -> Visit {
    Visit { redirects: &[301], arrives, ..page(path, proof) }
}

const fn picture(picture: &'static str, visit: Visit) -> Visit {
    Visit { picture, ..visit }
}

const NOT_FOUND: &str =
    "document.title.includes('404') || document.body.innerText.includes('no page of that name')";

pub(super) const SITES: &[Site] = &[
    Site { name: "hugo", build: build::hugo, visits: HUGO },
    Site { name: "vite", build: build::vite, visits: VITE },
    Site { name: "docusaurus", build: build::docusaurus, visits: DOCUSAURUS },
    Site { name: "docusaurus-flat", build: build::docusaurus_flat, visits: DOCUSAURUS_FLAT },
];

/// The style sheet and the script have hashes in their names and in the page (subresource
/// integrity).
const HUGO: &[Visit] = &[
    picture("home", page("/", HUGO_WORKS)),
    Visit {
        click: Some(Click {
            on: "a[href='/posts/spring-tide/']",
            arrives: "/posts/spring-tide/",
            proof: "document.querySelectorAll('td').length == 4",
            stays: false,
        }),
        ..page("/", HUGO_WORKS)
    },
    picture("post", redirected("/posts/spring-tide", "/posts/spring-tide/", HUGO_WORKS)),
    picture("list", page("/posts/", HUGO_WORKS)),
    page("/posts/ebb-%C4%8D/", HUGO_WORKS),
    picture("404", Visit { status: 404, ..page("/posts/flood/", NOT_FOUND) }),
];
const HUGO_WORKS: &str = "document.documentElement.dataset.script == 'ran' \
    && getComputedStyle(document.querySelector('nav')).backgroundColor == 'rgb(22, 78, 99)' \
    && [...document.images].every(image => image.naturalWidth == 192)";

/// A module, one that is loaded late, WebAssembly, JSON and a worker: the list has an entry for
/// each.
const VITE: &[Visit] = &[
    picture("home", page("/", VITE_WORKS)),
    page("/index.html", VITE_WORKS),
    Visit {
        click: Some(Click {
            on: "a[href='/about.html']",
            arrives: "/about.html",
            proof: VITE_ABOUT,
            stays: false,
        }),
        ..page("/", VITE_WORKS)
    },
    picture("about", page("/about", VITE_ABOUT)),
];
const VITE_WORKS: &str = "document.documentElement.dataset.script == 'ran' \
    && document.querySelectorAll('li').length == 4 \
    && [...document.images].every(image => image.naturalWidth > 0)";
const VITE_ABOUT: &str = "getComputedStyle(document.body).color == 'rgb(70, 50, 30)'";

/// Links have no slash at the end, pages are folders (docusaurus.io, `trailingSlash`): the page is
/// reached either way, and changes by itself where a link is followed.
const DOCUSAURUS: &[Visit] = &[
    picture("home", page("/", BIRDS)),
    Visit {
        click: Some(Click {
            on: "main a[href='/docs/heron']",
            arrives: "/docs/heron",
            proof: HERON,
            stays: true,
        }),
        ..page("/", BIRDS)
    },
    picture("heron", redirected("/docs/heron", "/docs/heron/", HERON)),
    page("/docs/heron/", HERON),
    picture("swift", Visit { click: TO_SWIFT, ..redirected("/docs/heron", "/docs/heron/", HERON) }),
    picture("404", PENGUIN),
];
/// Links have no slash at the end, and neither have pages: no redirect.
const DOCUSAURUS_FLAT: &[Visit] = &[
    picture("heron", page("/docs/heron", HERON)),
    Visit { click: TO_SWIFT, ..page("/docs/heron", HERON) },
    page("/docs/swift", SWIFT),
    PENGUIN,
];
const TO_SWIFT: Option<Click> =
    Some(Click { on: "main a[href='/docs/swift']", arrives: "/docs/swift", proof: SWIFT, stays: true });
const PENGUIN: Visit =
    Visit { status: 404, ..page("/docs/penguin", "document.body.innerText.includes('Page Not Found')") };
const BIRDS: &str =
    "document.title == 'Bird watch' && document.documentElement.dataset.hasHydrated == 'true'";
/// Hydrated: the page's scripts have taken over from the file's text.
const HERON: &str = "document.title == 'Heron | Bird watch' \
    && document.documentElement.dataset.hasHydrated == 'true' \
    && [...document.images].every(image => image.naturalWidth > 0) \
    && getComputedStyle(document.querySelector('main p a')).color == 'rgb(22, 101, 52)'";
const SWIFT: &str = "document.title == 'Swift | Bird watch' \
    && document.querySelector('main h1').innerText == 'Swift'";

/// The control: faults of each kind, all of which must be noticed.
pub(super) const BROKEN: &[Visit] = &[Visit {
    broken: &[
        "/missing.png: answered 404, not 200",
        "/script.txt: ",
        "MIME type",
        "console.error: a deliberate error",
        "undefinedFunction is not defined",
        "a status of 404",
    ],
    ..page("/", "document.title == 'Broken on purpose'")
}];
