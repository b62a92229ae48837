//! Who gets a name, and who gets it next.

use super::*;

#[test]
fn a_members_name_prefixes_what_it_says() {
    let mut stage = Stage::of_two();
    stage.says(ALICE, "/nick Zoe\u{308}");
    stage.expect(ALICE, "-- you are now Zoë\n");
    for (line, said) in [
        ("hi", "<Zoë> hi\n"),
        ("/me waves", "* Zoë waves\n"),
        ("//me", "<Zoë> /me\n"),
    ] {
        stage.says(ALICE, line);
        stage.expect(BOB, said);
    }
    stage.says(ALICE, "/msg 10.0.0.2 psst");
    stage.expect(BOB, "[Zoë] psst\n");
    stage.expect(ALICE, "-- sent to 10.0.0.2\n");
}

#[test]
fn a_name_is_unique_in_any_spelling() {
    for (taken, wanted, answer) in [
        ("alice", "alice", "!! alice is in use; choose another\n"),
        ("alice", "ALICE", "!! ALICE is in use; choose another\n"),
        (
            "Straße",
            "STRASSE",
            "!! STRASSE is in use; choose another\n",
        ),
        (
            "ape",
            "аре",
            "!! аре looks like ape, who is here; choose another
",
        ),
        (
            "alice",
            "aIice",
            "!! aIice looks like alice, who is here; choose another\n",
        ),
        (
            "bob",
            "b0b",
            "!! b0b looks like bob, who is here; choose another\n",
        ),
    ] {
        let mut stage = Stage::of_two();
        stage.says(ALICE, format!("/nick {taken}"));
        stage.says(BOB, format!("/nick {wanted}"));
        stage.expect(BOB, answer);
        assert_eq!(stage.label(BOB), "10.0.0.2", "it keeps its label");
        stage.says(BOB, "/nick bobby");
        stage.says(BOB, format!("/nick {wanted}"));
        assert_eq!(stage.label(BOB), "bobby", "it keeps its label");
        assert_eq!(stage.label(ALICE), taken);
    }
}

#[test]
fn a_member_can_respell_its_name() {
    let mut stage = Stage::of_alice_and_bob();
    for name in ["Alice", "ALICE", "alice"] {
        stage.says(ALICE, format!("/nick {name}"));
        stage.expect(ALICE, &format!("-- you are now {name}\n"));
        assert_eq!(stage.label(ALICE), name);
    }
    stage.says(ALICE, "/nick alice");
    stage.expect(ALICE, "-- you are now alice\n");
    assert_eq!(stage.room.names.len(), 2);
}

#[test]
fn a_freed_name_is_held_for_its_address() {
    for is_left in [true, false] {
        let mut stage = Stage::of_alice_and_bob();
        if is_left {
            stage.leave(ALICE)
        } else {
            stage.says(ALICE, "/nick al")
        }
        for wanted in ["alice", "Alice"] {
            stage.says(BOB, format!("/nick {wanted}"));
            let heard = stage.heard(BOB);
            assert!(
                heard.starts_with(&format!("!! {wanted} is kept")),
                "{heard}"
            );
        }
        // Another connection from that address can take it.
        stage.join(CAROL, "10.0.0.1");
        stage.heard.clear();
        stage.says(CAROL, "/nick alice");
        stage.expect(CAROL, "-- you are now alice\n");
        stage.leave(CAROL);
        stage.now += HOLD - Duration::from_millis(1);
        stage.says(BOB, "/nick alice");
        assert_eq!(stage.label(BOB), "bob");
        stage.now += Duration::from_millis(1);
        stage.says(BOB, "/nick alice");
        assert_eq!(stage.label(BOB), "alice");
    }
}

#[test]
fn a_look_alike_in_its_place_does_not_free_a_name() {
    let mut stage = Stage::of_two();
    for name in ["KAI", "Kal"] {
        stage.says(ALICE, format!("/nick {name}"));
    }
    stage.heard.clear();
    stage.says(BOB, "/nick kai");
    stage.expect(
        BOB,
        "!! kai is kept for its last owner for another 60 s; choose another\n",
    );
}

