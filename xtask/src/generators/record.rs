//! What a page did, out of the browser's events, and what is wrong with that.

use super::browser::Event;
use serde_json::Value;
use std::collections::BTreeMap;

/// What a page requested and what it complained about.
#[derive(Debug, Default)]
pub(super) struct Record {
    /// By the browser's identifier, not by session too: a page asks for its worker's script, and the worker gets it.
    requests: BTreeMap<String, Exchange>,
    /// Answers that led to another address: address and status.
    pub(super) redirects: Vec<(String, u64)>,
    complaints: Vec<Complaint>,
    /// The document has been loaded with everything that it names.
    pub(super) loaded: bool,
}

/// One request and its answer.
#[derive(Debug, Default)]
struct Exchange {
    url: String,
    /// As the browser calls it: Document, Script, Image…
    kind: String,
    status: u64,
    content_type: String,
    cache_control: String,
    /// Whether the answer is there, or will not come.
    ended: bool,
    /// Why it did not come.
    error: Option<String>,
}

#[derive(Debug)]
struct Complaint {
    text: String,
    /// What could not be loaded, where that is what it is about.
    url: String,
}

impl Record {
    /// Takes note of an event.
    pub(super) fn add(&mut self, event: &Event) {
        let params = &event.params;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let key = text(&params["requestId"]);
        match event.method.as_str() {
            "Network.requestWillBeSent" => {
                if let Some(status) = params["redirectResponse"]["status"].as_u64() {
                    self.redirects.push((text(&params["redirectResponse"]["url"]), status));
                }
                let (url, kind) = (text(&params["request"]["url"]), text(&params["type"]));
                self.requests.insert(key, Exchange { url, kind, ..Exchange::default() });
            }
            "Network.responseReceived" => {
                if let Some(exchange) = self.requests.get_mut(&key) {
                    let response = &params["response"];
                    exchange.status = response["status"].as_u64().unwrap_or_default();
                    exchange.content_type = header(&response["headers"], "content-type");
                    exchange.cache_control = header(&response["headers"], "cache-control");
                }
            }
            "Network.loadingFinished" => {
                if let Some(exchange) = self.requests.get_mut(&key) {
                    exchange.ended = true;
                }
            }
            "Network.loadingFailed" => {
                if let Some(exchange) = self.requests.get_mut(&key) {
                    exchange.ended = true;
                    exchange.error = Some(text(&params["errorText"]));
                }
            }
            "Runtime.consoleAPICalled"
                if matches!(params["type"].as_str(), Some("error" | "warning" | "assert")) =>
            {
                let said = params["args"].as_array().map_or(&[][..], Vec::as_slice);
                let words: Vec<String> =
                    said.iter().map(|arg| text(&arg["value"]) + &text(&arg["description"])).collect();
                self.complain(
                    format!("console.{}: {}", text(&params["type"]), words.join(" ")),
                    String::new(),
                );
            }
            "Runtime.exceptionThrown" => {
                let details = &params["exceptionDetails"];
                let what = text(&details["exception"]["description"]);
                self.complain(format!("{} {what}", text(&details["text"])), String::new());
            }
            "Log.entryAdded" if matches!(params["entry"]["level"].as_str(), Some("error" | "warning")) => {
                let entry = &params["entry"];
                self.complain(
                    format!("{}: {}", text(&entry["source"]), text(&entry["text"])),
                    text(&entry["url"]),
                );
            }
            "Page.loadEventFired" => self.loaded = true,
            _ => {}
        }
    }

    fn complain(&mut self, text: String, url: String) {
        self.complaints.push(Complaint { text, url });
    }

    /// Whether answers are still to come.
    pub(super) fn is_busy(&self) -> bool {
        self.requests.values().any(|exchange| !exchange.ended)
    }

    /// How many documents were requested: none, when a page changes without loading another.
    pub(super) fn documents(&self) -> usize {
        self.requests.values().filter(|exchange| exchange.kind == "Document").count()
    }

    /// Answers from `origin`, and how many of them may be kept for ever.
    pub(super) fn count(&self, origin: &str) -> (usize, usize) {
        let ours = || self.requests.values().filter(|exchange| exchange.url.starts_with(origin));
        (ours().count(), ours().filter(|exchange| exchange.cache_control.contains("immutable")).count())
    }

    /// Whether the address was answered with content.
    fn has(&self, url: &str) -> bool {
        self.requests.values().any(|exchange| exchange.url == url && exchange.status == 200)
    }

    /// Everything that is wrong. Documents must have `status`; all else 200, the media type of its name, and come from `origin`.
    pub(super) fn faults(&self, origin: &str, status: u64) -> Vec<String> {
        let mut faults = Vec::new();
        let mut excused = None;
        for exchange in self.requests.values().filter(|exchange| !exchange.url.starts_with("data:")) {
            let Some(path) = exchange.url.strip_prefix(origin) else {
                faults.push(format!("{}: a request to another site", exchange.url));
                continue;
            };
            let document = exchange.kind == "Document";
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
        // The browser says of a page that answers 404 what was expected of it.
        let complaints = self.complaints.iter();
        faults.extend(
            complaints
                .filter(|complaint| excused != Some(complaint.url.as_str()))
                .map(|complaint| complaint.text.clone()),
        );
        faults
    }
}

/// The value of a header line, whatever case its name is written in.
fn header(headers: &Value, name: &str) -> String {
    let mut all = headers.as_object().into_iter().flatten();
    let found = all.find(|(key, _)| key.eq_ignore_ascii_case(name)).and_then(|(_, value)| value.as_str());
    found.unwrap_or_default().to_owned()
}

/// What the media type must be, by IANA's registry.
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

