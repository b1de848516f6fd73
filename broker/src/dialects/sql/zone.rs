//! Time zones, by the names that Spark takes: those of Java's `ZoneId.of` with its short ids, and offsets whose hours
//! and minutes may have one digit (`DateTimeUtils.getZoneId`).

use arrow_array::timezone::Tz;
use arrow_schema::{DataType, Schema};
use chrono::{DateTime, Offset as _, TimeZone as _};

use super::failure::Failure;

/// Java's short ids (`ZoneId.SHORT_IDS`).
const SHORT: [(&str, &str); 28] = [
    ("ACT", "Australia/Darwin"),
    ("AET", "Australia/Sydney"),
    ("AGT", "America/Argentina/Buenos_Aires"),
    ("ART", "Africa/Cairo"),
    ("AST", "America/Anchorage"),
    ("BET", "America/Sao_Paulo"),
    ("BST", "Asia/Dhaka"),
    ("CAT", "Africa/Harare"),
    ("CNT", "America/St_Johns"),
    ("CST", "America/Chicago"),
    ("CTT", "Asia/Shanghai"),
    ("EAT", "Africa/Addis_Ababa"),
    ("ECT", "Europe/Paris"),
    ("EST", "-05:00"),
    ("HST", "-10:00"),
    ("IET", "America/Indiana/Indianapolis"),
    ("IST", "Asia/Kolkata"),
    ("JST", "Asia/Tokyo"),
    ("MIT", "Pacific/Apia"),
    ("MST", "-07:00"),
    ("NET", "Asia/Yerevan"),
    ("NST", "Pacific/Auckland"),
    ("PLT", "Asia/Karachi"),
    ("PNT", "America/Phoenix"),
    ("PRT", "America/Puerto_Rico"),
    ("PST", "America/Los_Angeles"),
    ("SST", "Pacific/Guadalcanal"),
    ("VST", "Asia/Ho_Chi_Minh"),
];
/// Seconds by which a zone may be off.
const MOST_SECONDS: i64 = 18 * 3600;

/// A zone.
#[derive(Debug, Clone, Copy)]
pub(super) enum Zone {
    /// Seconds east of UTC.
    Fixed(i64),
    /// A region with a clock that is changed.
    Region(Tz),
}

impl Zone {
    /// The zone of a name; `None` for one that is not known here.
    pub(super) fn of(name: &str) -> Option<Self> {
        let name = SHORT
            .iter()
            .find(|(short, _)| *short == name)
            .map_or(name, |(_, long)| long);
        if name == "Z" {
            return Some(Self::Fixed(0));
        }
        let bare = ["UTC", "GMT", "UT"]
            .iter()
            .find_map(|prefix| name.strip_prefix(prefix));
        if bare == Some("") {
            return Some(Self::Fixed(0));
        }
        match bare.unwrap_or(name) {
            offset if offset.starts_with(['+', '-']) => seconds(offset).map(Self::Fixed),
            _ => name.parse().ok().map(Self::Region),
        }
    }

    /// Seconds that its clock is ahead of UTC at a point in time, in microseconds since 1970.
    pub(super) fn ahead(&self, micros: i64) -> i64 {
        match self {
            Self::Fixed(seconds) => *seconds,
            Self::Region(zone) => {
                let point = DateTime::from_timestamp_micros(micros);
                let offset = point.map(|point| zone.offset_from_utc_datetime(&point.naive_utc()));
                offset.map_or(0, |offset| offset.fix().local_minus_utc().into())
            }
        }
    }
}

