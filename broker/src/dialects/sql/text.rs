//! Values as text, as Hive and Spark's own Thrift server write them.
//!
//! A column is looked through once for what it is; a value then goes to a buffer without a detour.

use std::io::Write as _;

use arrow_array::cast::AsArray as _;
use arrow_array::types::{
    Date32Type, Decimal128Type, DurationMicrosecondType, Float32Type, Float64Type, Int8Type, Int16Type,
    Int32Type, Int64Type, IntervalMonthDayNanoType, IntervalYearMonthType, Time64NanosecondType,
    TimestampMicrosecondType,
};
use arrow_array::{
    Array, BinaryArray, BooleanArray, LargeBinaryArray, LargeStringArray, ListArray, MapArray,
    PrimitiveArray, StringArray,
};
use arrow_schema::{DataType, FieldRef, IntervalUnit, TimeUnit};
use parquet_variant::Variant;
use parquet_variant_json::VariantToJson as _;

use super::zone::Zone;

/// Writes the values of one column.
pub(crate) struct Texts<'a> {
    array: &'a dyn Array,
    kind: Kind<'a>,
}

enum Kind<'a> {
    Bool(&'a BooleanArray),
    Tiny(&'a PrimitiveArray<Int8Type>),
    Small(&'a PrimitiveArray<Int16Type>),
    Int(&'a PrimitiveArray<Int32Type>),
    Big(&'a PrimitiveArray<Int64Type>),
    Float(&'a PrimitiveArray<Float32Type>),
    Double(&'a PrimitiveArray<Float64Type>),
    Text(&'a StringArray),
    LargeText(&'a LargeStringArray),
    Bytes(&'a BinaryArray),
    LargeBytes(&'a LargeBinaryArray),
    Decimal(&'a PrimitiveArray<Decimal128Type>, i8),
    Date(&'a PrimitiveArray<Date32Type>),
    Time(&'a PrimitiveArray<Time64NanosecondType>),
    Timestamp(&'a PrimitiveArray<TimestampMicrosecondType>, Option<Zone>),
    YearMonth(&'a PrimitiveArray<IntervalYearMonthType>),
    DayTime(&'a PrimitiveArray<DurationMicrosecondType>),
    Calendar(&'a PrimitiveArray<IntervalMonthDayNanoType>),
    List(&'a ListArray, Box<Texts<'a>>),
    Map(&'a MapArray, Box<Texts<'a>>, Box<Texts<'a>>),
    Struct(Vec<(&'a str, Texts<'a>)>),
    /// Its metadata and its value.
    Variant(&'a BinaryArray, &'a BinaryArray),
    Unknown,
}

impl<'a> Texts<'a> {
    /// The values of a column.
    pub(crate) fn of(array: &'a dyn Array) -> Self {
        let kind = match array.data_type() {
            DataType::Boolean => Kind::Bool(array.as_boolean()),
            DataType::Int8 => Kind::Tiny(array.as_primitive()),
            DataType::Int16 => Kind::Small(array.as_primitive()),
            DataType::Int32 => Kind::Int(array.as_primitive()),
            DataType::Int64 => Kind::Big(array.as_primitive()),
            DataType::Float32 => Kind::Float(array.as_primitive()),
            DataType::Float64 => Kind::Double(array.as_primitive()),
            DataType::Utf8 => Kind::Text(array.as_string()),
            DataType::LargeUtf8 => Kind::LargeText(array.as_string()),
            DataType::Binary => Kind::Bytes(array.as_binary()),
            DataType::LargeBinary => Kind::LargeBytes(array.as_binary()),
            DataType::Decimal128(_, scale) => Kind::Decimal(array.as_primitive(), *scale),
            DataType::Date32 => Kind::Date(array.as_primitive()),
            DataType::Time64(TimeUnit::Nanosecond) => Kind::Time(array.as_primitive()),
            DataType::Timestamp(TimeUnit::Microsecond, zone) => {
                Kind::Timestamp(array.as_primitive(), zone.as_deref().and_then(Zone::of))
            }
            DataType::Interval(IntervalUnit::YearMonth) => Kind::YearMonth(array.as_primitive()),
            DataType::Duration(TimeUnit::Microsecond) => Kind::DayTime(array.as_primitive()),
            DataType::Interval(IntervalUnit::MonthDayNano) => Kind::Calendar(array.as_primitive()),
            _ => Self::nested(array),
        };
        Self { array, kind }
    }

    fn nested(array: &'a dyn Array) -> Kind<'a> {
        if let Some(list) = array.as_list_opt::<i32>() {
            return Kind::List(list, Box::new(Self::of(list.values())));
        }
        if let Some(map) = array.as_map_opt() {
            return Kind::Map(
                map,
                Box::new(Self::of(map.keys())),
                Box::new(Self::of(map.values())),
            );
        }
        if let Some((metadata, value)) = variant(array) {
            return Kind::Variant(metadata, value);
        }
        if let Some(parts) = array.as_struct_opt() {
            let names = parts.fields().iter().map(|field| field.name().as_str());
            let columns = parts.columns().iter().map(|column| Self::of(column));
            return Kind::Struct(names.zip(columns).collect());
        }
        Kind::Unknown
    }

    /// Appends the value of a row that is not null.
    pub(crate) fn write(&self, row: usize, out: &mut Vec<u8>) {
        match &self.kind {
            Kind::Bool(array) => out.extend_from_slice(if array.value(row) { b"true" } else { b"false" }),
            Kind::Tiny(array) => shown(array.value(row), out),
            Kind::Small(array) => shown(array.value(row), out),
            Kind::Int(array) => shown(array.value(row), out),
            Kind::Big(array) => shown(array.value(row), out),
            Kind::Float(array) => {
                let value = array.value(row);
                floating(f64::from(value), &format!("{value:e}"), out);
            }
            Kind::Double(array) => floating(array.value(row), &format!("{:e}", array.value(row)), out),
            Kind::Text(array) => out.extend_from_slice(array.value(row).as_bytes()),
            Kind::LargeText(array) => out.extend_from_slice(array.value(row).as_bytes()),
            Kind::Bytes(array) => readable(array.value(row), out),
            Kind::LargeBytes(array) => readable(array.value(row), out),
            Kind::Decimal(array, scale) => decimal(array.value(row), *scale, out),
            Kind::Date(array) => date(array.value(row).into(), out),
            Kind::Time(array) => time(array.value(row), out),
            Kind::Timestamp(array, zone) => write_timestamp(array.value(row), zone.as_ref(), out),
            Kind::YearMonth(array) => year_month(array.value(row), out),
            Kind::DayTime(array) => day_time(array.value(row), out),
            Kind::Calendar(array) => {
                let value = array.value(row);
                calendar(value.months, value.days, value.nanoseconds / 1000, out);
            }
            Kind::List(array, items) => {
                let (start, end) = bounds(array.value_offsets(), row);
                sequence(out, b"[]", start..end, |item, out| items.write_nested(item, out));
            }
            Kind::Map(array, keys, values) => {
                let (start, end) = bounds(array.value_offsets(), row);
                sequence(out, b"{}", start..end, |item, out| {
                    keys.write_nested(item, out);
                    out.push(b':');
                    values.write_nested(item, out);
                });
            }
            Kind::Struct(parts) => sequence(out, b"{}", 0..parts.len(), |index, out| {
                let (name, values) = &parts[index];
                quoted(name, out);
                out.push(b':');
                values.write_nested(row, out);
            }),
            Kind::Variant(metadata, value) => json(metadata.value(row), value.value(row), out),
            Kind::Unknown => out.extend_from_slice(b"?"),
        }
    }

    fn write_nested(&self, row: usize, out: &mut Vec<u8>) {
        if self.array.is_null(row) || *self.array.data_type() == DataType::Null {
            out.extend_from_slice(b"null");
            return;
        }
        match &self.kind {
            Kind::Text(array) => quoted(array.value(row), out),
            Kind::LargeText(array) => quoted(array.value(row), out),
            _ => self.write(row, out),
        }
    }
}

/// The parts of a column of variants, as Spark Connect sends them.
fn variant(array: &dyn Array) -> Option<(&BinaryArray, &BinaryArray)> {
    let parts = array.as_struct_opt()?;
    let is_variant = |field: &&FieldRef| field.metadata().contains_key("variant");
    parts.fields().iter().find(is_variant)?;
    let part = |name: &str| parts.column_by_name(name)?.as_binary_opt();
    Some((part("metadata")?, part("value")?))
}

/// A variant as JSON, which is how Spark writes it.
fn json(metadata: &[u8], value: &[u8], out: &mut Vec<u8>) {
    let read = Variant::try_new(metadata, value).and_then(|variant| variant.to_json_string());
    match read {
        Ok(text) => out.extend_from_slice(text.as_bytes()),
        Err(error) => {
            tracing::warn!(%error, "a variant cannot be read");
            out.extend_from_slice(b"null");
        }
    }
}

/// Bytes among texts. As Hive and Spark do it, what is not UTF-8 in them is replaced.
fn readable(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(String::from_utf8_lossy(bytes).as_bytes());
}

fn bounds(offsets: &[i32], row: usize) -> (usize, usize) {
    // Offsets of a valid array are not negative.
    let at = |index: usize| usize::try_from(offsets[index]).unwrap_or_default();
    (at(row), at(row + 1))
}

fn sequence(
    out: &mut Vec<u8>,
    around: &[u8; 2],
    items: std::ops::Range<usize>,
    write: impl Fn(usize, &mut Vec<u8>),
) {
    out.push(around[0]);
    let first = items.start;
    for item in items {
        if item > first {
            out.push(b',');
        }
        write(item, out);
    }
    out.push(around[1]);
}

fn shown(value: impl std::fmt::Display, out: &mut Vec<u8>) {
    // Writing to memory does not fail.
    let _written = write!(out, "{value}");
}

/// Text in quotes, as JSON has it.
fn quoted(text: &str, out: &mut Vec<u8>) {
    // Text can always be written as JSON.
    let _written = serde_json::to_writer(out, text);
}

/// A number as Java writes it, from its shortest digits in scientific form.
fn floating(value: f64, scientific: &str, out: &mut Vec<u8>) {
    if !value.is_finite() {
        let name = match (value.is_nan(), value > 0.0) {
            (true, _) => "NaN",
            (false, true) => "Infinity",
            (false, false) => "-Infinity",
        };
        return out.extend_from_slice(name.as_bytes());
    }
    let size = value.abs();
    if size != 0.0 && !(1e-3..1e7).contains(&size) {
        let (digits, exponent) = scientific.split_once('e').unwrap_or((scientific, "0"));
        let point = if digits.contains('.') { "" } else { ".0" };
        let _written = write!(out, "{digits}{point}E{exponent}");
        return;
    }
    // The same digits without an exponent: of a float they are fewer than those of the double it becomes.
    let plain = scientific.parse::<f64>().unwrap_or(value);
    let _written = write!(out, "{plain:?}");
}

/// Digits with the point where the scale puts it.
fn decimal(value: i128, scale: i8, out: &mut Vec<u8>) {
    let scale = usize::try_from(scale).unwrap_or_default();
    if value < 0 {
        out.push(b'-');
    }
    let digits = format!("{:0width$}", value.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    out.extend_from_slice(whole.as_bytes());
    if scale > 0 {
        out.push(b'.');
        out.extend_from_slice(fraction.as_bytes());
    }
}

/// A day of the calendar that goes on for ever in both directions; years beyond four digits have a sign.
fn date(days: i64, out: &mut Vec<u8>) {
    // Counted from the first of March of the year 0, so that the leap day is a year's last.
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let sign = match year {
        ..0 => "-",
        10_000.. => "+",
        _ => "",
    };
    let _written = write!(out, "{sign}{:04}-{month:02}-{day:02}", year.abs());
}

/// Hours, minutes, seconds and the fraction without its last zeros.
fn clock(micros_of_day: i64, out: &mut Vec<u8>) {
    let seconds = micros_of_day / 1_000_000;
    let _written = write!(
        out,
        "{:02}:{:02}:{:02}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    );
    fraction(micros_of_day % 1_000_000, 6, out);
}

fn fraction(value: i64, digits: usize, out: &mut Vec<u8>) {
    if value > 0 {
        let text = format!("{value:0digits$}");
        out.push(b'.');
        out.extend_from_slice(text.trim_end_matches('0').as_bytes());
    }
}

fn time(nanos: i64, out: &mut Vec<u8>) {
    clock(nanos / 1_000_000_000 * 1_000_000, out);
    fraction(nanos % 1_000_000_000, 9, out);
}

/// A point in time, in microseconds since 1970, as a clock of the zone shows it; without a zone, as it is.
pub(super) fn write_timestamp(micros: i64, zone: Option<&Zone>, out: &mut Vec<u8>) {
    const DAY: i64 = 86_400_000_000;
    let shift = zone.map_or(0, |zone| zone.ahead(micros) * 1_000_000);
    let local = micros.saturating_add(shift);
    date(local.div_euclid(DAY), out);
    out.push(b' ');
    clock(local.rem_euclid(DAY), out);
}

fn year_month(months: i32, out: &mut Vec<u8>) {
    let sign = if months < 0 { "-" } else { "" };
    let months = months.unsigned_abs();
    let _written = write!(out, "{sign}{}-{}", months / 12, months % 12);
}

fn day_time(micros: i64, out: &mut Vec<u8>) {
    let sign = if micros < 0 { "-" } else { "" };
    let micros = micros.unsigned_abs();
    let (seconds, rest) = (micros / 1_000_000, micros % 1_000_000);
    let (days, hours) = (seconds / 86_400, seconds / 3600 % 24);
    let (minutes, seconds) = (seconds / 60 % 60, seconds % 60);
    let _written = write!(
        out,
        "{sign}{days} {hours:02}:{minutes:02}:{seconds:02}.{:09}",
        rest * 1000
    );
}

/// An interval in words.
fn calendar(months: i32, days: i32, micros: i64, out: &mut Vec<u8>) {
    let start = out.len();
    let mut part = |value: i64, unit: &str| {
        if value != 0 {
            let _written = write!(out, "{value} {unit} ");
        }
    };
    part(i64::from(months) / 12, "years");
    part(i64::from(months) % 12, "months");
    part(days.into(), "days");
    part(micros / 3_600_000_000, "hours");
    part(micros / 60_000_000 % 60, "minutes");
    let seconds = micros % 60_000_000;
    if seconds != 0 {
        let sign = if seconds < 0 { "-" } else { "" };
        let seconds = seconds.unsigned_abs();
        let _written = write!(out, "{sign}{}", seconds / 1_000_000);
        fraction(i64::try_from(seconds % 1_000_000).unwrap_or_default(), 6, out);
        out.extend_from_slice(b" seconds ");
    }
    if out.len() == start {
        out.extend_from_slice(b"0 seconds ");
    }
    out.pop();
}

#[cfg(test)]
mod tests;
