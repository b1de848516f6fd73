"""SQL statements: their rows as Livy has them, schema and data as JSON."""

import base64
import datetime
import decimal
import json

from berth_driver.failure import Failure, text_of

DEFAULT_ROWS = 1000
# More are not asked for, whatever a session says: all of them are in memory at once.
MAX_ROWS = 100_000
MAX_CHARS = 4 << 20
MAX_FRAMES = 200
# After which the calendar repeats.
DAYS_OF_400_YEARS = 146_097
# Types whose values Python does not have: Spark writes them as text.
AS_TEXT = ("IntervalType", "CalendarIntervalType", "GeometryType", "GeographyType")
# Python's own dates have years from 1 to 9999, and the first and last instants of these in some zones only.
AS_NUMBER = {"TimestampType": "unix_micros", "DateType": "unix_date"}


def run(spark, code, most=DEFAULT_ROWS):
    """The MIME bundle of a statement of SQL, with at most so many rows."""
    try:
        result = spark.sql(code)
        schema = result.schema
        kinds = [field.dataType for field in schema.fields]
        data, size = [], 0
        for row in readable(result, kinds).take(min(most, MAX_ROWS)):
            data.append([cell(value, kind) for value, kind in zip(row, kinds)])
            size += len(repr(data[-1]))
            if size > MAX_CHARS:
                break
        return {"application/json": {"schema": schema.jsonValue(), "data": data}}
    except Exception as error:
        raise failure(error) from error


def readable(result, kinds):
    """The same rows, with columns that Python cannot hold as Spark's own text or numbers."""
    if not any(is_text(kind) or name_of(kind) in AS_NUMBER for kind in kinds):
        return result
    names = [f"c{at}" for at in range(len(kinds))]
    return result.toDF(*names).select(*(column(name, kind) for name, kind in zip(names, kinds)))


def column(name, kind):
    from pyspark.sql import functions

    if name_of(kind) in AS_NUMBER:
        return getattr(functions, AS_NUMBER[name_of(kind)])(name)
    return functions.col(name).cast("string") if is_text(kind) else functions.col(name)


def name_of(kind):
    return type(kind).__name__


def is_text(kind):
    """True of a type that is one of those, or made of one."""
    if name_of(kind).endswith(AS_TEXT):
        return True
    if is_users(kind):
        return is_text(kind.sqlType())
    parts = [getattr(kind, name, None) for name in ("elementType", "keyType", "valueType")]
    parts += [field.dataType for field in getattr(kind, "fields", [])]
    return any(is_text(part) for part in parts if part is not None)


def is_users(kind):
    """True of a type that is made in code, as those of ML's vectors and matrices are: of values of another type."""
    return hasattr(kind, "serialize")


def cell(value, kind):
    """A value of a type of Spark's as JSON has it."""
    if value is None or isinstance(value, str):
        return value
    if is_users(kind):
        # The schema beside it says what it is made of.
        return cell(kind.serialize(value), kind.sqlType())
    name = name_of(kind)
    if name in AS_NUMBER and isinstance(value, int):
        return day(value) if name == "DateType" else instant(value)
    if name == "TimestampType":
        # Within another value, PySpark gives an instant in the zone of its process.
        return value.astimezone(datetime.timezone.utc).isoformat().replace("+00:00", "Z")
    if name == "ArrayType":
        return [cell(part, kind.elementType) for part in value]
    if name == "MapType":
        return {str(cell(key, kind.keyType)): cell(part, kind.valueType) for key, part in value.items()}
    if name == "StructType":
        return {field.name: cell(part, field.dataType) for field, part in zip(kind.fields, value)}
    return value_of(value)


def instant(micros):
    """An instant, counted from 1970, as ISO 8601 has it."""
    days, rest = divmod(micros, 24 * 3600 * 1_000_000)
    time = (datetime.datetime.min + datetime.timedelta(microseconds=rest)).time()
    return f"{day(days)}T{time.isoformat()}Z"


def day(days):
    """A day of any year, counted from 1970-01-01, as Spark writes it."""
    cycles, within = divmod(days + datetime.date(1970, 1, 1).toordinal() - 1, DAYS_OF_400_YEARS)
    date = datetime.date.fromordinal(within + 1)
    year = date.year + 400 * cycles
    sign = "-" if year < 0 else "+" if year > 9999 else ""
    return f"{sign}{abs(year):04d}-{date.month:02d}-{date.day:02d}"


def value_of(value):
    """A value of Python's as JSON has it."""
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, (int, float, decimal.Decimal)):
        return number(value)
    if isinstance(value, (datetime.date, datetime.datetime, datetime.time)):
        return value.isoformat()
    if isinstance(value, (bytes, bytearray)):
        return base64.b64encode(value).decode()
    return compound(value)


def plain(value):
    """What numpy and the like hold, as Python's own numbers and lists; what Spark has a type for, as SQL shows it."""
    if hasattr(value, "__UDT__"):
        return cell(value, value.__UDT__)
    # A row may have a field of that name.
    return value.tolist() if callable(getattr(value, "tolist", None)) else value


def compound(value):
    if hasattr(value, "asDict"):
        return {name: value_of(part) for name, part in zip(value.__fields__, value)}
    if isinstance(value, dict):
        return {str(value_of(key)): value_of(part) for key, part in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [value_of(part) for part in value]
    if hasattr(value, "toJson"):  # A variant.
        return json.loads(value.toJson())
    found = plain(value)
    # Python has none of some, such as numpy's long doubles.
    return str(value) if type(found) is type(value) else value_of(found)


def number(value):
    """A number of JSON. What would lose digits as a double is text, and so is what JSON does not have."""
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value) if -(1 << 63) <= value < 1 << 64 else str(value)
    if isinstance(value, decimal.Decimal) and value.is_finite():
        if value == value.to_integral_value():
            return number(int(value))
        return float(value) if decimal.Decimal(repr(float(value))) == value else str(value)
    value = float(value)
    if value != value:
        return "NaN"
    if value in (float("inf"), float("-inf")):
        return "Infinity" if value > 0 else "-Infinity"
    return value


def failure(error):
    """What Livy shows of an error of SQL: the analyser's message, and Java's frames."""
    message = getattr(error, "_desc", None) or text_of(error)
    frames = [line.strip() for line in (getattr(error, "_stackTrace", None) or "").splitlines()]
    return Failure("Error", message.strip(), [line for line in frames if line.startswith("at ")][:MAX_FRAMES])
