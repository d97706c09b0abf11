//! Chromium by its debugging protocol over a pipe: JSON messages that end with a zero byte.

use crate::program::Result;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

/// How long the browser may take for an answer before it counts as hung.
const PATIENCE: Duration = Duration::from_secs(60);
/// Messages that wait here to be read; a browser that says more waits itself.
const MESSAGES_MAX: usize = 1024;

/// A running browser; it ends with this.
pub(super) struct Browser {
    child: Child,
    to: ChildStdin,
    from: Receiver<Value>,
    /// Events that came while an answer was waited for.
    events: VecDeque<Event>,
    last_id: u64,
}

/// What the browser tells unasked.
pub(super) struct Event {
    pub(super) method: String,
    pub(super) params: Value,
}

impl Browser {
    /// Starts one with a new profile in `folder`, that accepts certificates of the public key with this hash (SHA-256, Base64)
    /// and no others.
    pub(super) fn start(folder: &Path, key_hash: &str) -> Result<Browser> {
        let profile = crate::program::fresh_folder(folder.join("profile"))?;
        // The pipe's ends are descriptors 3 and 4.
        let mut command = Command::new("sh");
        command.args(["-c", r#"exec "$@" 3<&0 4>&1 </dev/null >/dev/null"#, "sh", "chromium"]);
        command.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]);
        command.args(["--disable-background-networking", "--disable-component-update", "--disable-sync"]);
        command.args(["--disable-dev-shm-usage", "--hide-scrollbars", "--remote-debugging-pipe"]);
        command.arg(format!("--ignore-certificate-errors-spki-list={key_hash}"));
        command.arg(format!("--user-data-dir={}", profile.display())).env("HOME", &profile);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.stderr(File::create(folder.join("chromium.log"))?).spawn()?;
        let (Some(to), Some(from)) = (child.stdin.take(), child.stdout.take()) else {
            return Err("no pipe to the browser".into());
        };
        let (sender, receiver) = sync_channel(MESSAGES_MAX);
        std::thread::spawn(move || {
            let mut from = BufReader::new(from);
            let mut message = Vec::new();
            while from.read_until(0, &mut message).is_ok_and(|length| length > 0) {
                message.pop_if(|last| *last == 0);
                let Ok(value) = serde_json::from_slice(&message) else { break };
                if sender.send(value).is_err() {
                    break;
                }
                message.clear();
            }
        });
        Ok(Browser { child, to, from: receiver, events: VecDeque::new(), last_id: 0 })
    }

    /// Opens a page without memory of any other, and has it and its workers tell what they do. Returns its session.
    pub(super) fn open(&mut self) -> Result<String> {
        let context = self.call("", "Target.createBrowserContext", &json!({}))?;
        let page = json!({ "url": "about:blank", "browserContextId": context["browserContextId"] });
        let target = self.call("", "Target.createTarget", &page)?;
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let attached = self.call("", "Target.attachToTarget", &attach)?;
        let session = attached["sessionId"].as_str().ok_or("a page without a session")?.to_owned();
        self.watch(&session)?;
        self.call(&session, "Page.enable", &json!({}))?;
        let size = json!({ "width": 1280, "height": 900, "deviceScaleFactor": 1, "mobile": false });
        self.call(&session, "Emulation.setDeviceMetricsOverride", &size)?;
        Ok(session)
    }

    /// Has a session tell what it requests and what it complains about, and wait with its workers until the same is said to them.
    fn watch(&mut self, session: &str) -> Result<()> {
        for domain in ["Network", "Runtime", "Log"] {
            // A worker may have no log of its own.
            let done = self.call(session, &format!("{domain}.enable"), &json!({}));
            if domain != "Log" {
                done?;
            }
        }
        let workers = json!({ "autoAttach": true, "waitForDebuggerOnStart": true, "flatten": true });
        self.call(session, "Target.setAutoAttach", &workers)?;
        Ok(())
    }

