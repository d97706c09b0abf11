//! When an authority wants a certificate to be renewed (RFC 9773).

use super::{Manager, seconds};
use crate::outside::Level;
use crate::problem::Kind;
use crate::schedule::{self, DAY, Window};

impl Manager<'_> {
    /// Asks for the window of a certificate, and stores it.
    pub(super) fn ask(&mut self, place: usize) {
        let Some(held) = self.held.get(place) else { return };
        let Some((known, id)) = held.known.as_ref().and_then(|known| Some((known, known.id.clone()?))) else {
            return;
        };
        let (serial, seed, name) = (known.serial.clone(), known.seed, held.name.clone());
        let directory = held.record.authority.as_ref();
        let authority =
            self.plan.authorities.iter().find(|authority| Some(&authority.directory) == directory);
        let Some(authority) = authority.cloned() else { return };
        let answer = self.connected(&authority, false).and_then(|mut client| {
            let (mut outside, _) = self.patient();
            client.renewal_info(&id, &mut outside)
        });
        let now = self.now();
        let Some(held) = self.held.get_mut(place) else { return };
        let record = &mut held.record;
        let before = record.window.clone();
        match answer {
            Ok(Some(info)) => {
                let window = Window { start: seconds(info.start), end: seconds(info.end) };
                held.window_errors = 0;
                record.window = Some((serial, window));
                let after = info.again.map(|again| seconds(again).saturating_sub(now));
                record.ask_at = Some(schedule::ask_again(now, after, 0, seed));
            }
            Ok(None) => {
                record.window = None;
                record.ask_at = Some(now + DAY);
            }
            Err(failure) if failure.kind == Kind::Ending => return,
            Err(_) => {
                held.window_errors = held.window_errors.saturating_add(1);
                record.ask_at = Some(schedule::ask_again(now, None, held.window_errors, seed));
            }
        }
        let is_moved = before.is_some() && record.window.is_some() && before != record.window;
        let saved = self.store.save_record(&name, record);
        if is_moved {
            let text = format!("the authority wants the certificate of {name} renewed at another time");
            self.say(Level::Note, &text);
        }
        if let Err(error) = saved {
            self.say(Level::Warning, &error.to_string());
        }
    }
}
