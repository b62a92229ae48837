//! The longest names that the server accepts.

use std::os::fd::OwnedFd;

use crate::common::peer::Peer;
use crate::common::server::Server;

/// A client with one of the longest names that the server accepts, a different one for each
/// number.
#[track_caller]
pub(super) fn join_with_a_long_name(server: &Server, nth: usize) -> OwnedFd {
    let mut peer = server.join("127.0.3.1");
    let units = numbers_of_units().find(|&units| is_called(&mut peer, &long_name(units, nth)));
    units.expect("a name that the server takes");
    peer.into_stream().into()
}

/// How many units the longest name has that the server accepts.
#[track_caller]
pub(super) fn longest_name_units(server: &Server) -> usize {
    let mut peer = server.join("127.0.3.2");
    let units = numbers_of_units().find(|&units| is_called(&mut peer, &long_name(units, 511)));
    units.expect("a name that the server takes")
}

/// Descending from the most.
fn numbers_of_units() -> impl Iterator<Item = usize> {
    (1..=24).rev()
}

/// Whether the server accepts this name.
#[track_caller]
fn is_called(peer: &mut Peer, name: &str) -> bool {
    peer.say(&format!("/nick {name}"));
    loop {
        let answer = peer.next_line().expect("an answer");
        if answer.starts_with("-- you are ") {
            return true;
        }
        if answer.starts_with("!! ") {
            return false;
        }
    }
}

/// Columns of 12 bytes each; up to 512 different names.
pub(super) fn long_name(units: usize, nth: usize) -> String {
    const LETTERS: [char; 8] = ['क', 'ख', 'ग', 'घ', 'च', 'छ', 'ज', 'त'];
    let letter = |unit: usize| match unit {
        0..3 => LETTERS[nth >> (3 * unit) & 7],
        _ => 'क',
    };
    let mark = |letter| {
        if letter == 'क' {
            "\u{93c}\u{941}\u{902}"
        } else {
            "\u{941}\u{902}"
        }
    };
    (0..units)
        .flat_map(|unit| [letter(unit).to_string(), mark(letter(unit)).to_owned()])
        .collect()
}
