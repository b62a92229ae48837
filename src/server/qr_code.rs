//! An address as a QR code, for a phone's camera in front of a terminal.

use qrcodegen::{QrCode, QrCodeEcc};

/// Light modules around it. The standard wants four on paper; a terminal's background is even.
const MARGIN: i32 = 2;

/// Black on white, whatever the terminal's colours are: readers want dark on light.
const COLOURS: &str = "\x1b[30;107m";

const PLAIN: &str = "\x1b[0m";

/// `text` as rows of half blocks, two modules in a character. `None` if that needs more than
/// `most_columns`, or more than a QR code holds.
pub(super) fn rows(text: &str, most_columns: usize) -> Option<String> {
    let code = QrCode::encode_text(text, QrCodeEcc::Low).ok()?;
    let modules = -MARGIN..code.size() + MARGIN;
    if modules.len() > most_columns {
        return None;
    }
    let mut rows = String::new();
    for y in modules.clone().step_by(2) {
        rows.push_str(COLOURS);
        for x in modules.clone() {
            // Outside of it, all is light.
            let is_dark = (code.get_module(x, y), code.get_module(x, y + 1));
            rows.push(match is_dark {
                (true, true) => '█',
                (true, false) => '▀',
                (false, true) => '▄',
                (false, false) => ' ',
            });
        }
        rows.push_str(PLAIN);
        rows.push('\n');
    }
    Some(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: &str = "http://192.168.1.5:8080/";

    #[test]
    fn its_modules_are_the_halves_of_characters() {
        let rows = rows(ADDRESS, 80).unwrap();
        let mut dark = Vec::new();
        for row in rows.lines() {
            let row = row
                .strip_prefix(COLOURS)
                .and_then(|row| row.strip_suffix(PLAIN));
            let row: Vec<char> = row.unwrap().chars().collect();
            for halves in ["█▀", "█▄"] {
                dark.push(
                    row.iter()
                        .map(|&c| halves.contains(c))
                        .collect::<Vec<bool>>(),
                );
            }
        }
        // The finder in the corner (ISO/IEC 18004, 6.3.3), in its margin.
        let finder = [
            "         ",
            "         ",
            "  #######",
            "  #     #",
            "  # ### #",
            "  # ### #",
            "  # ### #",
            "  #     #",
            "  #######",
        ];
        for (row, expected) in dark.iter().zip(finder) {
            let found: String = row[..9]
                .iter()
                .map(|&it| if it { '#' } else { ' ' })
                .collect();
            assert_eq!(found, expected);
        }
        let width = dark[0].len();
        assert_eq!(dark.len(), width.next_multiple_of(2));
        assert!(
            dark[width - 2..].iter().flatten().all(|&it| !it),
            "the margin below"
        );
    }

    #[test]
    fn it_is_left_out_where_it_does_not_fit() {
        let columns = rows(ADDRESS, 80)
            .unwrap()
            .lines()
            .next()
            .unwrap()
            .chars()
            .count();
        let columns = columns - COLOURS.len() - PLAIN.len();
        assert!(rows(ADDRESS, columns).is_some());
        assert!(rows(ADDRESS, columns - 1).is_none());
        assert!(rows(&"x".repeat(5000), 80).is_none());
    }
}
