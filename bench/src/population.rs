//! A store full of sessions, made through the public API.

use std::sync::Arc;

use clap::ValueEnum;
use cloakroom::{Sessions, Subject};

use crate::apps::{CSRF, ROLES, USER};

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    Cloakroom,
    Peer,
}

/// What each session holds besides its roles, `["user"]`, and a CSRF token of 32 characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Shape {
    /// The user id, as 36 characters of data.
    Data,
    /// The user id as the session's subject, in the index.
    Subject,
    /// The same, and what browser it is.
    SubjectAndClient,
}

impl Kind {
    pub fn argument(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

impl Shape {
    pub fn argument(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

pub struct Population {
    store: Store,
    shape: Shape,
}

enum Store {
    Cloakroom(Sessions),
    Peer(Arc<tower_sessions::MemoryStore>),
}

/// What a browser would send back.
pub enum Token {
    Cloakroom(Box<[u8]>),
    Peer(tower_sessions::session::Id),
}

const USER_AGENT: &[u8] = b"Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101 Firefox/130.0";

impl Population {
    pub fn new(kind: Kind, shape: Shape) -> Self {
        let store = match kind {
            Kind::Cloakroom => Store::Cloakroom(
                Sessions::builder(cloakroom::MemoryStore::new()).build().expect("the defaults hold"),
            ),
            Kind::Peer => Store::Peer(Arc::default()),
        };
        Self { store, shape }
    }

    /// The sessions, if they are Cloakroom's.
    pub fn sessions(&self) -> Option<&Sessions> {
        match &self.store {
            Store::Cloakroom(sessions) => Some(sessions),
            Store::Peer(_) => None,
        }
    }

    /// The store, if it is the peer's.
    pub fn peer_store(&self) -> Option<tower_sessions::MemoryStore> {
        match &self.store {
            Store::Cloakroom(_) => None,
            Store::Peer(store) => Some((**store).clone()),
        }
    }

    /// Begins and stores one session, as the first request of a visitor does.
    pub async fn create(&self, index: usize) -> Token {
        let (user, csrf) = (user_id(index), csrf_token(index));
        match &self.store {
            Store::Cloakroom(sessions) => {
                let exchange = sessions.begin();
                let client = (self.shape == Shape::SubjectAndClient).then_some(USER_AGENT);
                let session = exchange.session(std::iter::empty(), client).await.expect("memory answers");
                let changed = (|| {
                    if self.shape == Shape::Data {
                        session.insert(USER, &user)?;
                    } else {
                        session.login(Subject::new(&user)?)?;
                    }
                    session.insert(ROLES, &vec!["user".to_owned()])?;
                    session.insert(CSRF, &csrf)
                })();
                changed.expect("it is small enough");
                let outcome = exchange.commit().await.expect("memory stores");
                let set_cookie = outcome.set_cookie.expect("a new session sets a cookie");
                let pair = set_cookie.expose().split(';').next().unwrap_or_default();
                Token::Cloakroom(pair.as_bytes().into())
            }
            Store::Peer(store) => {
                let session = tower_sessions::Session::new(None, Arc::clone(store) as Arc<_>, None);
                let stored = async {
                    session.insert("user", user).await?;
                    session.insert("roles", ["user"]).await?;
                    session.insert("csrf", csrf).await?;
                    session.save().await
                };
                stored.await.expect("memory stores");
                Token::Peer(session.id().expect("it was stored"))
            }
        }
    }

    /// Loads one session, and gets one value of it.
    pub async fn read(&self, token: &Token) -> String {
        let found = match (&self.store, token) {
            (Store::Cloakroom(sessions), Token::Cloakroom(cookie)) => {
                let exchange = sessions.begin();
                let session =
                    exchange.session(std::iter::once(&**cookie), None).await.expect("memory answers");
                session.get(CSRF).expect("it is a text")
            }
            (Store::Peer(store), Token::Peer(id)) => {
                let session = tower_sessions::Session::new(Some(*id), Arc::clone(store) as Arc<_>, None);
                session.get("csrf").await.expect("it is a text")
            }
            _ => None,
        };
        found.expect("it was stored")
    }
}

/// Written as UUIDs are: 36 characters, another for each session.
fn user_id(index: usize) -> String {
    format!("6f1c2f5e-3c0b-4f0e-9a55-{index:012x}")
}

fn csrf_token(index: usize) -> String {
    format!("{:032x}", (index as u128).wrapping_mul(0x9b2f_0c7d_5e8a_41c6_b3d0_7f6e_2a95_c815))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_payload_has_the_stated_size() {
        for index in [0, 1, 999_999] {
            assert_eq!((user_id(index).len(), csrf_token(index).len()), (36, 32));
        }
    }

    #[test]
    fn what_was_created_can_be_read() {
        crate::runtime().block_on(async {
            for kind in [Kind::Cloakroom, Kind::Peer] {
                let population = Population::new(kind, Shape::Data);
                let token = population.create(7).await;
                assert_eq!(population.read(&token).await, csrf_token(7));
            }
        });
    }
}
