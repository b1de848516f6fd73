//! Time strings of Livy's requests, such as `10m`.

use std::time::Duration;

use super::refusal::Refusal;

/// Reads `<digits><unit>`, the unit one of `us ms s m min h d`, none meaning milliseconds.
///
/// # Errors
/// [`Refusal::Rejected`] in Livy's words.
pub fn read(text: &str) -> Result<Duration, Refusal> {
    let trimmed = text.trim().to_ascii_lowercase();
    let digits = trimmed.len() - trimmed.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = trimmed.split_at(digits);
    let wrong = || Refusal::Rejected(format!("Invalid time string: {text:.64}"));
    let number: u64 = number.parse().map_err(|_not_one| wrong())?;
    let micros = match unit.trim_start() {
        "us" => 1,
        "ms" | "" => 1000,
        "s" => 1_000_000,
        "m" | "min" => 60_000_000,
        "h" => 3_600_000_000,
        "d" => 86_400_000_000,
        suffix => return Err(Refusal::Rejected(format!("Invalid suffix: \"{suffix:.64}\""))),
    };
    let total = number.checked_mul(micros).ok_or_else(wrong)?;
    Ok(Duration::from_micros(total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_livy_reads() {
        let seconds = |text: &str| read(text).map(|read| read.as_secs_f64());
        let cases = [
            ("10m", 600.0),
            ("600s", 600.0),
            ("1h", 3600.0),
            ("5", 0.005),
            (" 2 MIN ", 120.0),
        ];
        for (text, wanted) in cases {
            assert_eq!(seconds(text), Ok(wanted), "{text}");
        }
        assert_eq!(read("1d"), Ok(Duration::from_hours(24)));
        assert_eq!(read("7us"), Ok(Duration::from_micros(7)));
    }

    #[test]
    fn refuses_what_is_no_time() {
        for text in [
            "",
            "abc",
            "10 parsecs",
            "-5s",
            "1.5s",
            "99999999999999999999s",
            "9999999999999999d",
        ] {
            assert!(matches!(read(text), Err(Refusal::Rejected(_))), "{text}");
        }
    }
}
