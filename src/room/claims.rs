//! Who waits for a name that a connection from the same address bears.
//!
//! That connection may be dead, and nobody know yet: whoever lost it and has come back
//! wants its name.

use std::time::{Duration, Instant};

use crate::protocol::batch::ClientId;
use crate::protocol::name::Name;

/// How long a claim stands: until the kernel has found out that nobody is there (the
/// listener's user timeout), and a little longer.
pub const CLAIM_TIMEOUT: Duration = Duration::from_secs(150);

/// The most claims. Then the oldest stands no longer.
pub const MAX_CLAIMS: usize = 64;

/// The claims, oldest first.
#[derive(Debug, Default)]
pub struct Claims(Vec<Claim>);

/// A name that is claimed.
#[derive(Debug)]
pub struct Claim {
    /// Who waits for it. Invariant: of no other claim.
    pub claimant: ClientId,
    /// Who bears it. Invariant: of no other claim.
    pub bearer: ClientId,
    /// The name, as the claimant writes it.
    pub name: Name,
    /// When it stands no longer.
    pub until: Instant,
}

impl Claims {
    /// Takes down a claim in place of any other to the same bearer's name: who has come
    /// last is who has come back. Whether that is news to the bearer.
    pub fn add(&mut self, claim: Claim) -> bool {
        let before = self.remove_of_bearer(claim.bearer);
        if self.0.len() >= MAX_CLAIMS {
            self.0.remove(0);
        }
        let is_news = before.is_none_or(|before| before.claimant != claim.claimant);
        self.0.push(claim);
        is_news
    }

    /// `claimant` waits no longer, unless for `name`.
    pub fn forget_others(&mut self, claimant: ClientId, name: &Name) {
        self.0
            .retain(|claim| claim.claimant != claimant || claim.name == *name);
    }

    /// `claimant` waits for nothing any more.
    pub fn forget(&mut self, claimant: ClientId) {
        self.0.retain(|claim| claim.claimant != claimant);
    }

    /// Takes the claim to the name of `bearer`, if there is one.
    pub fn remove_of_bearer(&mut self, bearer: ClientId) -> Option<Claim> {
        let index = self.0.iter().position(|claim| claim.bearer == bearer)?;
        Some(self.0.remove(index))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
