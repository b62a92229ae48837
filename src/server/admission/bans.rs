//! Banned networks, with an end or without.
//!
//! Each newcomer costs a linear search. Bans are few: even the maximum takes only some
//! microseconds.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use ipnet::IpNet;

use crate::server::network;

pub(crate) const MAX_BANS: usize = 1_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ban {
    /// Invariant: [canonical](network::canonical).
    pub(crate) network: IpNet,
    /// The remaining time. `None`: no end.
    pub(crate) left: Option<Duration>,
}

/// [`MAX_BANS`] are in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooManyBans;

impl fmt::Display for TooManyBans {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "there are {MAX_BANS} bans, the maximum")
    }
}

impl Error for TooManyBans {}

#[derive(Debug, Default)]
pub(super) struct Bans {
    /// The end of each ban, if it has one. Invariants: the networks are canonical; there are
    /// at most [`MAX_BANS`], including expired ones, which the next ban removes.
    ends: BTreeMap<IpNet, Option<Instant>>,
}

impl Bans {
    /// Bans `network` before `until`, or without an end. Replaces the end of an existing ban.
    pub(super) fn ban(
        &mut self,
        network: IpNet,
        until: Option<Instant>,
        now: Instant,
    ) -> Result<(), TooManyBans> {
        let network = network::canonical(network);
        self.ends.retain(|_, end| is_ahead(*end, now));
        if self.ends.len() >= MAX_BANS && !self.ends.contains_key(&network) {
            return Err(TooManyBans);
        }
        self.ends.insert(network, until);
        Ok(())
    }

    /// Removes the ban of exactly this network. Returns whether it was in force.
    pub(super) fn unban(&mut self, network: IpNet, now: Instant) -> bool {
        let end = self.ends.remove(&network::canonical(network));
        end.is_some_and(|end| is_ahead(end, now))
    }

    /// Whether `address`, which must be canonical, is banned.
    pub(super) fn is_banned(&self, address: IpAddr, now: Instant) -> bool {
        debug_assert_eq!(address, address.to_canonical());
        self.ends
            .iter()
            .any(|(network, end)| network.contains(&address) && is_ahead(*end, now))
    }

    /// Sorted by network.
    pub(super) fn in_force(&self, now: Instant) -> impl Iterator<Item = Ban> {
        self.ends
            .iter()
            .filter(move |(_, end)| is_ahead(**end, now))
            .map(move |(&network, end)| Ban {
                network,
                left: end.map(|end| end.duration_since(now)),
            })
    }
}