    /// Calls a method of the protocol and waits for its result.
    pub(super) fn call(&mut self, session: &str, method: &str, params: &Value) -> Result<Value> {
        self.last_id += 1;
        let id = self.last_id;
        let mut message = json!({ "id": id, "method": method, "params": params });
        if !session.is_empty() {
            message["sessionId"] = json!(session);
        }
        let mut bytes = message.to_string().into_bytes();
        bytes.push(0);
        self.to.write_all(&bytes)?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let message = self
                .receive(deadline.saturating_duration_since(Instant::now()))?
                .ok_or_else(|| format!("the browser does not answer {method}"))?;
            if message["id"].as_u64() != Some(id) {
                self.events.extend(event(message));
            } else if let Some(error) = message["error"]["message"].as_str() {
                return Err(format!("{method}: {error}").into());
            } else {
                return Ok(message["result"].clone());
            }
        }
    }

    /// The next event, if one comes in time. Workers that appear are watched and let go on.
    pub(super) fn event(&mut self, patience: Duration) -> Result<Option<Event>> {
        let event = match self.events.pop_front() {
            Some(event) => Some(event),
            None => self.receive(patience)?.and_then(event),
        };
        if let Some(event) = &event
            && event.method == "Target.attachedToTarget"
            && let Some(worker) = event.params["sessionId"].as_str()
        {
            let worker = worker.to_owned();
            self.watch(&worker)?;
            self.call(&worker, "Runtime.runIfWaitingForDebugger", &json!({}))?;
        }
        Ok(event)
    }

    /// The value of a JavaScript expression, awaited.
    pub(super) fn evaluate(&mut self, session: &str, expression: &str) -> Result<Value> {
        let params = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let done = self.call(session, "Runtime.evaluate", &params)?;
        if let Some(text) = done["exceptionDetails"]["text"].as_str() {
            return Err(format!("{expression}: {text}").into());
        }
        Ok(done["result"]["value"].clone())
    }

    /// A picture of what is to be seen, as PNG.
    pub(super) fn screenshot(&mut self, session: &str) -> Result<Vec<u8>> {
        let shot = self.call(session, "Page.captureScreenshot", &json!({ "format": "png" }))?;
        Ok(decode_base64(shot["data"].as_str().unwrap_or_default()).ok_or("the picture is not Base64")?)
    }

    fn receive(&mut self, patience: Duration) -> Result<Option<Value>> {
        match self.from.recv_timeout(patience) {
            Ok(message) => Ok(Some(message)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err("chromium ended (see chromium.log)".into()),
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Asked nicely it ends all of its processes.
        if self.call("", "Browser.close", &json!({})).is_err() {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

fn event(mut message: Value) -> Option<Event> {
    let method = message["method"].as_str()?.to_owned();
    Some(Event { method, params: message["params"].take() })
}

/// RFC 4648 §4.
fn decode_base64(text: &str) -> Option<Vec<u8>> {
    let text = text.trim_end_matches('=').as_bytes();
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3 + 3);
    for group in text.chunks(4) {
        let mut bits = 0_u32;
        for &symbol in group {
            let value = match symbol {
                b'A'..=b'Z' => symbol - b'A',
                b'a'..=b'z' => symbol - b'a' + 26,
                b'0'..=b'9' => symbol - b'0' + 52,
                b'+' => 62,
                b'/' => 63,
                _ => return None,
            };
            bits = bits << 6 | u32::from(value);
        }
        bits <<= 6 * (4 - group.len());
        // Four symbols are three bytes, three are two, two are one.
        bytes.extend(bits.to_be_bytes().into_iter().skip(1).take(group.len() - 1));
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_decoded() {
        // RFC 4648 §10.
        assert_eq!(decode_base64("Zm9vYmFy").unwrap(), b"foobar");
        assert_eq!(decode_base64("Zm9vYmE=").unwrap(), b"fooba");
        assert_eq!(decode_base64("Zm9vYg==").unwrap(), b"foob");
        assert_eq!(decode_base64("").unwrap(), b"");
        assert_eq!(decode_base64("/+8=").unwrap(), [0xff, 0xef]);
        assert!(decode_base64("Zm9v-mFy").is_none());
    }

    #[test]
    fn an_event_is_told_from_an_answer() {
        let told = event(json!({ "method": "Page.loadEventFired", "params": { "a": 1 }, "sessionId": "S" }))
            .unwrap();
        assert_eq!(told.method, "Page.loadEventFired");
        assert_eq!(told.params, json!({ "a": 1 }));
        assert!(event(json!({ "id": 3, "result": {} })).is_none());
    }
}
