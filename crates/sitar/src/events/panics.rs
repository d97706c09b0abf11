//! Panics as events. A shard that panics is started again, and the server goes on.

use std::panic::{self, PanicHookInfo};
use std::thread;

use super::{Event, Form, Level, form};

/// Has panics of this process be events. Where `RUST_BACKTRACE` asks for more than that, the
/// standard library prints it as well, unless events are JSON.
pub(super) fn catch() {
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        event(info).say();
        let wants_more = std::env::var_os("RUST_BACKTRACE").is_some_and(|value| value != "0");
        if wants_more && form() == Form::Text {
            before(info);
        }
    }));
}

fn event(info: &PanicHookInfo<'_>) -> Event {
    let payload = info.payload();
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    let why = text.unwrap_or("no message");
    let thread = thread::current();
    let name = thread.name().unwrap_or("without a name");
    let place = info.location().map(ToString::to_string).unwrap_or_default();
    Event::new(Level::Error, format!("the thread '{name}' panicked at {place}: {why}"))
        .with("thread", name)
        .with("place", place)
}
