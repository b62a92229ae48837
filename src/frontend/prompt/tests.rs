//! The prompt as it is seen: its output is played to an emulated terminal.

mod entering;
mod hearing;

use std::num::NonZero;
use std::sync::LazyLock;
use std::time::UNIX_EPOCH;

use tz::TimeZone;

use super::*;
use crate::frontend::Said;
use crate::platform::local_time;

/// A prompt and its terminal.
struct Scene {
    prompt: Prompt,
    terminal: vt100::Parser,
    size: Size,
    /// Everything written.
    written: String,
    actions: Vec<Action>,
}

impl Scene {
    fn new(columns: usize, rows: usize) -> Self {
        let look = Look {
            palette: Palette { is_colored: true },
            stamp: None,
            bell: Bell::Mention,
        };
        Self::with(look, columns, rows)
    }

    fn with(look: Look, columns: usize, rows: usize) -> Self {
        let size = Size { columns, rows };
        let mut scene = Self {
            prompt: Prompt::new(look, size),
            terminal: vt100::Parser::new(nonzero(rows), nonzero(columns), 5000),
            size,
            written: String::new(),
            actions: Vec::new(),
        };
        scene.set_link(LinkStatus::In { is_ours: true });
        scene
    }

    fn set_link(&mut self, link: LinkStatus) {
        self.set_status(link, 0);
    }

    fn set_status(&mut self, link: LinkStatus, waiting_lines: usize) {
        self.set_status_of("bob", link, waiting_lines);
    }

    fn set_status_of(&mut self, name: &str, link: LinkStatus, waiting_lines: usize) {
        self.prompt.set_status(&Status {
            said: Said {
                lines: waiting_lines,
                bytes: waiting_lines * "a line\n".len(),
                last: &[],
            },
            ..status(name, link)
        });
        self.draw();
    }

    /// These lines of the user's are not answered; for so many seconds nothing was.
    fn wait_for_answers(&mut self, last: &[(&str, bool)], seconds: Option<u64>) {
        let last: Vec<_> = last
            .iter()
            .map(|&(line, is_late)| (line.to_owned(), is_late))
            .collect();
        self.prompt.set_status(&Status {
            said: Said {
                lines: last.len(),
                bytes: 0,
                last: &last,
            },
            no_answer_for: seconds.map(Duration::from_secs),
            ..status("bob", LinkStatus::In { is_ours: true })
        });
        self.draw();
    }

    fn draw(&mut self) {
        // As to a server that answers nothing.
        let actions = self.prompt.actions();
        for action in &actions {
            if let Action::Say(line) = action {
                let line = std::str::from_utf8(line).unwrap().trim_end();
                self.prompt.heard(&Message::entered(line), now());
            }
        }
        self.actions.extend(actions);
        let mut out = Vec::new();
        self.prompt.compose(&mut out);
        self.terminal.process(&out);
        self.written += std::str::from_utf8(&out).unwrap();
    }

    fn type_keys(&mut self, keys: &str) {
        self.prompt.typed(keys.as_bytes(), now());
        self.draw();
    }

    fn hear(&mut self, line: &str) {
        self.prompt.heard(&Message::parse(line), now());
        self.draw();
    }

    fn resize(&mut self, columns: usize, rows: usize) {
        self.size = Size { columns, rows };
        self.terminal
            .screen_mut()
            .set_size(nonzero(rows), nonzero(columns));
        self.prompt.resized(columns, rows);
        self.draw();
    }

    /// The rows that are not empty.
    fn rows(&self) -> Vec<String> {
        let screen = self.terminal.screen();
        let rows = screen.rows(0, self.size.columns as u16);
        let rows = rows.map(|row| row.trim_end().to_owned());
        rows.filter(|row| !row.is_empty()).collect()
    }

    fn last_row(&self) -> String {
        self.rows().pop().unwrap_or_default()
    }

    fn cursor_column(&self) -> usize {
        self.terminal.screen().cursor_position().1.into()
    }

    fn said(&self) -> Vec<String> {
        let said = self.actions.iter().filter_map(|action| match action {
            Action::Say(bytes) => Some(String::from_utf8(bytes.clone()).unwrap()),
            _ => None,
        });
        said.collect()
    }

    fn rings(&self) -> usize {
        self.written.matches('\x07').count()
    }
}

fn nonzero(count: usize) -> NonZero<u16> {
    let count = u16::try_from(count).unwrap();
    NonZero::new(count).unwrap()
}

/// Constant, so that no test depends on the speed of the machine.
fn now() -> Moment {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    Moment {
        instant: *START,
        time: UNIX_EPOCH,
    }
}

