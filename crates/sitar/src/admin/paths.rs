//! Where the socket is.

use std::path::{Path, PathBuf};

use crate::config::{self, DEFAULT_FILE};
use crate::error::{Error, printable, warn};

/// The socket, where neither a flag nor the configuration names one.
pub const SOCKET: &str = "/run/sitar/admin.sock";

/// Returns the path of the socket: the flag's, else that of the configuration, else [`SOCKET`]. The
/// configuration is the one that is named, else the one at [`DEFAULT_FILE`] if it is there.
///
/// # Errors
/// The configuration cannot be read, so that its socket is not known, and there is none at
/// [`SOCKET`].
pub(super) fn socket(flag: Option<&Path>, configuration: Option<&Path>) -> Result<PathBuf, Error> {
    if let Some(flag) = flag {
        return Ok(flag.to_owned());
    }
    let (standard, socket) = (Path::new(DEFAULT_FILE), Path::new(SOCKET));
    let Some(file) = configuration.or_else(|| standard.exists().then_some(standard)) else {
        return Ok(socket.to_owned());
    };
    match socket_of_config(file) {
        Ok(configured) => Ok(configured.unwrap_or_else(|| socket.to_owned())),
        // A server runs on when its configuration has been broken, and is asked all the more then.
        Err(_) if socket.exists() => {
            warn(&format!("the configuration {} has mistakes; asking at {SOCKET}", printable(file)));
            Ok(socket.to_owned())
        }
        Err(error) => Err(error),
    }
}

/// Returns the socket that a configuration names.
fn socket_of_config(file: &Path) -> Result<Option<PathBuf>, Error> {
    let problems = match config::read(file, &[]) {
        Ok(config) => return Ok(config.admin_socket),
        Err(problems) => problems,
    };
    let what = format!("cannot tell the admin socket from the configuration {}", printable(file));
    Err(problems.iter().fold(Error::new(what), Error::cause).hint("name the socket: --socket PATH"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_needs_no_configuration() {
        let found = socket(Some(Path::new("a.sock")), Some(Path::new("/nothing/sitar.toml")));
        assert_eq!(found, Ok(PathBuf::from("a.sock")));
    }

    #[test]
    fn a_configuration_that_cannot_be_read() {
        let error = socket_of_config(Path::new("/nothing/sitar.toml")).unwrap_err().to_string();
        let expected =
            "error: cannot tell the admin socket from the configuration /nothing/sitar.toml\n  cause: ";
        assert!(error.starts_with(expected), "{error}");
        assert!(error.ends_with("\n  hint: name the socket: --socket PATH"), "{error}");
    }
}