/// The seconds of an offset: `+h`, `+hh`, `+hhmm`, `+hhmmss`, or with colons, where parts may have one digit.
fn seconds(offset: &str) -> Option<i64> {
    let (sign, digits) = match offset.split_at_checked(1)? {
        ("-", digits) => (-1, digits),
        (_, digits) => (1, digits),
    };
    let is_number =
        |part: &&str| (1..=2).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
    let parts: Vec<&str> = if digits.contains(':') || digits.len() <= 2 {
        digits.split(':').collect()
    } else {
        (0..digits.len())
            .step_by(2)
            .map(|at| digits.get(at..at + 2).unwrap_or(""))
            .collect()
    };
    if parts.len() > 3 || !parts.iter().all(is_number) {
        return None;
    }
    let mut values = parts.iter().map(|part| part.parse::<i64>().unwrap_or_default());
    let mut next = || values.next().unwrap_or_default();
    let (hours, minutes, seconds) = (next(), next(), next());
    let total = hours * 3600 + minutes * 60 + seconds;
    (minutes < 60 && seconds < 60 && total <= MOST_SECONDS).then_some(sign * total)
}

/// Refuses a result whose times could not be shown as its session's clock shows them.
///
/// # Errors
/// It has times of a zone that is not known here.
pub(super) fn known(schema: &Schema) -> Result<(), Failure> {
    let unknown = schema
        .fields()
        .iter()
        .find_map(|field| unknown(field.data_type()));
    unknown.map_or(Ok(()), |zone| {
        Err(Failure::invalid(format!(
            "the time zone {zone} of this session is not known; set spark.sql.session.timeZone to a region such as \
             Europe/Berlin, or to an offset such as +01:00"
        )))
    })
}

fn unknown(of: &DataType) -> Option<&str> {
    match of {
        DataType::Timestamp(_, Some(zone)) => Zone::of(zone).is_none().then_some(zone),
        DataType::List(field) | DataType::Map(field, _) => unknown(field.data_type()),
        DataType::Struct(fields) => fields.iter().find_map(|field| unknown(field.data_type())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use arrow_schema::{Field, TimeUnit};

    use super::*;

    #[test]
    fn zones_have_the_names_that_spark_takes() {
        // hs2#34: 2018-11-17 13:33 UTC
        let at = 1_542_461_591_123_400;
        let zones = [
            ("UTC", 0),
            ("Z", 0),
            ("GMT", 0),
            ("Etc/UTC", 0),
            ("GMT0", 0),
            ("Asia/Tokyo", 9 * 3600),
            ("America/Los_Angeles", -8 * 3600),
            ("PST", -8 * 3600),
            ("JST", 9 * 3600),
            ("IST", 19_800),
            ("EST", -5 * 3600),
            ("+05:30", 19_800),
            ("GMT-02:00", -7200),
            ("GMT+8", 8 * 3600),
            ("UTC+8", 8 * 3600),
            ("UT+8", 8 * 3600),
            ("+8", 8 * 3600),
            ("+8:00", 8 * 3600),
            ("-08:3", -(8 * 3600 + 180)),
            ("+0830", 8 * 3600 + 1800),
            ("+08:00:30", 8 * 3600 + 30),
            ("-080030", -(8 * 3600 + 30)),
            ("+18:00", 18 * 3600),
        ];
        for (name, expected) in zones {
            let ahead = Zone::of(name).map(|zone| zone.ahead(at));
            assert_eq!(ahead, Some(expected), "{name}");
        }
        for name in [
            "",
            "UTC0",
            "Mars/Olympus",
            "+19",
            "+08:60",
            "+1:2:3:4",
            "+",
            "+123",
            "GMT+x",
        ] {
            assert!(Zone::of(name).is_none(), "{name}");
        }
    }

    #[test]
    fn times_of_an_unknown_zone_are_not_shown_as_another() {
        let of = |zone: &str| {
            let time = DataType::Timestamp(TimeUnit::Microsecond, Some(zone.into()));
            let list = DataType::List(Field::new("item", time, true).into());
            known(&Schema::new(vec![Field::new("c", list, true)]))
        };
        assert!(of("Europe/Berlin").is_ok());
        assert!(of("Mars/Olympus").unwrap_err().text.contains("Mars/Olympus"));
    }
}
