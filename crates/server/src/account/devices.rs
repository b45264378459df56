//! "Your devices": the sessions of whoever is signed in.

use std::time::{Duration, SystemTime};

use askama::Template;
use axum::Form;
use axum::extract::State;
use axum::response::Response;
use cloakroom::store::Summary;
use cloakroom::{Error, SessionId, Subjects, Timestamp};
use cloakroom_tower::{Authenticated, Problem};
use serde::Deserialize;

use super::ago::Ago;
use super::demo::Account;
use super::{Devices, login};
use crate::page::{self, Frame};

/// More than anybody looks through.
const DEVICES_MAX: usize = 50;

const PATH: &str = "/devices";

#[derive(Template)]
#[template(path = "devices.html")]
struct DevicesPage {
    frame: Frame,
    name: &'static str,
    devices: Vec<Device>,
    /// There are others that are not shown.
    more: bool,
}

#[derive(Template)]
#[template(path = "devices_unlisted.html")]
struct UnlistedPage {
    frame: Frame,
    name: &'static str,
}

struct Device {
    id: SessionId,
    label: String,
    is_this_one: bool,
    signed_in: Ago,
    last_active: Ago,
}

#[derive(Deserialize)]
pub(super) struct SignOutForm {
    session: String,
}

pub(super) async fn show(
    visitor: Authenticated,
    State(subjects): State<Subjects>,
) -> Result<Response, Problem> {
    let mut listed = subjects.list(&visitor.subject, None, DEVICES_MAX + 1).await?;
    let more = listed.len() > DEVICES_MAX;
    listed.truncate(DEVICES_MAX);
    // This one first, then the most recently used.
    listed.sort_by_key(|summary| (Some(summary.id) != visitor.id(), std::cmp::Reverse(summary.times.active)));
    let now = SystemTime::now();
    let devices = listed.into_iter().map(|summary| Device::new(summary, visitor.id(), now)).collect();
    let (frame, name) = (Frame::of(&visitor)?, name_of(&visitor));
    Ok(page::render_private(&DevicesPage { frame, name, devices, more }))
}

/// Where nobody can tell which devices there are, that is said.
pub(super) async fn show_none(visitor: Authenticated) -> Result<Response, Problem> {
    let (frame, name) = (Frame::of(&visitor)?, name_of(&visitor));
    Ok(page::render_private(&UnlistedPage { frame, name }))
}

fn name_of(visitor: &Authenticated) -> &'static str {
    Account::signed_in(visitor).map_or("the user", |account| account.name)
}

pub(super) async fn sign_out(
    visitor: Authenticated,
    State(subjects): State<Subjects>,
    Form(form): Form<SignOutForm>,
) -> Result<Response, Problem> {
    let ended = match form.session.parse::<SessionId>() {
        // One's own sessions only: the library checks whose it is.
        Ok(id) => subjects.end_one(&visitor.subject, id).await?,
        Err(_) => false,
    };
    let message = if ended { "Signed out that device." } else { "That device was signed out already." };
    Ok(page::redirect_saying(&visitor, PATH, message)?)
}

pub(super) async fn sign_out_others(
    visitor: Authenticated,
    State(devices): State<Devices>,
) -> Result<Response, Problem> {
    let message = match devices.end_others(&visitor).await? {
        None => "Signed out everywhere else.".to_owned(),
        Some(0) => "No other device was signed in.".to_owned(),
        Some(1) => "Signed out one other device.".to_owned(),
        Some(count) => format!("Signed out {count} other devices."),
    };
    Ok(page::redirect_saying(&visitor, PATH, &message)?)
}

/// The others first: if this one can't be signed out after that, it can still be tried again.
pub(super) async fn sign_out_everywhere(
    visitor: Authenticated,
    State(devices): State<Devices>,
) -> Result<Response, Problem> {
    devices.end_others(&visitor).await?;
    visitor.logout()?;
    Ok(login::goodbye())
}

impl Devices {
    /// How many there were; `None` if that can't be told.
    async fn end_others(&self, visitor: &Authenticated) -> Result<Option<usize>, Error> {
        let ended = match self {
            Self::Listed(subjects) => Some(subjects.end(&visitor.subject, visitor.id()).await?),
            Self::Unlisted(revocations) => revocations.end(&visitor.subject, visitor.id()).await?,
        };
        Ok(ended.map(|ended| ended.len()))
    }
}

impl Device {
    fn new(summary: Summary, this: Option<SessionId>, now: SystemTime) -> Self {
        Self {
            id: summary.id,
            label: summary.client.as_deref().unwrap_or("Unknown device").to_owned(),
            is_this_one: Some(summary.id) == this,
            signed_in: Ago::new(system_time(summary.times.started), now),
            last_active: Ago::new(system_time(summary.times.active), now),
        }
    }

    fn is_phone(&self) -> bool {
        self.label.contains("iPhone") || self.label.contains("Android")
    }
}

/// A time that the system can't hold would be a stored one gone wrong; it shows as long ago.
fn system_time(at: Timestamp) -> SystemTime {
    SystemTime::UNIX_EPOCH
        .checked_add(Duration::from_millis(at.as_millis()))
        .unwrap_or(SystemTime::UNIX_EPOCH)
}
