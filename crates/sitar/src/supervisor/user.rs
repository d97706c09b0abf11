//! The user that serves.

use std::fs;
use std::io;

use crate::error::Error;
use crate::handover::User;

const USERS: &str = "/etc/passwd";

/// Returns the user that a worker becomes. `None`: it stays who this process is.
///
/// # Errors
/// There is no such user, or this process cannot become another.
pub(super) fn of_worker(wanted: Option<&str>) -> Result<Option<User>, Error> {
    let Some(wanted) = wanted else { return Ok(None) };
    let users = fs::read_to_string(USERS);
    let user = find(wanted, users.as_deref().unwrap_or_default()).ok_or_else(|| {
        let error = Error::new(format!("there is no user '{wanted}' (user in [server])"));
        let error = users.err().map(|why| unreadable(&why)).into_iter().fold(error, Error::cause);
        error.hint(format!("make it: useradd --system --no-create-home --shell /usr/sbin/nologin {wanted}"))
    })?;
    let own = rustix::process::geteuid();
    if own.as_raw() == user.uid {
        return Ok(None);
    }
    if !own.is_root() {
        return Err(Error::new(format!("this process cannot become user '{wanted}' (user in [server])"))
            .cause(format!("it runs as user {}, and only root can", own.as_raw()))
            .hint("start sitar as root, or take 'user' out"));
    }
    Ok(Some(user))
}

fn unreadable(why: &io::Error) -> String {
    format!("{USERS}: {why}")
}

/// Finds a user by name or number in the text of passwd(5). A number that no line has stands for
/// itself, with a group of the same number.
fn find(wanted: &str, users: &str) -> Option<User> {
    let number = wanted.parse::<u32>().ok();
    let of_line = |line: &str| {
        let mut fields = line.split(':');
        let (name, uid, gid) = (fields.next()?, fields.nth(1)?, fields.next()?);
        let user = User { uid: uid.parse().ok()?, gid: gid.parse().ok()? };
        (name == wanted || number == Some(user.uid)).then_some(user)
    };
    users.lines().find_map(of_line).or(number.map(|number| User { uid: number, gid: number }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_by_name_and_number() {
        let users = "root:x:0:0:root:/root:/bin/bash\nbroken\nsitar:x:998:997::/:/usr/sbin/nologin\n";
        assert_eq!(find("sitar", users), Some(User { uid: 998, gid: 997 }));
        assert_eq!(find("998", users), Some(User { uid: 998, gid: 997 }));
        assert_eq!(find("65534", users), Some(User { uid: 65534, gid: 65534 }));
        assert_eq!(find("nobody", users), None);
        assert_eq!(find("", users), None);
        assert_eq!(find("-1", users), None);
    }

    #[test]
    fn one_that_is_not_there_is_named() {
        let error = of_worker(Some("no-such-user")).unwrap_err().sentence();
        assert!(error.starts_with("there is no user 'no-such-user' (user in [server])"), "{error}");
        assert_eq!(of_worker(None), Ok(None));
    }
}
