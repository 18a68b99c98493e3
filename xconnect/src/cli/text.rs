//! Text for people: widths of characters, and numbers with units.

use std::time::Duration;

/// Columns that a string takes on a terminal: combining marks take none, East Asian wide characters and
/// emoji two (the ranges of Unicode's EastAsianWidth that occur in names), the rest one.
pub(super) fn width(text: &str) -> usize {
    text.chars().map(char_width).sum()
}

fn char_width(c: char) -> usize {
    match u32::from(c) {
        0x0300..=0x036f | 0x0483..=0x0489 | 0x0591..=0x05bd | 0x064b..=0x065f => 0,
        0x1ab0..=0x1aff | 0x1dc0..=0x1dff | 0x200b..=0x200f | 0x20d0..=0x20ff | 0xfe00..=0xfe0f => 0,
        0x1100..=0x115f | 0x2e80..=0x303e | 0x3041..=0xa4cf | 0xa960..=0xa97f | 0xac00..=0xd7a3 => 2,
        0xf900..=0xfaff | 0xfe30..=0xfe6f | 0xff00..=0xff60 | 0xffe0..=0xffe6 => 2,
        0x1f300..=0x1f64f | 0x1f680..=0x1f6ff | 0x1f900..=0x1faff | 0x20000..=0x3fffd => 2,
        _ => 1,
    }
}

/// Cuts a string to at most `columns`, with an ellipsis where something is missing.
pub(super) fn cut(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let mut room = columns.saturating_sub(1);
    let mut kept = String::new();
    for c in text.chars() {
        let taken = char_width(c);
        if taken > room {
            break;
        }
        room -= taken;
        kept.push(c);
    }
    if columns > 0 {
        kept.push('…');
    }
    kept
}

/// Makes text of others harmless for a terminal: control characters and the marks that turn the direction
/// of writing are shown by number.
pub(super) fn harmless(text: &str) -> String {
    let hidden = |c: char| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    if !text.contains(hidden) {
        return text.to_owned();
    }
    let mut shown = String::new();
    for c in text.chars() {
        if hidden(c) {
            shown.push_str(&format!("\\u{{{:x}}}", u32::from(c)));
        } else {
            shown.push(c);
        }
    }
    shown
}

/// A number of bytes in binary units.
pub(super) fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let mut value = count as f64 / 1024.0;
    let mut unit = 0;
    // 1023.95 would be shown as 1024.0.
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// Bytes per second.
pub(super) fn rate(bytes_moved: u64, elapsed: Duration) -> String {
    let seconds = elapsed.as_secs_f64();
    if seconds <= 0.0 {
        return "-".to_owned();
    }
    format!("{}/s", bytes((bytes_moved as f64 / seconds).round() as u64))
}

/// How often something happens in a second; `-` where no time has passed.
pub(super) fn per_second(count: u64, elapsed: Duration) -> String {
    let seconds = elapsed.as_secs_f64();
    if seconds <= 0.0 {
        return "-".to_owned();
    }
    let value = count as f64 / seconds;
    // 9.95 would be shown as 10.0.
    if count == 0 || value >= 9.95 { format!("{value:.0}") } else { format!("{value:.1}") }
}

/// A part of a whole in percent; `-` of nothing.
pub(super) fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "-".to_owned();
    }
    format!("{:.0}%", part as f64 * 100.0 / whole as f64)
}

/// Microseconds, in the unit that keeps the number short.
pub(super) fn micros(count: u64) -> String {
    match count {
        0 => "-".to_owned(),
        1..1_000 => format!("{count} µs"),
        1_000..1_000_000 => format!("{} ms", count as f64 / 1e3),
        _ => format!("{} s", count as f64 / 1e6),
    }
}

/// Seconds as the two largest of days, hours, minutes and seconds.
pub(super) fn seconds(total: u64) -> String {
    let (days, hours, minutes, rest) = (total / 86400, total / 3600 % 24, total / 60 % 60, total % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{rest}s"),
        (0, 0, _) => format!("{minutes}m{rest:02}s"),
        (0, _, _) => format!("{hours}h{minutes:02}m"),
        _ => format!("{days}d{hours:02}h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn widths() {
        assert_eq!(width("abc"), 3);
        assert_eq!(width("e\u{301}"), 1);
        assert_eq!(width("容器"), 4);
        assert_eq!(cut("container", 5), "cont…");
        assert_eq!(cut("容器容器", 4), "容…");
        assert_eq!(cut("ab", 2), "ab");
        assert_eq!(cut("ab", 0), "");
    }

    #[test]
    fn numbers() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1024), "1.0 KiB");
        assert_eq!(bytes(1024 * 1024 - 1), "1.0 MiB");
        assert_eq!(bytes(u64::MAX), "16.0 EiB");
        assert_eq!(rate(2048, Duration::from_millis(500)), "4.0 KiB/s");
        assert_eq!(rate(1, Duration::ZERO), "-");
        assert_eq!(per_second(1, Duration::ZERO), "-");
        assert_eq!(per_second(0, Duration::from_secs(1)), "0");
        assert_eq!(per_second(1, Duration::from_secs(4)), "0.2");
        assert_eq!(per_second(4999, Duration::from_millis(500)), "9998");
        assert_eq!(percent(1, 0), "-");
        assert_eq!(percent(2, 3), "67%");
        assert_eq!((micros(0), micros(250)), ("-".to_owned(), "250 µs".to_owned()));
        assert_eq!((micros(2_500), micros(60_000_000)), ("2.5 ms".to_owned(), "60 s".to_owned()));
        assert_eq!(seconds(59), "59s");
        assert_eq!(seconds(61), "1m01s");
        assert_eq!(seconds(3600), "1h00m");
        assert_eq!(seconds(90_000), "1d01h");
    }

    #[test]
    fn terminal_escapes_are_shown() {
        assert_eq!(harmless("a\u{1b}[2Jb\n"), "a\\u{1b}[2Jb\\u{a}");
        assert_eq!(harmless("grün"), "grün");
    }
}
