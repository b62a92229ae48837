//! Muted members: the room passes on nothing that they say.
//!
//! A mute is a member's. It outlasts a lost connection, as the member does. So that nobody is rid
//! of it by coming again, everybody who joins from where a muted member has left is muted, too, until
//! the operator ends it; and so is everybody who joins from where one has lost its connection.

use std::net::IpAddr;

/// Further places are not remembered. Each one is of a mute that somebody typed.
const MAX_PLACES: usize = 1_000;

#[derive(Debug, Default)]
pub(crate) struct Mutes {
    /// The serial numbers of members. Invariant: sorted. Every line that is said looks one up.
    members: Vec<u64>,
    /// Where muted members have left from. Invariant: at most [`MAX_PLACES`].
    places: Vec<IpAddr>,
}

impl Mutes {
    pub(crate) fn is_muted(&self, serial: u64) -> bool {
        self.members.binary_search(&serial).is_ok()
    }

    /// Returns whether this was otherwise before.
    pub(crate) fn mute(&mut self, serial: u64) -> bool {
        match self.members.binary_search(&serial) {
            Ok(_) => false,
            Err(at) => {
                self.members.insert(at, serial);
                true
            }
        }
    }

    /// Ends the mute of a member at `address`, and of who comes from there. Returns whether it
    /// was muted.
    pub(crate) fn unmute(&mut self, serial: u64, address: IpAddr) -> bool {
        self.unmute_place(address);
        self.forget(serial)
    }

    /// Newcomers from `address` may speak. Returns whether this was otherwise before.
    pub(crate) fn unmute_place(&mut self, address: IpAddr) -> bool {
        let at = self.places.iter().position(|place| *place == address);
        at.map(|at| self.places.swap_remove(at)).is_some()
    }

    /// The serial numbers of those who are muted.
    pub(crate) fn members(&self) -> impl Iterator<Item = u64> {
        self.members.iter().copied()
    }

    pub(crate) fn joined(&mut self, serial: u64, address: IpAddr) {
        if self.places.contains(&address) {
            self.mute(serial);
        }
    }

    pub(crate) fn left(&mut self, serial: u64, address: IpAddr) {
        let was_muted = self.forget(serial);
        if was_muted && !self.places.contains(&address) && self.places.len() < MAX_PLACES {
            self.places.push(address);
        }
    }

    /// It goes on as another member, or has left. Returns whether it was muted.
    pub(crate) fn forget(&mut self, serial: u64) -> bool {
        let at = self.members.binary_search(&serial);
        at.map(|at| self.members.remove(at)).is_ok()
    }

    /// Where muted members have left from.
    pub(crate) fn places(&self) -> impl Iterator<Item = IpAddr> {
        self.places.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
    const THERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));

    #[test]
    fn a_mute_is_not_left_behind_by_coming_again() {
        let mut mutes = Mutes::default();
        mutes.joined(1, HERE);
        mutes.joined(2, HERE);
        assert!(mutes.mute(1) && !mutes.mute(1));
        // Others at the address may speak.
        assert!(mutes.is_muted(1) && !mutes.is_muted(2));
        mutes.joined(3, HERE);
        assert!(!mutes.is_muted(3));
        mutes.left(1, HERE);
        mutes.joined(4, HERE);
        mutes.joined(5, THERE);
        assert!(mutes.is_muted(4) && !mutes.is_muted(5) && !mutes.is_muted(2));
        assert_eq!(mutes.places().collect::<Vec<_>>(), [HERE]);
    }

    #[test]
    fn an_ended_mute_ends_for_who_comes_again() {
        let mut mutes = Mutes::default();
        mutes.mute(1);
        mutes.left(1, HERE);
        mutes.joined(2, HERE);
        mutes.joined(3, HERE);
        assert!(mutes.unmute(2, HERE) && !mutes.unmute(2, HERE));
        mutes.joined(4, HERE);
        assert!(!mutes.is_muted(4) && mutes.is_muted(3));
        mutes.left(3, HERE);
        assert!(mutes.unmute_place(HERE) && !mutes.unmute_place(HERE));
        mutes.joined(5, HERE);
        assert!(!mutes.is_muted(5));
    }

    #[test]
    fn places_are_bounded() {
        let mut mutes = Mutes::default();
        for serial in 0..2 * MAX_PLACES as u64 {
            mutes.mute(serial);
            mutes.left(serial, IpAddr::from((serial as u32).to_be_bytes()));
        }
        assert_eq!(mutes.places().count(), MAX_PLACES);
    }
}
