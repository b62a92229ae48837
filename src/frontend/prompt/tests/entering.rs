//! What comes of keys and pastes.

use super::*;

#[test]
fn a_paste_of_200_lines_is_shown_and_sent_when_entered() {
    let mut scene = Scene::new(40, 20);
    let block: String = (0..200).map(|number| format!("line {number}\r")).collect();
    scene.type_keys(&format!("\x1b[200~{block}\x1b[201~"));
    assert!(scene.said().is_empty());
    assert_eq!(scene.rows()[0], "… 191 more rows above");
    assert_eq!(scene.last_row(), "line 199");
    scene.hear("<alice> meanwhile");
    assert_eq!(
        scene.rows()[..2],
        ["<alice> meanwhile", "… 191 more rows above"]
    );
    scene.type_keys("\r");
    let said = scene.said();
    assert_eq!(said.len(), 200);
    assert_eq!((&said[0][..], &said[199][..]), ("line 0\n", "line 199\n"));
    assert_eq!(scene.rows()[18..], ["<You> line 199", "bob>"]);
}

#[test]
fn mistyped_commands_and_blank_lines_are_not_said() {
    let mut scene = Scene::new(80, 10);
    scene.type_keys(" /msg al psst\r");
    assert_eq!(scene.last_row(), "bob>  /msg al psst", "it can be mended");
    scene.type_keys("\x15\x1b[200~one\r\r  \rtwo\x1b[201~");
    scene.type_keys("\r");
    assert_eq!(scene.said(), ["one\n", "two\n"], "no blank lines");
    scene.set_link(LinkStatus::Leaving);
    scene.type_keys("too late\r");
    assert_eq!(scene.last_row(), "[leaving] bob> too late");
    assert_eq!(scene.said().len(), 2);
}

#[test]
fn a_question_for_the_key_takes_what_is_meant_and_says_what_it_wants() {
    const KEY: &str = "sha256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU";
    for (typed, is_trusted) in [
        ("yes", true),
        ("Y", true),
        (" YES ", true),
        (KEY, true),
        ("sha256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=", true),
        ("no", false),
        ("N", false),
    ] {
        let mut scene = Scene::new(120, 10);
        assert!(scene.prompt.ask_trust(KEY, now()));
        scene.type_keys(&format!("{typed}\r"));
        assert_eq!(scene.actions, [Action::TrustKey(is_trusted)], "{typed}");
    }
    for (typed, told) in [
        ("", "say yes or no"),
        ("perhaps", "say yes or no"),
        (&KEY.to_lowercase(), "another key"),
    ] {
        let mut scene = Scene::new(120, 10);
        scene.prompt.ask_trust(KEY, now());
        scene.type_keys(&format!("{typed}\r"));
        let rows = scene.rows();
        assert!(rows.iter().any(|row| row.contains(told)), "{rows:?}");
        assert!(
            rows.iter().any(|row| row.starts_with("is that the key")),
            "{rows:?}"
        );
        assert!(scene.actions.is_empty());
    }
}

#[test]
fn an_escape_that_nothing_follows_is_a_key() {
    let mut scene = Scene::new(40, 10);
    scene.type_keys("half\x12x");
    assert!(scene.last_row().starts_with("(no match: x) "));
    scene.type_keys("\x1b");
    let at = scene.prompt.deadline().expect("the rest is waited for");
    scene.prompt.expire(Moment {
        instant: at,
        ..now()
    });
    scene.draw();
    assert_eq!(scene.last_row(), "bob> half");
    assert_eq!(scene.prompt.deadline(), None);
}

#[test]
fn ones_own_name_is_not_completed() {
    let mut scene = Scene::new(40, 10);
    scene.hear("<bob> hi");
    scene.type_keys("b\t");
    assert_eq!(scene.last_row(), "bob> b");
    scene.hear("<bill> hi");
    scene.type_keys("\t");
    assert_eq!(scene.last_row(), "bob> bill:");
}

#[test]
fn commands_of_our_own_are_shown_as_what_they_do() {
    let mut scene = Scene::new(60, 10);
    scene.type_keys("/me waves\r/msg al hi\r/who\r//x\r/dance\r  \r\r");
    assert_eq!(
        scene.rows(),
        [
            "* bob waves",
            "[You to al] hi",
            "<You> /x",
            "/dance",
            "bob>"
        ]
    );
    let said = ["/me waves\n", "/msg al hi\n", "/who\n", "//x\n", "/dance\n"];
    assert_eq!(scene.said(), said);
    scene.type_keys("\x1b[A\x1b[A\x1b[A");
    assert_eq!(scene.last_row(), "bob> /who", "they can be had again");
}

#[test]
fn offline_input_is_bounded_and_quit_leaves() {
    let mut scene = Scene::new(60, 10);
    scene.set_link(LinkStatus::Offline);
    let line = "x".repeat(editor::MAX_INPUT_BYTES - 1);
    for _ in 0..4 {
        scene
            .prompt
            .typed(format!("\x1b[200~{line}\x1b[201~").as_bytes(), now());
        scene.prompt.typed(b"\r", now());
    }
    scene.prompt.typed(b"one more\r", now());
    let said: usize = scene.prompt.actions().len();
    assert_eq!(said, 4);
    scene.draw();
    assert_eq!(scene.last_row(), "[offline] bob> one more");
    scene.type_keys("\x15/quit\r");
    assert_eq!(scene.actions, [Action::Leave]);
}

