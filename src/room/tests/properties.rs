//! Properties of any sequence of events.

use proptest::prelude::*;

use super::*;

/// An event. The number is a seat, which one client at a time has.
#[derive(Clone, Debug)]
enum Act {
    Join(usize, u8),
    Leave(usize),
    Line(usize, String),
    Wait(u64),
}

fn act() -> impl Strategy<Value = Act> {
    // Some of these look alike.
    let name = prop::sample::select(&["alice", "ALICE", "aIice", "bob", "b0b", "carol"]);
    let line = prop_oneof![
        4 => name.clone().prop_map(|name| format!("/nick {name}")),
        2 => name.prop_map(|name| format!("/msg {name} psst")),
        1 => (0_u8..3).prop_map(|address| format!("/msg 10.0.0.{address} psst")),
        2 => Just("hello".to_owned()),
        1 => Just("/me waves".to_owned()),
        1 => Just("/who".to_owned()),
        1 => "[ -~]{0,12}",
    ];
    let seat = 0_usize..6;
    prop_oneof![
        2 => (seat.clone(), 0_u8..3).prop_map(|(seat, address)| Act::Join(seat, address)),
        1 => seat.clone().prop_map(Act::Leave),
        6 => (seat, line).prop_map(|(seat, line)| Act::Line(seat, line)),
        1 => (0_u64..70_000).prop_map(Act::Wait),
    ]
}

/// Joins minus leaves according to a presence notice with few names, and the number of
/// members.
fn presence_count(notice: &str) -> Option<(i64, i64)> {
    let (clauses, here) = notice
        .strip_prefix("-- ")?
        .strip_suffix(" here)")?
        .rsplit_once(" (")?;
    let mut change = 0;
    // "a, b and 2 from 10.0.0.1 joined, c left, d is now e"
    let mut people = 0;
    for item in clauses.split(", ").flat_map(|items| items.split(" and ")) {
        let (who, sign) = match item {
            _ if item.contains(" is now ") => continue,
            _ if item.ends_with(" joined") => (item.strip_suffix(" joined")?, 1),
            _ if item.ends_with(" left") => (item.strip_suffix(" left")?, -1),
            _ => (item, 0),
        };
        people += match who.split_once(" from ") {
            Some((count, _)) => count.parse::<i64>().ok()?,
            None => who.parse::<i64>().unwrap_or(1),
        };
        change += sign * people;
        if sign != 0 {
            people = 0;
        }
    }
    Some((change, here.parse().ok()?))
}

proptest! {
    #[test]
    fn names_stay_unique_and_nobody_hears_itself(
        acts in prop::collection::vec(act(), 0..60),
    ) {
        let mut stage = Stage::new(Config {
            announces_presence: true,
            ..Config::plain(4096)
        });
        let mut seats: BTreeMap<ClientId, String> = BTreeMap::new();
        let mut announced = 0;
        for act in acts {
            stage.heard.clear();
            stage.said();
            match act {
                Act::Join(seat, address) if !seats.contains_key(&ClientId::nth(seat)) => {
                    let address = format!("10.0.0.{address}");
                    stage.join(ClientId::nth(seat), &address);
                    seats.insert(ClientId::nth(seat), address);
                }
                Act::Leave(seat) if seats.remove(&ClientId::nth(seat)).is_some() => {
                    stage.leave(ClientId::nth(seat));
                }
                Act::Line(seat, line) if seats.contains_key(&ClientId::nth(seat)) => {
                    let id = ClientId::nth(seat);
                    let label = stage.label(id);
                    stage.says(id, &line);
                    // Who is heard is introduced first.
                    let text = stage.said();
                    let (notices, said): (Vec<&str>, Vec<&str>) =
                        text.lines().partition(|line| line.starts_with("-- "));
                    prop_assert!(notices.is_empty() || notices.len() == 1, "{}", text);
                    for notice in notices {
                        let (change, here) = presence_count(notice).expect("a presence notice");
                        announced += change;
                        prop_assert_eq!((announced, here), (here, seats.len() as i64), "{}", text);
                    }
                    for &other in seats.keys() {
                        let heard = stage.heard(other);
                        let others: Vec<&str> = heard.lines().filter(|line| !line.starts_with("-- ") && !line.starts_with("!! ")).collect();
                        if other == id {
                            prop_assert!(others.is_empty(), "{} heard itself: {}", label, heard);
                        } else if line.starts_with("/msg ") {
                            let psst = format!("[{label}] psst");
                            prop_assert!(others.iter().all(|line| *line == psst));
                        } else {
                            prop_assert_eq!(others.concat(), said.concat(), "{}", line);
                            let own = [format!("<{label}> "), format!("* {label} ")];
                            let is_own = |said: &str| own.iter().any(|own| said.starts_with(own));
                            prop_assert!(others.iter().all(|said| is_own(said)));
                        }
                    }
                    let sent = stage.closed.iter().any(|&(closed, _)| closed == id);
                    prop_assert!(!sent || line.to_lowercase().starts_with("/quit"));
                    stage.closed.clear();
                }
                Act::Wait(millis) => {
                    stage.wait(Duration::from_millis(millis));
                    for line in stage.said().lines() {
                        let Some((change, here)) = presence_count(line) else {
                            return Err(TestCaseError::fail(line.to_owned()));
                        };
                        announced += change;
                        prop_assert_eq!((announced, here), (here, seats.len() as i64), "{}", line);
                    }
                }
                _ => {}
            }
            // No two names look alike.
            let names: Vec<_> = stage.room.members().filter_map(|(_, member)| member.name().cloned()).collect();
            for (nth, name) in names.iter().enumerate() {
                prop_assert!(names[..nth].iter().all(|other| !other.looks_like(name)));
            }
            prop_assert_eq!(names.len(), stage.room.names.len());
            prop_assert_eq!(stage.room.here(), seats.len());
        }
    }

    #[test]
    fn a_private_message_has_at_most_one_reader(
        names in prop::collection::vec(prop::option::of(0_usize..6), 6),
        to in 0_usize..6,
    ) {
        let mut stage = Stage::new(Config::plain(4096));
        for (seat, name) in names.iter().enumerate() {
            stage.join(ClientId::nth(seat), &format!("10.0.0.{}", seat / 2));
            if let Some(name) = name {
                stage.says(ClientId::nth(seat), format!("/nick n{name}"));
            }
        }
        stage.heard.clear();
        stage.says(ClientId::nth(0), format!("/msg n{to} psst"));
        let readers: Vec<usize> = (0..6)
            .filter(|&seat| stage.heard(ClientId::nth(seat)).contains("psst"))
            .collect();
        let holders: Vec<usize> = (1..6)
            .filter(|&seat| stage.label(ClientId::nth(seat)) == format!("n{to}"))
            .collect();
        prop_assert!(readers.len() <= 1);
        prop_assert_eq!(readers, holders);
    }
}
