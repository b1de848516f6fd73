//! A statement's output as a part of a page.

use maud::{Markup, html};
use serde_json::Value;

use super::pages::cut;

/// Characters of one text.
const MAX_TEXT: usize = 16 << 10;
/// Rows and columns of one table.
const MAX_ROWS: usize = 50;
const MAX_COLUMNS: usize = 50;
/// Characters of one cell.
const MAX_CELL: usize = 200;
const TABLE: &str = "application/vnd.livy.table.v1+json";

/// What Livy's output object says.
pub(super) fn output(output: &Value) -> Markup {
    match output["status"].as_str() {
        Some("ok") => data(&output["data"]),
        Some(_) => error(output),
        None => html! {},
    }
}

fn error(output: &Value) -> Markup {
    let text = |key: &str| output[key].as_str().unwrap_or_default();
    let traceback = output["traceback"].as_array().into_iter().flatten();
    let traceback: String = traceback.filter_map(Value::as_str).collect();
    html! {
        pre.error { strong { (text("ename")) } ": " (cut(text("evalue"), MAX_TEXT)) "\n" (cut(&traceback, MAX_TEXT)) }
    }
}

fn data(data: &Value) -> Markup {
    let json = &data["application/json"];
    html! {
        @if let Some(text) = data["text/plain"].as_str().filter(|text| !text.is_empty()) {
            pre.output { (cut(text, MAX_TEXT)) }
        }
        @if let Some(image) = data["image/png"].as_str() {
            img alt="A plot" src={ "data:image/png;base64," (image.trim()) };
        }
        @if data[TABLE].is_object() {
            (table(&data[TABLE]["headers"], &data[TABLE]["data"]))
        }
        @if json["schema"]["fields"].is_array() {
            (table(&json["schema"]["fields"], &json["data"]))
        } @else if !json.is_null() {
            pre.output { (cut(&format!("{json:#}"), MAX_TEXT)) }
        }
    }
}

fn table(headers: &Value, rows: &Value) -> Markup {
    let headers = headers.as_array().map_or(&[][..], Vec::as_slice);
    let rows = rows.as_array().map_or(&[][..], Vec::as_slice);
    html! {
        table.data {
            thead { tr { @for header in headers.iter().take(MAX_COLUMNS) { th { (cell(&header["name"])) } } } }
            tbody {
                @for row in rows.iter().take(MAX_ROWS) {
                    tr { @for value in row.as_array().into_iter().flatten().take(MAX_COLUMNS) { td { (cell(value)) } } }
                }
            }
        }
        @if rows.len() > MAX_ROWS { p.empty { "... and " (rows.len() - MAX_ROWS) " more rows" } }
    }
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::String(text) => cut(text, MAX_CELL),
        other => cut(&other.to_string(), MAX_CELL),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn i7_what_code_printed_is_text_on_a_page() {
        let hostile = "<script>alert(1)</script>";
        let escaped = "&lt;script&gt;alert(1)&lt;/script&gt;";
        let outputs = [
            json!({ "status": "ok", "data": { "text/plain": hostile } }),
            json!({ "status": "ok", "data": { "application/json": { "a": hostile } } }),
            json!({ "status": "ok", "data": { TABLE: { "headers": [{ "name": hostile }], "data": [[hostile]] } } }),
            json!({ "status": "error", "ename": hostile, "evalue": "", "traceback": [hostile] }),
            json!({ "status": "ok", "data": { "image/png": "\"><script>alert(1)</script>" } }),
        ];
        for each in outputs {
            let page = output(&each).into_string();
            assert!(page.contains(escaped) && !page.contains("<script"), "{page}");
        }
    }

    #[test]
    fn sql_rows_are_a_table() {
        let rows: Vec<_> = (0..60).map(|n| json!([n, null])).collect();
        let sql = json!({ "status": "ok", "data": { "application/json": {
            "schema": { "type": "struct", "fields": [{ "name": "n" }, { "name": "x" }] }, "data": rows
        } } });
        let page = output(&sql).into_string();
        assert!(
            page.contains("<th>n</th><th>x</th>") && page.contains("<td>49</td><td>null</td>"),
            "{page}"
        );
        assert!(!page.contains("<td>50</td>") && page.contains("10 more rows"));
    }

    #[test]
    fn what_has_no_output_shows_none() {
        assert_eq!(output(&Value::Null).into_string(), "");
    }
}