/// Somebody else may have written it.
#[test]
fn quit_in_a_block_of_lines_does_not_leave() {
    for link in [LinkStatus::Offline, LinkStatus::In { is_ours: true }] {
        let mut scene = Scene::new(70, 10);
        scene.set_link(link);
        scene.type_keys("\x1b[200~one\r/QUIT\rmore\x1b[201~");
        scene.type_keys("\r");
        assert_eq!(scene.actions, []);
        assert_eq!(
            scene.rows()[0],
            "!! not sent: /quit must be a line of its own; to say it, type //quit"
        );
        assert_eq!(scene.last_row(), "more", "it can be mended");
    }
    let mut scene = Scene::new(60, 10);
    scene.set_link(LinkStatus::In { is_ours: false });
    scene.type_keys("/quit\x1b\rmore\r");
    assert_eq!(
        scene.said(),
        ["/quit\n", "more\n"],
        "to a room without commands"
    );
}

#[test]
fn a_command_that_needs_the_room_is_answered_offline() {
    let mut scene = Scene::new(70, 10);
    scene.set_link(LinkStatus::Offline);
    scene.type_keys("/who\r/nick rob\r/msg al hi\r/me waves\rhi\r/dance\r");
    let rows = [
        "!! offline: /who was not sent; try again once you are back",
        "!! offline: /nick was not sent; try again once you are back",
    ];
    assert_eq!(scene.rows()[..2], rows);
    let said = ["/msg al hi\n", "/me waves\n", "hi\n", "/dance\n"];
    assert_eq!(scene.said(), said);
}

#[test]
fn a_paste_over_the_bound_is_refused() {
    let mut scene = Scene::new(60, 10);
    let paste = "x".repeat(editor::MAX_INPUT_BYTES + 1);
    scene.type_keys(&format!("half\x1b[200~{paste}\x1b[201~"));
    assert!(scene.rows()[0].starts_with("!! paste too large"));
    assert_eq!(scene.last_row(), "bob> half");
}

#[test]
fn what_is_typed_after_leaving_is_not_said() {
    for (key, action) in [
        ("\x1a", Action::Suspend),
        ("\x03", Action::EndBy(SIGINT)),
        ("\x1c", Action::EndBy(SIGQUIT)),
    ] {
        let mut scene = Scene::new(40, 10);
        scene.type_keys(&format!("said\r{key}rm -r\r"));
        assert_eq!(
            scene.actions,
            [Action::Say(b"said\n".to_vec()), action],
            "{key:?}"
        );
        assert_eq!(scene.last_row(), "bob>", "{key:?}");
    }
}

/// In the kitty protocol.
#[test]
fn shift_enter_and_ctrl_enter_do_not_say_the_line() {
    let mut scene = Scene::new(40, 10);
    scene.type_keys("one\x1b[13;2utwo\x1b[13;5uthree");
    assert_eq!(scene.rows(), ["bob> one", "two", "three"]);
    assert!(scene.said().is_empty());
}

#[test]
fn a_paste_without_end_is_shown_and_said_to_be_so() {
    let mut scene = Scene::new(60, 10);
    scene.type_keys("\x1b[200~half");
    let at = scene.prompt.deadline().expect("its end is waited for");
    scene.prompt.expire(Moment {
        instant: at,
        ..now()
    });
    scene.type_keys("\r");
    let told = "!! this paste has no end: Enter ends it, and sends nothing";
    assert_eq!(scene.rows().concat(), format!("{told}bob> half"));
    assert!(scene.said().is_empty());
    scene.type_keys(" and the rest\r");
    assert_eq!(scene.said(), ["half and the rest\n"]);
}

#[test]
fn a_password_is_given_wherever_it_is_typed_and_never_shown() {
    let mut scene = Scene::new(60, 10);
    scene.prompt.remember([]);
    scene.prompt.keep_log();
    for link in [
        LinkStatus::In { is_ours: true },
        LinkStatus::In { is_ours: false },
        LinkStatus::Offline,
        LinkStatus::Holding,
    ] {
        scene.set_link(link);
        scene.actions.clear();
        scene.type_keys("/pass gre");
        assert!(scene.last_row().ends_with("bob> /pass"));
        scene.type_keys("en tea\r");
        let given = Action::GivePassword("green tea".to_owned());
        assert_eq!(scene.actions, [given]);
        scene.type_keys("/pas green tea\r");
        scene.type_keys("/password green tea\r");
        assert!(scene.said().is_empty());
    }
    scene.set_link(LinkStatus::In { is_ours: true });
    scene.prompt.ask_password(false, now());
    scene.actions.clear();
    scene.type_keys("/pass green tea\r");
    let given = Action::GivePassword("green tea".to_owned());
    assert_eq!(scene.actions, [given]);
    scene.type_keys("hi\r\x1b[A\x1b[A");
    assert_eq!(scene.last_row(), "bob> hi", "Up brings no password back");
    // Said before it was known that it is one: by a room that answers late, say.
    scene.wait_for_answers(&[("/pas green tea", true)], None);
    let log = scene.prompt.take_log();
    assert!(log.contains("usage: /pass PASSWORD"), "{log}");
    for shown in [scene.written, log] {
        assert!(!shown.contains("green"), "{shown}");
    }
}
