//! Where the socket is.

use std::path::{Path, PathBuf};

use crate::error::{Error, printable};

/// The socket, where neither a flag nor the configuration names one.
pub const SOCKET: &str = "/run/sitar/admin.sock";
/// The configuration that is looked at without `--config`, if it is there.
pub const CONFIGURATION: &str = "/etc/sitar/sitar.toml";

/// Returns the path of the socket: the flag's, else that of the configuration, else [`SOCKET`].
///
/// # Errors
/// The configuration cannot be read.
pub(super) fn socket(flag: Option<&Path>, configuration: Option<&Path>) -> Result<PathBuf, Error> {
    if let Some(flag) = flag {
        return Ok(flag.to_owned());
    }
    let standard = Path::new(CONFIGURATION);
    let file = configuration.or_else(|| standard.exists().then_some(standard));
    let configured = file.map(socket_from_config).transpose()?.flatten();
    Ok(configured.unwrap_or_else(|| SOCKET.into()))
}

/// Returns the socket that a configuration names.
fn socket_from_config(file: &Path) -> Result<Option<PathBuf>, Error> {
    Err(Error::new(format!("cannot read the configuration {}", printable(file)))
        .hint("name the socket: --socket PATH"))
}