fn is_ahead(end: Option<Instant>, now: Instant) -> bool {
    end.is_none_or(|end| now < end)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn network(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn listed(bans: &Bans, now: Instant) -> Vec<(String, Option<u64>)> {
        bans.in_force(now)
            .map(|ban| {
                let left = ban.left.map(|left| left.as_secs());
                (ban.network.to_string(), left)
            })
            .collect()
    }

    #[test]
    fn a_ban_expires_at_its_end_if_it_has_one() {
        let now = Instant::now();
        let mut bans = Bans::default();
        bans.ban(network("10.0.0.1/32"), Some(now + SECOND), now)
            .unwrap();
        bans.ban(network("10.0.0.2/32"), None, now).unwrap();
        let almost = now + SECOND - Duration::from_nanos(1);
        for (at, is_banned) in [(now, true), (almost, true), (now + SECOND, false)] {
            assert_eq!(bans.is_banned(address("10.0.0.1"), at), is_banned);
            assert!(bans.is_banned(address("10.0.0.2"), at + 1_000_000 * SECOND));
            assert!(!bans.is_banned(address("10.0.0.3"), at));
        }
    }

    #[test]
    fn a_second_ban_of_a_network_replaces_its_end() {
        let now = Instant::now();
        let mut bans = Bans::default();
        for (written, seconds) in [
            ("10.0.0.0/24", Some(60)),
            ("10.0.0.7/24", Some(600)),
            ("::ffff:10.0.0.9/120", None),
            ("10.0.0.0/24", Some(1)),
        ] {
            let until = seconds.map(|seconds| now + seconds * SECOND);
            bans.ban(network(written), until, now).unwrap();
            let left = seconds.map(u64::from);
            assert_eq!(listed(&bans, now), [("10.0.0.0/24".to_owned(), left)]);
        }
        assert!(!bans.is_banned(address("10.0.0.7"), now + SECOND));
    }

    #[test]
    fn unban_removes_only_the_ban_of_exactly_this_network() {
        let now = Instant::now();
        let mut bans = Bans::default();
        bans.ban(network("10.0.0.0/24"), None, now).unwrap();
        bans.ban(network("10.0.0.7/32"), None, now).unwrap();
        assert!(!bans.unban(network("10.0.0.0/16"), now));
        assert!(!bans.unban(network("10.0.0.8/32"), now));
        assert!(bans.unban(network("10.0.0.200/24"), now));
        assert!(!bans.unban(network("10.0.0.0/24"), now));
        assert!(bans.is_banned(address("10.0.0.7"), now));
        assert!(!bans.is_banned(address("10.0.0.8"), now));
        assert!(bans.unban(network("::ffff:10.0.0.7/128"), now));
        assert!(!bans.is_banned(address("10.0.0.7"), now));
    }

    #[test]
    fn an_expired_ban_cannot_be_removed() {
        let now = Instant::now();
        let mut bans = Bans::default();
        let all_of_it = network("::/0");
        bans.ban(all_of_it, Some(now + SECOND), now).unwrap();
        assert!(!bans.unban(all_of_it, now + SECOND));
        bans.ban(all_of_it, Some(now), now).unwrap();
        assert!(!bans.is_banned(address("fe80::1"), now));
        assert_eq!(listed(&bans, now), []);
    }

    #[test]
    fn bans_are_sorted_and_have_their_remaining_time() {
        let now = Instant::now();
        let mut bans = Bans::default();
        for (written, seconds) in [
            ("fe80::/10", 40),
            ("192.168.1.0/24", 30),
            ("10.0.0.0/8", 20),
            ("9.9.9.9/32", 10),
        ] {
            bans.ban(network(written), Some(now + seconds * SECOND), now)
                .unwrap();
        }
        bans.ban(network("127.0.0.1/32"), None, now).unwrap();
        let expected = [
            ("10.0.0.0/8", Some(10)),
            ("127.0.0.1/32", None),
            ("192.168.1.0/24", Some(20)),
            ("fe80::/10", Some(30)),
        ];
        let expected = expected.map(|(network, left)| (network.to_owned(), left));
        assert_eq!(listed(&bans, now + 10 * SECOND), expected);
    }

    #[test]
    fn bans_are_bounded_and_expired_ones_do_not_count() {
        let now = Instant::now();
        let mut bans = Bans::default();
        let nth = |n: u32| IpNet::from(IpAddr::from(Ipv4Addr::from_bits(n)));
        let most = u32::try_from(MAX_BANS).unwrap();
        for n in 0..most {
            bans.ban(nth(n), (n == 7).then(|| now + SECOND), now)
                .unwrap();
        }
        assert_eq!(bans.ban(nth(most), None, now), Err(TooManyBans));
        assert_eq!(bans.ban(nth(0), Some(now + 9 * SECOND), now), Ok(()));
        let later = now + SECOND;
        assert_eq!(bans.ban(nth(most), None, later), Ok(()));
        assert_eq!(bans.ban(nth(7), None, later), Err(TooManyBans));
        assert!(bans.unban(nth(1), later));
        assert_eq!(bans.ban(nth(7), None, later), Ok(()));
        assert_eq!(bans.ends.len(), MAX_BANS);
    }

    fn any_network() -> impl Strategy<Value = IpNet> {
        let written = [
            "10.0.0.0/24",
            "10.0.0.7/24",
            "::ffff:10.0.0.0/120",
            "10.0.0.1/32",
            "10.0.0.0/8",
            "127.0.0.1/32",
            "2001:db8::/32",
            "2001:db8::5/32",
            "::1/128",
        ];
        prop::sample::select(written.map(network).to_vec())
    }

    proptest! {
        #[test]
        fn bans_agree_with_a_log_of_all_requests(
            // Seconds to wait, a network, whether to ban or unban it, and seconds to ban it
            // for.
            steps in prop::collection::vec(
                (0_u32..4, any_network(), any::<bool>(), prop::option::of(0_u32..9)),
                0..40,
            ),
        ) {
            let mut now = Instant::now();
            let mut bans = Bans::default();
            let mut said: Vec<(IpNet, Option<Instant>)> = Vec::new();
            for (pause, network, is_ban, seconds) in steps {
                now += pause * SECOND;
                let network = network::canonical(network);
                let last = said.iter().rev().find(|(of, _)| *of == network);
                let was_banned = last.is_some_and(|(_, end)| end.is_none_or(|end| end > now));
                if is_ban {
                    let until = seconds.map(|seconds| now + seconds * SECOND);
                    prop_assert_eq!(bans.ban(network, until, now), Ok(()));
                    said.push((network, until));
                } else {
                    prop_assert_eq!(bans.unban(network, now), was_banned);
                    said.push((network, Some(now)));
                }
                let mut in_force = Vec::new();
                for (index, (network, end)) in said.iter().enumerate() {
                    let is_last = said[index + 1..].iter().all(|(of, _)| of != network);
                    if is_last && end.is_none_or(|end| end > now) {
                        in_force.push(Ban { network: *network, left: end.map(|end| end - now) });
                    }
                }
                in_force.sort_by_key(|ban| ban.network);
                prop_assert_eq!(&bans.in_force(now).collect::<Vec<_>>(), &in_force);
                for from in ["10.0.0.1", "10.0.0.9", "10.9.9.9", "127.0.0.1", "::1"] {
                    let from = address(from);
                    let expected = in_force.iter().any(|ban| network::contains(ban.network, from));
                    prop_assert_eq!(bans.is_banned(from, now), expected);
                }
            }
        }
    }
}
