//! Priorities as clients signal them (RFC 9218 §4). Those of RFC 7540 are ignored (RFC 9113
//! §5.3.2).

use crate::chars::trim;

/// The priority of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Priority {
    /// 0 first, 7 last (RFC 9218 §4.1).
    pub(super) urgency: u8,
    /// Whether a part of the response is useful already, so that several of them take turns (§4.2).
    pub(super) incremental: bool,
}

impl Priority {
    /// RFC 9218 §4
    pub(super) const DEFAULT: Priority = Priority { urgency: 3, incremental: false };

    /// Reads a Structured Fields dictionary (RFC 8941 §3.2) as far as these two members need it.
    /// Unknown members count as absent, and so do values of another type or out of range, and all
    /// that is no dictionary (RFC 9218 §4).
    pub(super) fn parse(value: &[u8]) -> Priority {
        let mut priority = Priority::DEFAULT;
        for member in value.split(|&byte| byte == b',').take(MEMBERS_MAX).map(trim) {
            // Parameters of a member (`u=1;x`) say nothing here.
            let bare = member.split(|&byte| byte == b';').next().unwrap_or(member);
            match bare {
                [b'u', b'=', digit @ b'0'..=b'7'] => priority.urgency = digit - b'0',
                b"i" | b"i=?1" => priority.incremental = true,
                b"i=?0" => priority.incremental = false,
                _ => {}
            }
        }
        priority
    }
}

/// Members of a dictionary that are read.
const MEMBERS_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    // RFC 9218 §4
    #[test]
    fn urgency_and_incremental() {
        let priority = |value: &str| {
            let Priority { urgency, incremental } = Priority::parse(value.as_bytes());
            (urgency, incremental)
        };
        assert_eq!(priority(""), (3, false));
        assert_eq!(priority("u=0"), (0, false));
        assert_eq!(priority("u=5, i"), (5, true));
        assert_eq!(priority("i,u=7"), (7, true));
        assert_eq!(priority("i=?1"), (3, true));
        assert_eq!(priority("i=?0"), (3, false));
        assert_eq!(priority("u=1;a=b, x=9, i;q"), (1, true));
        assert_eq!(priority("u=1, u=2"), (2, false), "the last of a name counts");
        for ignored in ["u=8", "u=-1", "u=1.5", "u=\"1\"", "u", "U=1", "i=1", "garbage \x00", "u=11"] {
            assert_eq!(priority(ignored), (3, false), "{ignored}");
        }
    }
}
