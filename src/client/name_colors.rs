//! The colours of names.

use anstyle::Ansi256Color;

use crate::name;

/// Of the 216 colours that practically every terminal shows alike (xterm's colour cube),
/// some that can be told apart and read on black and on white: the contrast is at least
/// 3.8 on both, and no colour has 4.6 on both (WCAG 2.2, section 1.4.3, asks for 4.5, or 3
/// where letters are large or bold). None is the red of what went wrong.
const NAME_COLORS: [u8; 16] = [
    130, 166, 100, 64, 28, 29, 30, 31, 32, 27, 63, 99, 129, 133, 164, 162,
];

/// The red of what went wrong, which no name has.
pub const ERROR_COLOR: Ansi256Color = Ansi256Color(160);

/// The colour of a name, however it is written: the same wherever it is seen.
pub fn name_color(name: &str) -> Ansi256Color {
    // FNV-1a, which is the same on every machine (www.isthe.com/chongo/tech/comp/fnv).
    let mut hash: u32 = 0x811c_9dc5;
    for byte in name::fold(name).bytes() {
        hash = (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    }
    // The low bits of this hash are its poorest.
    let index = (hash ^ (hash >> 16)) as usize % NAME_COLORS.len();
    Ansi256Color(NAME_COLORS[index])
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// Relative luminance as WCAG has it, of a colour of the cube.
    fn luminance(color: u8) -> f64 {
        const LEVELS: [f64; 6] = [0.0, 95.0, 135.0, 175.0, 215.0, 255.0];
        let index = usize::from(color - 16);
        let linear = |level: f64| match level / 255.0 {
            small if small <= 0.04045 => small / 12.92,
            value => ((value + 0.055) / 1.055).powf(2.4),
        };
        let [red, green, blue] =
            [index / 36, index / 6 % 6, index % 6].map(|part| linear(LEVELS[part]));
        0.2126 * red + 0.7152 * green + 0.0722 * blue
    }

    #[test]
    fn every_color_can_be_read_on_black_and_on_white() {
        for color in NAME_COLORS.into_iter().chain([ERROR_COLOR.0]) {
            let luminance = luminance(color);
            let on_black = (luminance + 0.05) / 0.05;
            let on_white = 1.05 / (luminance + 0.05);
            assert!(
                on_black >= 3.79 && on_white >= 3.79,
                "{color}: {on_black:.2}, {on_white:.2}"
            );
        }
    }

    #[test]
    fn a_name_has_one_color_and_names_have_many() {
        // On every machine, and tomorrow.
        assert_eq!(name_color("alice"), Ansi256Color(29));
        assert_eq!(name_color("Zoë"), name_color("zoE\u{308}"));
        let colors: HashSet<u8> = (0..200)
            .map(|n| name_color(&format!("user{n}")).0)
            .collect();
        assert_eq!(colors.len(), NAME_COLORS.len());
        assert!(!NAME_COLORS.contains(&ERROR_COLOR.0));
    }
}
