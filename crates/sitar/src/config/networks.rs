//! Lists of networks.

use sitar_server::{Network, NetworkError};

use super::problems::{Problems, quoted};
use super::section::Section;

/// Reads a list of networks, which is empty where the key is not there.
pub(super) fn read(name: &str, section: &Section, problems: &mut Problems) -> Vec<Network> {
    let mut networks = Vec::new();
    for text in section.texts(name) {
        if problems.is_full() {
            break;
        }
        match Network::parse(&text.text) {
            Ok(network) => networks.push(network),
            Err(why) => {
                let hint = match &why {
                    NetworkError::HostBits(network) => format!("did you mean \"{network}\"?"),
                    NetworkError::Form | NetworkError::Prefix(_) => {
                        format!("for example: {name} = [\"10.0.0.0/8\", \"2001:db8::/32\"]")
                    }
                };
                let what = format!("invalid network {} in '{name}': {why}", quoted(&text.text));
                problems.add_with(&text.place, what, hint);
            }
        }
    }
    networks
}