#[test]
fn a_half_typed_line_survives_a_thousand_messages() {
    let mut scene = Scene::new(40, 10);
    scene.type_keys("half a li");
    for number in 0..1000 {
        scene.hear(&format!("<alice> message {number}"));
        assert_eq!(scene.last_row(), "bob> half a li");
    }
    assert_eq!(scene.rows()[8], "<alice> message 999");
    scene.type_keys("ne\r");
    assert_eq!(scene.said(), ["half a line\n"]);
    assert_eq!(scene.rows()[8..], ["<You> half a line", "bob>"]);
}

#[test]
fn scrolled_lines_are_whole() {
    let mut scene = Scene::new(40, 5);
    scene.type_keys("half a line that is broken, for it is too long for a row");
    for number in 0..100 {
        scene.hear(&format!("<alice> {number}"));
    }
    scene.type_keys("\r");
    let screen = scene.terminal.screen_mut();
    screen.set_scrollback(usize::MAX);
    let lines = screen.scrollback();
    let mut all = Vec::new();
    for back in (0..=lines).rev() {
        screen.set_scrollback(back);
        all.extend(screen.rows(0, 40).next());
    }
    let all: Vec<_> = all
        .into_iter()
        .filter(|row| row.starts_with("<alice>"))
        .collect();
    let expected: Vec<_> = (0..100).map(|number| format!("<alice> {number}")).collect();
    assert_eq!(all[..97], expected[..97]);
    assert!(!scene.written.contains("\x1b[2J"), "it was cleared");
}

#[test]
fn a_long_line_takes_more_rows_and_gives_them_back() {
    let mut scene = Scene::new(20, 10);
    scene.hear("<alice> hi");
    scene.type_keys(&"x".repeat(40));
    assert_eq!(
        scene.rows(),
        [
            "<alice> hi",
            &format!("bob> {}", "x".repeat(14)),
            &"x".repeat(19),
            "xxxxxxx"
        ]
    );
    scene.hear("<alice> more");
    assert_eq!(scene.rows()[..2], ["<alice> hi", "<alice> more"]);
    assert_eq!(scene.rows().len(), 5);
    scene.type_keys("\x15short");
    assert_eq!(scene.rows(), ["<alice> hi", "<alice> more", "bob> short"]);
}

#[test]
fn the_cursor_is_where_the_next_character_goes() {
    let mut scene = Scene::new(40, 10);
    for (keys, column) in [
        ("世界", 9),
        ("e\u{301}", 10),
        ("👍", 12),
        ("\x1b[D", 10),
        ("\x1b[D\x1b[D", 7),
        ("\x01", 5),
        ("\x05", 12),
    ] {
        scene.type_keys(keys);
        assert_eq!(scene.cursor_column(), column, "after {keys:?}");
    }
    assert_eq!(scene.last_row(), "bob> 世界e\u{301}👍");
}

#[test]
fn the_cursor_is_in_its_row_when_that_is_not_the_last() {
    let mut scene = Scene::new(20, 10);
    scene.type_keys("one\x1b\rtwo\x1b\rthree");
    scene.type_keys("\x1b[A\x1b[A\x1b[D");
    assert_eq!(scene.terminal.screen().cursor_position(), (0, 7));
    scene.hear("<alice> hi");
    assert_eq!(scene.terminal.screen().cursor_position(), (1, 7));
    assert_eq!(scene.rows(), ["<alice> hi", "bob> one", "two", "three"]);
}

#[test]
fn a_terminal_may_change_its_size_at_any_time() {
    let mut scene = Scene::new(60, 10);
    scene.type_keys("half a line");
    for (columns, rows) in [(30, 10), (80, 24), (12, 8), (200, 50), (3, 2), (60, 10)] {
        scene.resize(columns, rows);
        scene.hear("<a> hi");
        let shown = scene.rows().concat();
        let is_whole = shown.ends_with("half a line");
        assert!(is_whole || columns == 3, "{columns}: {shown}");
    }
    assert_eq!(scene.last_row(), "bob> half a line");
}

#[test]
fn without_colors_nothing_is_colored() {
    let look = Look {
        palette: Palette { is_colored: false },
        stamp: None,
        bell: Bell::Never,
    };
    let mut scene = Scene::with(look, 40, 10);
    for line in ["<alice> hi bob", "-- news", "!! no", "[alice] psst"] {
        scene.hear(line);
    }
    scene.type_keys("/dance\r");
    scene.set_link(LinkStatus::Offline);
    let mut sequences = scene.written.split("\x1b[").skip(1);
    assert!(sequences.all(|rest| {
        !rest
            .trim_start_matches(|c: char| c.is_ascii_digit())
            .starts_with('m')
    }));
}

