//! Draws docs/client.svg, the picture of a client at a terminal: `cargo run --example screenshot`.

#[path = "../tests/common/mod.rs"]
mod common;

use std::fmt::Write as _;
use std::fs;
use std::process::Command;

use common::peer::Peer;
use common::process::{CHAT, chat_client};
use common::screen::Screen;
use common::server::Server;

const COLUMNS: u16 = 76;
const ROWS: u16 = 17;

/// A character cell, in pixels.
const WIDTH: f64 = 8.4;
const HEIGHT: f64 = 19.0;
const MARGIN: f64 = 14.0;

const PICTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/client.svg");

fn main() {
    build_chat();
    let server = Server::sociable(&["--welcome", "Tea is in the kitchen", "--no-presence"]);
    let mut alice = named(&server, "alice", "127.0.0.2");
    let mut tom = named(&server, "tom", "127.0.0.3");
    alice.say("anybody up for lunch?");
    tom.expect_line("<alice> anybody up for lunch?");
    tom.say("in ten minutes");
    alice.expect_line("<tom> in ten minutes");

    let mut screen = Screen::new(COLUMNS, ROWS);
    let mut command = chat_client(server.address);
    command.args(["--name", "zoe"]);
    let _client = screen.run(command);
    screen.expect_last_row("zoe>");
    screen.expect_row("-- you are now zoe");
    let mut say = |keys: &str, answer: &dyn Fn(), shown: &str| {
        screen.type_keys(keys);
        answer();
        screen.expect_row(shown);
    };
    say(
        "hi, where are we going?\r",
        &|| (),
        "<You> hi, where are we going?",
    );
    say(
        "",
        &|| alice.say("the usual place, Zoe"),
        "<alice> the usual place, Zoe",
    );
    say("", &|| tom.say("/me is on his way"), "* tom is on his way");
    say(
        "",
        &|| tom.say("/msg zoe it is her birthday!"),
        "[tom] it is her birthday!",
    );
    say(
        "/msg tom I know, the cake is here\r",
        &|| (),
        "-- sent to tom",
    );
    say("/who\r", &|| (), "-- alice, tom, zoe");
    say("/dance\r", &|| (), "/dance");
    screen.expect("the refusal", |rows| {
        rows.iter().any(|row| row.starts_with("!! "))
    });
    screen.type_keys("I'll bring 蛋糕 and cand");
    screen.expect_last_row("zoe> I'll bring 蛋糕 and cand");
    fs::write(PICTURE, drawn(&screen)).expect("a checkout of the repository");
}

/// Cargo builds the binary for tests and benches, but not for examples.
fn build_chat() {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
    cargo.args([
        "build",
        "--locked",
        "--bin",
        "chat",
        "--target-dir",
        "target",
    ]);
    let built = cargo.status().expect("a cargo that runs");
    assert!(built.success(), "{CHAT} cannot be built: {built}");
}

fn named(server: &Server, name: &str, ip: &str) -> Peer {
    let mut peer = Peer::connect_from(ip, server.address);
    peer.say(&format!("/nick {name}"));
    while peer.next_line().expect("an answer") != format!("-- you are now {name}") {}
    peer
}

fn drawn(screen: &Screen) -> String {
    let shown = screen.shown();
    let (width, height) = (
        f64::from(COLUMNS) * WIDTH + 2.0 * MARGIN,
        f64::from(ROWS) * HEIGHT + 2.0 * MARGIN,
    );
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" \
         font-family=\"ui-monospace,Menlo,Consolas,'DejaVu Sans Mono',monospace\" \
         font-size=\"14\">\n<title>chat client at a terminal</title>\n\
         <rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"#16181d\"/>\n"
    );
    for row in 0..ROWS {
        for column in 0..COLUMNS {
            let cell = shown.cell(row, column).expect("within the screen");
            if cell.has_contents() && cell.contents() != " " {
                push_cell(&mut svg, cell, row, column);
            }
        }
    }
    let (row, column) = shown.cursor_position();
    let (x, y) = place(row, column);
    writeln!(
        svg,
        "<rect x=\"{x:.1}\" y=\"{:.1}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#d7dae0\"/>\n</svg>",
        y - 14.5
    )
    .expect("a String takes it");
    svg
}

fn push_cell(svg: &mut String, cell: &vt100::Cell, row: u16, column: u16) {
    let (x, y) = place(row, column);
    let color = match cell.fgcolor() {
        vt100::Color::Idx(index @ 16..=231) => cube(index),
        _ => "#d7dae0".to_owned(),
    };
    let (color, behind) = if cell.inverse() {
        ("#16181d".to_owned(), Some(color))
    } else {
        (color, None)
    };
    if let Some(behind) = behind {
        let top = y - 14.5;
        let width = WIDTH + 0.3;
        writeln!(svg, "<rect x=\"{x:.1}\" y=\"{top:.1}\" width=\"{width}\" height=\"{HEIGHT}\" fill=\"{behind}\"/>")
            .expect("a String takes it");
    }
    let weight = if cell.bold() {
        " font-weight=\"bold\""
    } else {
        ""
    };
    let opacity = if cell.dim() { " opacity=\"0.6\"" } else { "" };
    let text = cell
        .contents()
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;");
    writeln!(
        svg,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" fill=\"{color}\"{weight}{opacity}>{text}</text>"
    )
    .expect("a String takes it");
}

fn place(row: u16, column: u16) -> (f64, f64) {
    (
        MARGIN + f64::from(column) * WIDTH,
        MARGIN + f64::from(row) * HEIGHT + 14.5,
    )
}

/// Xterm's colour cube.
fn cube(index: u8) -> String {
    const LEVELS: [u8; 6] = [0, 95, 135, 175, 215, 255];
    let index = usize::from(index - 16);
    let [red, green, blue] = [index / 36, index / 6 % 6, index % 6].map(|part| LEVELS[part]);
    format!("#{red:02x}{green:02x}{blue:02x}")
}
