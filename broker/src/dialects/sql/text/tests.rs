use super::*;

fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    write(&mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn numbers_are_written_as_java_writes_them() {
    // hs2#33
    let doubles = [
        (1.2, "1.2"),
        (1.0, "1.0"),
        (0.0, "0.0"),
        (-0.001, "-0.001"),
        (0.0001, "1.0E-4"),
        (1e7, "1.0E7"),
        (9_999_999.0, "9999999.0"),
        (-1.25e300, "-1.25E300"),
        (f64::NAN, "NaN"),
        (f64::NEG_INFINITY, "-Infinity"),
    ];
    for (value, text) in doubles {
        assert_eq!(written(|out| floating(value, &format!("{value:e}"), out)), text);
    }
    let float = 1.2f32;
    assert_eq!(
        written(|out| floating(float.into(), &format!("{float:e}"), out)),
        "1.2"
    );
    let decimals = [
        (12_345, 2, "123.45"),
        (-5, 3, "-0.005"),
        (0, 2, "0.00"),
        (7, 0, "7"),
        (i128::MAX, 38, "1.70141183460469231731687303715884105727"),
    ];
    for (value, scale, text) in decimals {
        assert_eq!(written(|out| decimal(value, scale, out)), text);
    }
}

#[test]
fn dates_and_times_are_those_of_the_zone() {
    // hs2#34
    let dates = [
        (0, "1970-01-01"),
        (-25_567, "1900-01-01"),
        (-719_162, "0001-01-01"),
        (11_016, "2000-02-29"),
        (2_932_897, "+10000-01-01"),
    ];
    for (days, text) in dates {
        assert_eq!(written(|out| date(days, out)), text);
    }
    let at = 1_542_461_591_123_400;
    let zones = [
        (None, "2018-11-17 13:33:11.1234"),
        (Some("UTC"), "2018-11-17 13:33:11.1234"),
        (Some("Asia/Tokyo"), "2018-11-17 22:33:11.1234"),
        (Some("America/Los_Angeles"), "2018-11-17 05:33:11.1234"),
        (Some("+05:30"), "2018-11-17 19:03:11.1234"),
        (Some("GMT+8"), "2018-11-17 21:33:11.1234"),
    ];
    for (zone, text) in zones {
        let zone = zone.and_then(Zone::of);
        assert_eq!(written(|out| write_timestamp(at, zone.as_ref(), out)), text);
    }
    assert_eq!(
        written(|out| write_timestamp(-1, None, out)),
        "1969-12-31 23:59:59.999999"
    );
    assert_eq!(written(|out| time(3_661_000_000_010, out)), "01:01:01.00000001");
}

#[test]
fn intervals_have_the_form_of_their_kind() {
    // hs2#35
    assert_eq!(written(|out| year_month(14, out)), "1-2");
    assert_eq!(written(|out| year_month(-14, out)), "-1-2");
    assert_eq!(
        written(|out| day_time(93_784_000_000, out)),
        "1 02:03:04.000000000"
    );
    assert_eq!(written(|out| day_time(-1_500_000, out)), "-0 00:00:01.500000000");
    assert_eq!(
        written(|out| calendar(14, 3, 3_661_500_000, out)),
        "1 years 2 months 3 days 1 hours 1 minutes 1.5 seconds"
    );
    assert_eq!(written(|out| calendar(0, 0, 0, out)), "0 seconds");
}
