//! The browser's report of a visit, and the faults in it.

use serde_json::Value;

/// The requests of a page, and its complaints.
#[derive(Debug, Default)]
pub(super) struct Record {
    /// The exchanges, in the order in which they were made.
    exchanges: Vec<Exchange>,
    complaints: Vec<Complaint>,
    /// Faults that the browser's script has found itself.
    pub(super) own: Vec<String>,
    /// Whether the page kept its memory when a link was followed. `None`: none was.
    pub(super) kept: Option<bool>,
}

/// One request and its answer.
#[derive(Debug)]
struct Exchange {
    url: String,
    /// Playwright's word: document, script, image…
    kind: String,
    /// The answer led to another address, which has an exchange of its own.
    redirected: bool,
    status: u64,
    content_type: String,
    cache_control: String,
    /// The reason why there is no answer.
    error: Option<String>,
}

#[derive(Debug)]
struct Complaint {
    text: String,
    /// The address that could not be loaded, where the complaint is about one.
    url: String,
}

impl Record {
    /// Reads a report of `browser/visit.mjs`. `None`: it lacks something.
    pub(super) fn read(report: &Value) -> Option<Record> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let complaint =
            |value: &Value| Some(Complaint { text: text(&value["text"])?, url: text(&value["url"])? });
        let exchange = |value: &Value| {
            Some(Exchange {
                url: text(&value["url"])?,
                kind: text(&value["kind"])?,
                redirected: value["redirected"].as_bool()?,
                status: value["status"].as_u64()?,
                content_type: text(&value["content_type"])?,
                cache_control: text(&value["cache_control"])?,
                error: text(&value["error"]),
            })
        };
        Some(Record {
            exchanges: report["exchanges"].as_array()?.iter().map(exchange).collect::<Option<_>>()?,
            complaints: report["complaints"].as_array()?.iter().map(complaint).collect::<Option<_>>()?,
            own: report["faults"].as_array()?.iter().map(text).collect::<Option<_>>()?,
            kept: report["kept"].as_bool(),
        })
    }

    /// Returns the exchanges that were not redirected.
    fn last(&self) -> impl Iterator<Item = &Exchange> {
        self.exchanges.iter().filter(|exchange| !exchange.redirected)
    }

    /// Returns the status codes of the redirects.
    pub(super) fn redirects(&self) -> Vec<u64> {
        self.exchanges.iter().filter(|exchange| exchange.redirected).map(|exchange| exchange.status).collect()
    }

    /// Returns the number of documents: one, when a page changes without loading another.
    pub(super) fn documents(&self) -> usize {
        self.last().filter(|exchange| exchange.kind == "document").count()
    }

    /// Returns the number of answers from `origin`, and of those that may be kept for ever.
    pub(super) fn count(&self, origin: &str) -> (usize, usize) {
        let ours = || self.last().filter(|exchange| exchange.url.starts_with(origin));
        (ours().count(), ours().filter(|exchange| exchange.cache_control.contains("immutable")).count())
    }

    /// Returns whether the address was answered with content.
    fn has(&self, url: &str) -> bool {
        self.last().any(|exchange| exchange.url == url && exchange.status == 200)
    }

    /// Returns all faults. Documents must have `status`; all else 200, the media type of its name,
    /// and come from `origin`.
    pub(super) fn faults(&self, origin: &str, status: u64) -> Vec<String> {
        let mut faults = Vec::new();
        let mut excused = None;
        for exchange in self.last().filter(|exchange| !exchange.url.starts_with("data:")) {
            let Some(path) = exchange.url.strip_prefix(origin) else {
                faults.push(format!("{}: a request to another site", exchange.url));
                continue;
            };
            let document = exchange.kind == "document";
            let expected = if document { status } else { 200 };
            if document && status != 200 {
                excused = Some(exchange.url.as_str());
            }
            if let Some(error) = &exchange.error {
                faults.push(format!("{path}: {error}"));
            } else if exchange.status == 304 && self.has(&exchange.url) {
                // A second page asked whether the first one's copy is still good.
            } else if exchange.status != expected {
                faults.push(format!("{path}: answered {}, not {expected}", exchange.status));
            } else {
                let media = if document { Some("text/html") } else { media_type(path) };
                let told = exchange.content_type.split(';').next().unwrap_or_default().trim();
                match media {
                    None => faults.push(format!("{path}: which type should that have? ({told})")),
                    Some(media) if media == told => {}
                    Some(media) => faults.push(format!("{path}: of type {told:?}, not {media}")),
                }
            }
        }
        // The browser complains about a page that answers 404, as it should here.
        let complaints = self.complaints.iter();
        faults.extend(
            complaints
                .filter(|complaint| excused != Some(complaint.url.as_str()))
                .map(|complaint| complaint.text.clone()),
        );
        faults
    }
}

