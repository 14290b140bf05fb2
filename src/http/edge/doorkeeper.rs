//! Who is asking, and whether they may: the credential a request shows, and what it turns out to be worth.

use std::sync::{Arc, Mutex, PoisonError};

use poem::Request;
use poem::http::{HeaderMap, HeaderName, HeaderValue, header};

use super::routes::Route;
use crate::auth::{Authenticator, Denied, Grant};
use crate::connections::{Connections, Place, Redeemed, Unredeemed};
use crate::http::Identity;
use crate::http::problem::{Fault, Problem};
use crate::http::ws;
use crate::telemetry::metrics::{AuthMethod, AuthOutcome, Metrics};
use crate::words::{ErrorCode, Failure};

/// The operations that take a ticket: those a browser asks for without being able to send a header.
const TICKET_ROUTES: [&str; 2] = [ws::PATH, "/api/v1/turns/{turn_id}/events"];

/// The place that a ticket held, on its way to the handler; whoever takes it first has it.
#[derive(Clone)]
pub struct HeldPlace(Arc<Mutex<Option<Place>>>);

impl HeldPlace {
    /// Hands `place` on.
    pub fn new(place: Place) -> Self {
        Self(Arc::new(Mutex::new(Some(place))))
    }

    /// The place, once.
    pub fn take(&self) -> Option<Place> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Why a request does not get in.
#[derive(Debug)]
pub(super) struct TurnedAway {
    pub problem: Problem,
    /// Whether it counts as a failed attempt.
    pub is_failure: bool,
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

/// Looks at what requests show.
pub(super) struct Doorkeeper {
    auth: Arc<Authenticator>,
    connections: Arc<Connections>,
    metrics: Arc<Metrics>,
}

/// What a request shows.
enum Shown<'a> {
    Nothing,
    Bearer(&'a str),
    Ticket(&'a str),
    /// A credential in a form that is not taken, or more than one.
    Nonsense,
}

impl Doorkeeper {
    pub fn new(auth: Arc<Authenticator>, connections: Arc<Connections>, metrics: Arc<Metrics>) -> Self {
        Self { auth, connections, metrics }
    }

    /// Finds out who asks, and notes it in `identity`. A ticket is used up by this.
    pub async fn admit(
        &self,
        request: &mut Request,
        route: &Route,
        identity: &mut Identity,
    ) -> Result<(), TurnedAway> {
        let is_on = self.auth.is_on();
        let admitted = match shown(request, route) {
            Shown::Ticket(ticket) => {
                let redeemed = self.redeem(ticket).await?;
                identity.principal = redeemed.place.principal().clone();
                request.extensions_mut().insert(HeldPlace::new(redeemed.place));
                identity.grant = redeemed.grant;
                return Ok(());
            }
            _ if !is_on => return Ok(()),
            Shown::Nonsense => Err(Denied::Malformed),
            Shown::Nothing => self.auth.admit(None).await,
            Shown::Bearer(credential) => self.auth.admit(Some(credential)).await,
        };
        let grant = admitted.map_err(TurnedAway::from)?;
        identity.principal = grant.principal().clone();
        identity.grant = Some(Arc::new(grant));
        Ok(())
    }

    /// A ticket is as good as the credential it was given for: not longer, and not after that was revoked.
    async fn redeem(&self, ticket: &str) -> Result<Redeemed, TurnedAway> {
        let redeemed = self.connections.redeem(ticket).await;
        let stands = |grant: &Option<Arc<Grant>>| match grant {
            Some(grant) => self.auth.stands(grant),
            None => !self.auth.is_on(),
        };
        let redeemed = match redeemed {
            Ok(redeemed) if !stands(&redeemed.grant) => Err(Unredeemed::Unknown),
            other => other,
        };
        let outcome = match &redeemed {
            Ok(_) | Err(Unredeemed::Refused(_)) => AuthOutcome::Ok,
            Err(Unredeemed::Unknown) => AuthOutcome::Unknown,
            Err(Unredeemed::Unavailable) => AuthOutcome::Unavailable,
        };
        self.metrics.auth.attempts.inc(&(AuthMethod::Ticket, outcome));
        redeemed.map_err(|why| TurnedAway::by_ticket(why, self.auth.is_on()))
    }
}

/// At most one credential is taken (RFC 6750 §2).
fn shown<'a>(request: &'a Request, route: &Route) -> Shown<'a> {
    let takes_tickets = TICKET_ROUTES.contains(&route.pattern.as_str());
    let ticket = takes_tickets.then(|| ticket(request)).flatten();
    let protocol = (route.pattern == ws::PATH).then(|| ws::token_in_protocols(request.headers())).flatten();
    let bearer = bearer(request.headers());
    match (bearer, protocol, ticket) {
        (None, None, None) => Shown::Nothing,
        (Some(Ok(credential)), None, None) | (None, Some(credential), None) => Shown::Bearer(credential),
        (None, None, Some(ticket)) => Shown::Ticket(ticket),
        _ => Shown::Nonsense,
    }
}

/// The text after `Bearer`; an error where the header is there, but not that.
fn bearer(headers: &HeaderMap) -> Option<Result<&str, ()>> {
    let mut lines = headers.get_all(header::AUTHORIZATION).into_iter();
    let (line, more) = (lines.next()?, lines.next());
    let credential = line.to_str().ok().and_then(|text| text.split_once(' ')).filter(|_| more.is_none());
    let credential = credential.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    Some(credential.map(|(_, credential)| credential.trim()).ok_or(()))
}

fn ticket(request: &Request) -> Option<&str> {
    request.uri().query()?.split('&').find_map(|pair| pair.strip_prefix("ticket="))
}

impl TurnedAway {
    fn by_ticket(why: Unredeemed, auth_is_on: bool) -> Self {
        match why {
            Unredeemed::Unknown if auth_is_on => Denied::Unknown.into(),
            Unredeemed::Unknown => {
                let detail = "must be a ticket of the last 30 s that was not used yet";
                let failure = Failure::new(ErrorCode::InvalidRequest, "The ticket is not valid.");
                let problem = Problem { errors: vec![Fault::parameter("ticket", detail)], ..failure.into() };
                Self { problem, is_failure: true, headers: Vec::new() }
            }
            Unredeemed::Unavailable => {
                let failure = Failure::new(ErrorCode::StateUnavailable, "Tickets cannot be looked up now.");
                Self { problem: failure.into(), is_failure: false, headers: Vec::new() }
            }
            Unredeemed::Refused(refused) => {
                let (problem, headers) = ws::refused(refused);
                Self { problem, is_failure: false, headers }
            }
        }
    }
}

/// RFC 6750 §3: the challenge says that there was something wrong only where something was shown.
impl From<Denied> for TurnedAway {
    fn from(denied: Denied) -> Self {
        let challenge = match denied {
            Denied::Unavailable => {
                let failure = Failure::new(ErrorCode::StateUnavailable, denied.detail());
                return Self { problem: failure.into(), is_failure: false, headers: Vec::new() };
            }
            Denied::Missing => r#"Bearer realm="polylogue""#,
            Denied::Malformed
            | Denied::Unknown
            | Denied::Expired
            | Denied::NotYet
            | Denied::Issuer
            | Denied::Audience
            | Denied::Algorithm
            | Denied::Signature
            | Denied::Claims => r#"Bearer realm="polylogue", error="invalid_token""#,
        };
        let headers = vec![(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge))];
        let failure = Failure::new(ErrorCode::Unauthenticated, denied.detail());
        Self { problem: failure.into(), is_failure: true, headers }
    }
}