#[test]
fn a_dead_connection_yields_its_name_to_a_claim() {
    let mut stage = Stage::of_alice_and_bob();
    stage.join(CAROL, "10.0.0.1");
    stage.heard.clear();
    stage.says(CAROL, "/nick Alice");
    let answer = "!! Alice is in use from your own address. If that is an old connection \
                  of yours, you get the name when it times out\n";
    stage.expect(CAROL, answer);
    let heard = stage.heard(ALICE);
    assert!(heard.starts_with("-- someone at your address"), "{heard}");
    // The holder hears of a claimant once, however often it asks.
    stage.says(CAROL, "/nick alice");
    stage.says(CAROL, "/nick alice");
    assert_eq!(stage.heard(CAROL).matches("your own address").count(), 2);
    stage.heard(ALICE);
    stage.says(CAROL, "still waiting");
    stage.leave(ALICE);
    stage.expect(CAROL, "-- you are now alice\n");
    assert_eq!(stage.label(CAROL), "alice");
}

#[test]
fn a_claim_ends_when_its_claimant_leaves_or_takes_another_name() {
    for thinks_better in [true, false] {
        let mut stage = Stage::of_alice_and_bob();
        stage.join(CAROL, "10.0.0.1");
        stage.says(CAROL, "/nick alice");
        if thinks_better {
            stage.says(CAROL, "/nick carol")
        } else {
            stage.leave(CAROL);
            stage.join(CAROL, "10.0.0.3");
        }
        stage.heard.clear();
        stage.leave(ALICE);
        stage.expect(CAROL, "");
    }
    // A claim also ends after a while.
    let mut stage = Stage::of_alice_and_bob();
    stage.join(CAROL, "10.0.0.1");
    stage.says(CAROL, "/nick alice");
    stage.now += CLAIM_TIMEOUT;
    stage.leave(ALICE);
    assert_eq!(stage.label(CAROL), "10.0.0.1");
}

#[test]
fn a_holder_that_was_not_dead_leaves_its_name_to_nobody() {
    for ends in [CloseReason::Quit, CloseReason::Kicked, CloseReason::Banned] {
        let mut stage = Stage::of_alice_and_bob();
        stage.join(CAROL, "10.0.0.1");
        stage.says(CAROL, "/nick alice");
        stage.leave_for(ends, ALICE);
        assert_eq!(stage.label(CAROL), "10.0.0.1", "{ends}");
    }
    let mut stage = Stage::of_alice_and_bob();
    stage.join(CAROL, "10.0.0.1");
    stage.says(CAROL, "/nick alice");
    stage.says(ALICE, "/nick dora");
    assert_eq!(stage.label(CAROL), "10.0.0.1");
}

#[test]
fn the_last_claimant_gets_the_name() {
    let mut stage = Stage::of_alice_and_bob();
    for id in [2, 3].map(ClientId::nth) {
        stage.join(id, "10.0.0.1");
        stage.says(id, "/nick alice");
    }
    assert_eq!(stage.heard(ALICE).matches("someone at your").count(), 2);
    stage.leave(ALICE);
    assert_eq!(stage.label(CAROL), "10.0.0.1");
    assert_eq!(stage.label(ClientId::nth(3)), "alice");
}

#[test]
fn a_claim_outlives_a_respelling_but_not_too_many_others() {
    let mut stage = Stage::of_alice_and_bob();
    stage.join(CAROL, "10.0.0.1");
    stage.says(CAROL, "/nick alice");
    stage.says(ALICE, "/nick Alice");
    assert_eq!(stage.room.claims.len(), 1);
    for number in 0..MAX_CLAIMS {
        let [holder, claimant] = [0, 1].map(|which| ClientId::nth(10 + 2 * number + which));
        for id in [holder, claimant] {
            stage.join(id, "10.0.0.9");
            stage.says(id, format!("/nick n{number}x"));
        }
    }
    assert_eq!(stage.room.claims.len(), MAX_CLAIMS);
    stage.leave(ALICE);
    assert_eq!(stage.label(CAROL), "10.0.0.1", "it has waited longest");
    stage.leave(ClientId::nth(10));
    assert_eq!(stage.label(ClientId::nth(11)), "n0x");
}

#[test]
fn members_at_other_addresses_claim_nothing() {
    let mut stage = Stage::of_alice_and_bob();
    stage.says(BOB, "/nick alice");
    stage.expect(BOB, "!! alice is in use; choose another\n");
    stage.expect(ALICE, "");
    stage.leave(ALICE);
    assert_eq!(stage.label(BOB), "bob");
}