/// Returns the media type that IANA's registry has for a file of this name.
fn media_type(path: &str) -> Option<&'static str> {
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let name = path.rsplit('/').next().unwrap_or_default();
    let Some((_, extension)) = name.rsplit_once('.') else { return Some("text/html") };
    Some(match extension {
        "css" => "text/css",
        "html" => "text/html",
        "js" | "mjs" => "text/javascript",
        "json" => "application/json",
        "png" => "image/png",
        "svg" => "image/svg+xml",
        "wasm" => "application/wasm",
        "webmanifest" => "application/manifest+json",
        "woff2" => "font/woff2",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const ORIGIN: &str = "https://127.0.0.1:1";

    fn exchange(path: &str, kind: &str, status: u64, media: &str) -> Value {
        json!({
            "url": format!("{ORIGIN}{path}"), "kind": kind, "redirected": status == 301, "status": status,
            "content_type": media, "cache_control": "public, immutable", "error": null,
        })
    }

    fn complaint(text: &str, path: &str) -> Value {
        json!({ "text": text, "url": format!("{ORIGIN}{path}") })
    }

    fn record(exchanges: &[Value], complaints: &[Value]) -> Record {
        let report = json!({ "exchanges": exchanges, "complaints": complaints, "faults": [], "kept": null });
        Record::read(&report).unwrap()
    }

    #[test]
    fn a_clean_page_has_no_faults() {
        let record = record(
            &[
                exchange("/docs/page", "document", 200, "text/html; charset=utf-8"),
                exchange("/a.css?x=1.png", "stylesheet", 200, "text/css"),
            ],
            &[],
        );
        assert_eq!(record.faults(ORIGIN, 200), [""; 0]);
        assert_eq!(record.count(ORIGIN), (2, 2));
        assert_eq!(record.documents(), 1);
    }

    #[test]
    fn what_is_wrong_is_found() {
        let mut elsewhere = exchange("", "script", 0, "");
        elsewhere["url"] = json!("https://example.com/x.js");
        let mut broken = exchange("/d.css", "stylesheet", 0, "");
        broken["error"] = json!("net::ERR_RESET");
        let record = record(
            &[
                exchange("/", "document", 200, "text/html"),
                exchange("/a.js", "script", 200, "text/plain; charset=utf-8"),
                exchange("/b.png", "image", 404, "text/html"),
                exchange("/c.unknown", "fetch", 200, "text/css"),
                elsewhere,
                broken,
            ],
            &[
                complaint("console.error: oh Error: no", ""),
                complaint("Uncaught TypeError", ""),
                complaint("console.error: 404", ""),
            ],
        );
        let expected = [
            "/a.js: of type \"text/plain\", not text/javascript",
            "/b.png: answered 404, not 200",
            "/c.unknown: which type should that have? (text/css)",
            "https://example.com/x.js: a request to another site",
            "/d.css: net::ERR_RESET",
            "console.error: oh Error: no",
            "Uncaught TypeError",
            "console.error: 404",
        ];
        assert_eq!(record.faults(ORIGIN, 200), expected);
    }

    #[test]
    fn an_error_page_may_be_one_and_nothing_else() {
        let page = [exchange("/nothing", "document", 404, "text/html")];
        let own = complaint("console.error: 404", "/nothing");
        let alone = record(&page, std::slice::from_ref(&own));
        assert_eq!(alone.faults(ORIGIN, 404), [""; 0]);
        assert_eq!(alone.faults(ORIGIN, 200), ["/nothing: answered 404, not 200", "console.error: 404"]);
        let another = record(&page, &[own, complaint("console.error: 404", "/a.css")]);
        assert_eq!(another.faults(ORIGIN, 404), ["console.error: 404"]);
    }

    #[test]
    fn not_modified_needs_something_that_was_not() {
        let record = record(
            &[
                exchange("/a.css", "stylesheet", 200, "text/css"),
                exchange("/a.css", "stylesheet", 304, ""),
                exchange("/b.css", "stylesheet", 304, ""),
            ],
            &[],
        );
        assert_eq!(record.faults(ORIGIN, 200), ["/b.css: answered 304, not 200"]);
    }

    #[test]
    fn redirects_are_kept_apart() {
        let pages =
            [exchange("/docs", "document", 301, ""), exchange("/docs/", "document", 200, "text/html")];
        let record = record(&pages, &[]);
        assert_eq!(record.redirects(), [301]);
        assert_eq!(record.documents(), 1);
        assert_eq!(record.faults(ORIGIN, 200), [""; 0]);
    }

    #[test]
    fn a_report_must_be_whole() {
        assert!(Record::read(&json!({ "exchanges": [], "complaints": [], "faults": [] })).is_some());
        assert!(Record::read(&json!({ "exchanges": [{}], "complaints": [], "faults": [] })).is_none());
        assert!(Record::read(&json!({ "exchanges": [], "faults": [] })).is_none());
    }
}