#[test]
fn the_prompt_shows_the_state_of_the_connection() {
    let mut scene = Scene::new(80, 10);
    for (link, waiting_lines, prompt) in [
        (LinkStatus::Offline, 0, "[offline] bob>"),
        (LinkStatus::Offline, 1, "[offline, 1 line waiting] bob>"),
        (LinkStatus::Offline, 12, "[offline, 12 lines waiting] bob>"),
        (LinkStatus::Holding, 2, "[2 lines waiting] bob>"),
        (LinkStatus::Leaving, 0, "[leaving] bob>"),
        (LinkStatus::In { is_ours: true }, 0, "bob>"),
    ] {
        scene.set_status(link, waiting_lines);
        assert_eq!(scene.last_row(), prompt);
    }
    scene.set_status(LinkStatus::Offline, 2);
    scene.prompt.set_next_try(Some(12));
    // Half of it is for typing, above all.
    for (columns, prompt) in [
        (100, "[offline, 2 lines waiting, next try in 12 s] bob>"),
        (80, "[offline, next try in 12 s] bob>"),
        (60, "[offline, next try in 12 s] >"),
        (58, "[offline, 2 lines waiting] >"),
        (40, "[offline] bob>"),
        (24, "[offline] >"),
        (10, "bob>"),
        (6, ">"),
    ] {
        scene.resize(columns, 10);
        assert_eq!(scene.last_row(), prompt);
    }
    scene.resize(80, 10);
    scene.prompt.set_next_try(Some(3));
    scene.draw();
    assert_eq!(scene.last_row(), "[offline, next try in 3 s] bob>");
}

/// So that a terminal can copy it.
#[test]
fn a_link_that_fits_into_a_row_is_not_broken() {
    let mut scene = Scene::new(40, 20);
    let link = format!("https://example.org/{}", "x".repeat(16));
    assert_eq!(link.len(), 40 - 4);
    scene.hear(&format!("<alice> {link}"));
    assert_eq!(scene.rows()[..2], ["<alice>", &format!("    {link}")]);
    // One column too long: it begins where it stands.
    scene.hear(&format!("<alice> {link}y"));
    assert_eq!(scene.rows()[2], format!("<alice> {}", &link[..32]));
    assert_eq!(scene.rows()[3], "    xxxxy");
    let long = format!("https://example.org/{}", "a_long_path/".repeat(20));
    scene.hear(&long);
    assert!(scene.written.replace("\r\n    ", "").contains(&long));
}

/// At 80 columns, 68 spaces put the rest into a row of its own.
#[test]
fn spaces_cannot_forge_a_row() {
    let mut scene = Scene::new(80, 24);
    for blanks in [" ".repeat(68), "\t".repeat(10), "\u{3000}".repeat(34)] {
        scene.hear(&format!(
            "<mallory> ok{blanks}<alice> my bank is evil.example"
        ));
        scene.hear(&format!(
            "<mallory> ok{blanks}-- operator: my bank is evil.example"
        ));
    }
    let rows = scene.rows();
    let forged = rows
        .iter()
        .filter(|row| row.starts_with("<a") || row.starts_with("--"));
    assert_eq!(forged.count(), 0, "{rows:#?}");
    assert_eq!(
        rows.concat().matches("evil.example").count(),
        6,
        "{rows:#?}"
    );
}

#[test]
fn text_cannot_hide_in_the_margin_of_the_time() {
    for columns in 20..60 {
        let look = Look {
            palette: Palette { is_colored: false },
            stamp: Some(Stamp::new(
                TimeZone::utc(),
                local_time::Format::HoursMinutesSeconds,
            )),
            bell: Bell::Never,
        };
        let mut scene = Scene::with(look, columns, 24);
        scene
            .hear("<mallory> a line that wraps, <alice> and looks like hers, <alice> does it not?");
        let rows = scene.rows();
        for row in &rows[1..rows.len() - 1] {
            assert!(
                row.starts_with(&" ".repeat("00:00:00 ".len() + 1)),
                "{rows:#?}"
            );
        }
    }
}

#[test]
fn new_lines_wrap_to_the_new_width() {
    let mut scene = Scene::new(20, 24);
    scene.hear("<alice> one two three four");
    assert_eq!(scene.rows()[..2], ["<alice> one two", "    three four"]);
    scene.resize(40, 24);
    scene.hear("<alice> one two three four");
    assert_eq!(scene.rows()[2], "<alice> one two three four");
    // What has come before, and is written after.
    scene
        .prompt
        .heard(&Message::parse("<alice> one two three five"), now());
    scene.resize(24, 24);
    assert_eq!(scene.rows()[3..5], ["<alice> one two three", "    five"]);
}

