//! The demo's accounts. They guard nothing, so their passwords stand in the open: here and on the sign-in page.

use cloakroom::Session;

/// Somebody who can sign in.
#[derive(Debug)]
pub(crate) struct Account {
    /// The session's subject.
    pub(crate) user: &'static str,
    pub(crate) name: &'static str,
    pub(crate) password: &'static str,
}

pub(crate) static ACCOUNTS: [Account; 2] = [
    Account { user: "ada", name: "Ada", password: "umbrella" },
    Account { user: "grace", name: "Grace", password: "bowler" },
];

impl Account {
    /// Whoever the session belongs to.
    pub(crate) fn signed_in(session: &Session) -> Option<&'static Account> {
        Account::of(session.subject()?.as_str())
    }

    fn of(user: &str) -> Option<&'static Account> {
        ACCOUNTS.iter().find(|account| account.user == user)
    }

    /// The account these open. (Real passwords are hashed, and compared in constant time.)
    pub(crate) fn opened_by(user: &str, password: &str) -> Option<&'static Account> {
        Account::of(user).filter(|account| account.password == password)
    }

    pub(crate) fn initial(&self) -> &'static str {
        &self.name[..1]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_opens_with_its_own_password_only() {
        assert_eq!(Account::opened_by("ada", "umbrella").map(|account| account.name), Some("Ada"));
        assert!(Account::opened_by("ada", "bowler").is_none());
        assert!(Account::opened_by("eve", "").is_none());
    }
}