    fn add(record: &mut Record, method: &str, params: Value) {
        record.add(&Event { method: method.into(), params });
    }

    fn exchange(record: &mut Record, id: &str, path: &str, kind: &str, status: u64, media: &str) {
        let request =
            json!({ "requestId": id, "type": kind, "request": { "url": format!("{ORIGIN}{path}") } });
        add(record, "Network.requestWillBeSent", request);
        let headers = json!({ "Content-type": media, "Cache-Control": "public, immutable" });
        add(
            record,
            "Network.responseReceived",
            json!({ "requestId": id, "response": { "status": status, "headers": headers } }),
        );
        assert!(record.is_busy());
        add(record, "Network.loadingFinished", json!({ "requestId": id }));
        assert!(!record.is_busy());
    }

    #[test]
    fn a_clean_page_has_no_faults() {
        let mut record = Record::default();
        exchange(&mut record, "1", "/docs/page", "Document", 200, "text/html; charset=utf-8");
        exchange(&mut record, "2", "/a.css?x=1.png", "Stylesheet", 200, "text/css");
        add(&mut record, "Runtime.consoleAPICalled", json!({ "type": "log", "args": [] }));
        assert_eq!(record.faults(ORIGIN, 200), [""; 0]);
        assert_eq!(record.count(ORIGIN), (2, 2));
        assert_eq!(record.documents(), 1);
    }

    #[test]
    fn what_is_wrong_is_found() {
        let mut record = Record::default();
        exchange(&mut record, "1", "/", "Document", 200, "text/html");
        exchange(&mut record, "2", "/a.js", "Script", 200, "text/plain; charset=utf-8");
        exchange(&mut record, "3", "/b.png", "Image", 404, "text/html");
        exchange(&mut record, "4", "/c.unknown", "Fetch", 200, "text/css");
        let elsewhere = json!({ "requestId": "5", "request": { "url": "https://example.com/x.js" } });
        add(&mut record, "Network.requestWillBeSent", elsewhere);
        let broken = json!({ "requestId": "6", "request": { "url": format!("{ORIGIN}/d.css") } });
        add(&mut record, "Network.requestWillBeSent", broken);
        add(&mut record, "Network.loadingFailed", json!({ "requestId": "6", "errorText": "net::ERR_RESET" }));
        let said = json!({ "type": "error", "args": [{ "value": "oh" }, { "description": "Error: no" }] });
        add(&mut record, "Runtime.consoleAPICalled", said);
        let thrown = json!({ "exceptionDetails": { "text": "Uncaught", "exception": { "description": "TypeError" } } });
        add(&mut record, "Runtime.exceptionThrown", thrown);
        add(
            &mut record,
            "Log.entryAdded",
            json!({ "entry": { "level": "error", "source": "network", "text": "404" } }),
        );
        let expected = [
            "/a.js: of type \"text/plain\", not text/javascript",
            "/b.png: answered 404, not 200",
            "/c.unknown: which type should that have? (text/css)",
            "https://example.com/x.js: a request to another site",
            "/d.css: net::ERR_RESET",
            "console.error: oh Error: no",
            "Uncaught TypeError",
            "network: 404",
        ];
        assert_eq!(record.faults(ORIGIN, 200), expected);
    }

    #[test]
    fn an_error_page_may_be_one_and_nothing_else() {
        let mut record = Record::default();
        exchange(&mut record, "1", "/nothing", "Document", 404, "text/html");
        let entry = |path: &str| json!({ "entry": { "level": "error", "source": "network", "text": "404", "url": format!("{ORIGIN}{path}") } });
        add(&mut record, "Log.entryAdded", entry("/nothing"));
        assert_eq!(record.faults(ORIGIN, 404), [""; 0]);
        assert_eq!(record.faults(ORIGIN, 200), ["/nothing: answered 404, not 200", "network: 404"]);
        add(&mut record, "Log.entryAdded", entry("/a.css"));
        assert_eq!(record.faults(ORIGIN, 404), ["network: 404"]);
    }

    #[test]
    fn not_modified_needs_something_that_was_not() {
        let mut record = Record::default();
        exchange(&mut record, "1", "/a.css", "Stylesheet", 200, "text/css");
        exchange(&mut record, "2", "/a.css", "Stylesheet", 304, "");
        exchange(&mut record, "3", "/b.css", "Stylesheet", 304, "");
        assert_eq!(record.faults(ORIGIN, 200), ["/b.css: answered 304, not 200"]);
    }

    #[test]
    fn redirects_are_kept_apart() {
        let mut record = Record::default();
        let first =
            json!({ "requestId": "1", "type": "Document", "request": { "url": format!("{ORIGIN}/docs") } });
        add(&mut record, "Network.requestWillBeSent", first);
        let second = json!({ "requestId": "1", "type": "Document", "request": { "url": format!("{ORIGIN}/docs/") },
            "redirectResponse": { "url": format!("{ORIGIN}/docs"), "status": 301 } });
        add(&mut record, "Network.requestWillBeSent", second);
        assert_eq!(record.redirects, [(format!("{ORIGIN}/docs"), 301)]);
        assert_eq!(record.documents(), 1);
    }
}