#[test]
fn the_terminal_wraps_no_row_of_the_prompt() {
    let mut scene = Scene::new(20, 10);
    scene.written.clear();
    scene.type_keys("a");
    let (off, on) = ("\x1b[?7l", "\x1b[?7h");
    let prompt = scene.written.split_once(off).expect("no wrapping").1;
    assert!(
        prompt.contains("bob>") && prompt.ends_with(on),
        "{prompt:?}"
    );
}

#[test]
fn notices_are_dim_and_trouble_is_marked() {
    let palette = Palette { is_colored: true };
    let mut scene = Scene::new(40, 10);
    for (is_trouble, style, prefix) in [
        (false, palette.dim(), NOTICE_PREFIX),
        (true, palette.error(), REFUSAL_PREFIX),
    ] {
        scene.written.clear();
        scene.prompt.notify("so it is", is_trouble, now());
        scene.draw();
        assert!(
            scene
                .written
                .contains(&format!("{style}{prefix}so it is{style:#}"))
        );
    }
    for (link, style) in [
        (LinkStatus::Offline, palette.error()),
        (LinkStatus::Leaving, palette.error()),
        (LinkStatus::In { is_ours: true }, palette.bold()),
    ] {
        scene.written.clear();
        scene.set_link(link);
        let prompt = scene.last_row() + " ";
        let styled = format!("{style}{prompt}{style:#}");
        assert!(scene.written.contains(&styled), "{:?}", scene.written);
    }
}

#[test]
fn lines_that_are_not_answered_stand_above_the_prompt_and_look_so_after_a_while() {
    let mut scene = Scene::new(50, 12);
    scene.hear("<alice> hi");
    scene.wait_for_answers(&[("hello", false), ("/who", false)], None);
    assert_eq!(scene.rows(), ["<alice> hi", "<You> hello", "bob>"]);
    scene.hear("<alice> anybody?");
    assert_eq!(
        scene.rows()[1..],
        ["<alice> anybody?", "<You> hello", "bob>"]
    );
    let long = "x".repeat(60);
    scene.type_keys("ha");
    scene.wait_for_answers(
        &[("hello", true), (&long, true), ("/me\twaves", false)],
        Some(5),
    );
    let cut = format!("<You> {}…", "x".repeat(42));
    let rows = [
        "<You> hello …",
        &cut,
        "* bob waves",
        "[no answer for 5 s] bob> ha",
    ];
    assert_eq!(scene.rows()[2..], rows);
    assert_eq!(scene.cursor_column(), 27);
    let last: Vec<_> = (0..5).map(|n| (n.to_string(), true)).collect();
    let last: Vec<_> = last
        .iter()
        .map(|(line, is_late)| (&line[..], *is_late))
        .collect();
    scene.wait_for_answers(&last, Some(10));
    assert_eq!(
        scene.rows()[2..5],
        [2, 3, 4].map(|n| format!("<You> {n} …"))
    );
    scene.wait_for_answers(&[], None);
    assert_eq!(scene.rows(), ["<alice> hi", "<alice> anybody?", "bob> ha"]);
}

#[test]
fn nothing_is_written_while_nothing_changes() {
    let mut scene = Scene::new(60, 10);
    let before = scene.written.len();
    scene.draw();
    scene.set_link(LinkStatus::In { is_ours: true });
    scene.type_keys("\x1b[D");
    scene.resize(60, 10);
    assert_eq!(scene.written.len(), before);
}

#[test]
fn the_terminal_is_given_back_clean_and_taken_again() {
    let mut scene = Scene::new(60, 10);
    scene.hear("<alice> hi");
    scene.type_keys("half");
    scene.prompt.set_hidden(true);
    scene.hear("<alice> bye");
    assert_eq!(scene.rows(), ["<alice> hi", "<alice> bye"]);
    assert_eq!(scene.terminal.screen().cursor_position(), (2, 0));
    scene.terminal.process(b"$ fg\r\n");
    scene.prompt.set_hidden(false);
    scene.draw();
    assert_eq!(scene.rows()[2..], ["$ fg", "bob> half"]);
}

#[test]
fn the_screen_is_cleared_when_asked_for() {
    let mut scene = Scene::new(60, 10);
    scene.hear("<alice> hi");
    scene.type_keys("half\x0c");
    assert_eq!(scene.rows(), ["bob> half"]);
}

fn status(name: &str, link: LinkStatus) -> Status<'_> {
    Status {
        link,
        is_settled: true,
        said: Said::default(),
        no_answer_for: None,
        name: Some(name),
    }
}
