//! Where the socket is.

use std::path::{Path, PathBuf};

use crate::config::{self, DEFAULT_FILE};
use crate::error::{Error, printable, warn};

/// The socket, where neither a flag nor the configuration names one.
pub const SOCKET: &str = "/run/sitar/admin.sock";

/// Returns the path of the socket: the flag's, else that of the configuration, else this user's
/// where a server without a configuration has it, else [`SOCKET`]. The
/// configuration is the one that is named, else the one at [`DEFAULT_FILE`] if it is there.
///
/// # Errors
/// The configuration has mistakes or names no socket, and it is the one that was named, or there is
/// none at [`SOCKET`].
pub(crate) fn socket(flag: Option<&Path>, configuration: Option<&Path>) -> Result<PathBuf, Error> {
    if let Some(flag) = flag {
        return Ok(flag.to_owned());
    }
    let (standard, socket) = (Path::new(DEFAULT_FILE), Path::new(SOCKET));
    let Some(file) = configuration.or_else(|| standard.exists().then_some(standard)) else {
        let own = socket_of_domain().filter(|path| path.exists());
        return Ok(own.unwrap_or_else(|| socket.to_owned()));
    };
    socket_of_config(file).or_else(|error| {
        // A server runs on when its configuration has been broken, and is asked all the more then.
        // Where a file is named, another server may have that socket.
        if configuration.is_some() || !socket.exists() {
            return Err(error);
        }
        warn(&format!("the configuration {} tells no admin socket; asking at {SOCKET}", printable(file)));
        Ok(socket.to_owned())
    })
}

/// Returns the socket of a server without a configuration file (`--domain`): [`SOCKET`] for root,
/// and for others one in the folder that they have for such things, if they have one.
pub(crate) fn socket_of_domain() -> Option<PathBuf> {
    if rustix::process::geteuid().is_root() {
        return Some(SOCKET.into());
    }
    let folder = PathBuf::from(std::env::var_os("XDG_RUNTIME_DIR")?);
    folder.is_absolute().then(|| folder.join("sitar/admin.sock"))
}

/// Returns the socket that a configuration names.
fn socket_of_config(file: &Path) -> Result<PathBuf, Error> {
    let config = config::read(file, &[])
        .map_err(|problems| config::refused(&problems).hint("or name the admin socket: --socket PATH"))?;
    config.admin_socket.ok_or_else(|| {
        Error::new(format!("the configuration {} names no admin socket", printable(file)))
            .hint(format!("put at its top: admin.socket = \"{SOCKET}\""))
            .hint("or name the socket: --socket PATH")
    })
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
    fn the_socket_of_a_configuration() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("sitar.toml");
        let found = |text: &str| {
            std::fs::write(&file, text).unwrap();
            let shown = |text: String| text.replace(folder.path().to_str().unwrap(), "DIR");
            match socket_of_config(&file) {
                Ok(path) => shown(path.display().to_string()),
                Err(error) => shown(error.to_string()),
            }
        };
        let site = "[[site]]\nroot = \"public\"\n";
        assert_eq!(found(&format!("{site}[admin]\nsocket = \"/x/a.sock\"\n")), "/x/a.sock");
        assert_eq!(found(&format!("admin.socket = \"a.sock\"\n{site}")), "DIR/a.sock");
        assert_eq!(
            found(site),
            "error: the configuration DIR/sitar.toml names no admin socket\n  \
             hint: put at its top: admin.socket = \"/run/sitar/admin.sock\"\n  \
             hint: or name the socket: --socket PATH"
        );
        let broken = found(&format!("{site}rot = 1\n"));
        assert!(broken.starts_with("error: DIR/sitar.toml:3:1: unknown key 'rot'"), "{broken}");
        assert!(broken.ends_with("\n  hint: or name the admin socket: --socket PATH"), "{broken}");
        std::fs::remove_file(&file).unwrap();
        let missing = socket_of_config(&file).unwrap_err().to_string();
        assert!(missing.contains("sitar.toml: no such file\n"), "{missing}");
    }
}
