//! Apache's Rust client. What it says and when it waits: tests/foreign.py.

use std::env;
use std::error::Error;
use std::io;

use spark_connect::dataframe::DataFrame;
use spark_connect::session::SparkSession;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [remote, query] = &arguments[..] else {
        return Err("usage: REMOTE QUERY".into());
    };
    let spark = SparkSession::builder().remote(remote).get_or_create()?;
    spark.range(100)?.create_or_replace_temp_view("v")?;
    spark.conf().set("spark.sql.shuffle.partitions", "7")?;
    pause("built")?;
    let sum = long(&spark.sql("select sum(id) from v")?.collect()?[0])?;
    let partitions = spark.conf().get("spark.sql.shuffle.partitions")?;
    println!("state {sum} {}", partitions.unwrap_or_default());
    println!("error {}", error_of(&spark));
    pause(&format!("rows {}", stream(&spark.sql(query)?)?))?;
    spark.stop()?;
    Ok(())
}

fn error_of(spark: &SparkSession) -> String {
    let frame = match spark.table("nothing") {
        Ok(frame) => frame,
        Err(error) => return error.to_string(),
    };
    match frame.collect() {
        Ok(_) => "none".to_owned(),
        Err(error) => error.get_condition().unwrap_or_else(|| error.to_string()),
    }
}

fn stream(frame: &DataFrame) -> Result<i64, Box<dyn Error>> {
    let mut seen = 0;
    for row in frame.to_local_iterator(false)? {
        let id = long(&row?)?;
        if id != seen {
            return Err(format!("row {id} came instead of {seen}").into());
        }
        seen += 1;
        if seen == 1 {
            pause("streaming")?;
        }
    }
    Ok(seen)
}

fn long(row: &spark_connect::row::Row) -> Result<i64, Box<dyn Error>> {
    row.get(0)
        .and_then(|value| value.as_i64())
        .ok_or_else(|| "no number".into())
}

fn pause(said: &str) -> io::Result<()> {
    println!("{said}");
    io::stdin().read_line(&mut String::new()).map(drop)
}
