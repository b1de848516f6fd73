//! The pages themselves. Each is a function of what it shows.

use maud::{DOCTYPE, Markup, html};
use serde_json::Value;

use super::value::output;
use crate::dialects::livy::listed::Listed;
use crate::dialects::livy::recovery::Recovery;
use crate::dialects::livy::refusal::Refusal;

/// Characters of a statement's code on a page.
const MAX_CODE: usize = 8 << 10;

/// A session with Livy's word for how it is.
pub(super) struct SessionLine {
    pub(super) listed: Listed,
    pub(super) state: &'static str,
}

/// What the page of a session shows.
pub(super) struct Shown {
    pub(super) line: SessionLine,
    /// Livy's statement objects, newest first.
    pub(super) statements: Vec<Value>,
    /// First, most and all statements.
    pub(super) range: (i64, i64, usize),
    pub(super) recovery: Recovery,
}

/// `root` leads to the list of sessions; `refresh` has the browser load the page again after so many seconds.
fn page(root: &str, title: &str, refresh: Option<u32>, body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                @if let Some(seconds) = refresh { meta http-equiv="refresh" content=(seconds); }
                title { (title) " - Berth" }
                link rel="stylesheet" href={ (root) "style.css" };
            }
            body {
                header {
                    a.brand href={ (home(root)) } { "Berth" }
                    span.what { "Livy sessions" }
                }
                main { (body) }
            }
        }
    }
}

fn home(root: &str) -> &str {
    if root.is_empty() { "./" } else { root }
}

fn badge(state: &str) -> Markup {
    html! { span.badge.{ "is-" (state) } { (state) } }
}

fn or_dash(text: Option<&str>) -> &str {
    text.filter(|text| !text.is_empty()).unwrap_or("-")
}

/// How long ago, in the largest unit that fits.
fn ago(millis: u64) -> String {
    let seconds = millis / 1000;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

fn age(at: u64, now: u64) -> String {
    format!("{} ago", ago(now.saturating_sub(at)))
}

fn pager((from, size, total): (i64, i64, usize)) -> Markup {
    let total = i64::try_from(total).unwrap_or(i64::MAX);
    html! {
        @if total > size {
            nav.pager {
                @if from > 0 { a href={ "?from=" ((from - size).max(0)) } { "newer" } }
                span { (from + 1) " to " ((from + size).min(total)) " of " (total) }
                @if from + size < total { a href={ "?from=" (from + size) } { "older" } }
            }
        }
    }
}

/// The list of sessions, newest first.
pub(super) fn sessions(lines: &[SessionLine], range: (i64, i64, usize), now: u64) -> Markup {
    let body = html! {
        h1 { "Sessions" }
        @if lines.is_empty() {
            p.empty { "There are no sessions that you may see. One starts with " code { "POST /sessions" } "." }
        } @else {
            table {
                thead { tr {
                    th { "Id" } th { "Name" } th { "State" } th { "Kind" } th { "Owner" } th { "Runs as" } th { "Opened" }
                } }
                tbody { @for line in lines { (row(line, now)) } }
            }
            (pager(range))
        }
    };
    page("", "Sessions", Some(10), &body)
}

fn row(line: &SessionLine, now: u64) -> Markup {
    let listed = &line.listed;
    html! { tr {
        td { a href={ "session/" (listed.number) } { (listed.number) } }
        td { (or_dash(listed.request.name.as_deref())) }
        td { (badge(line.state)) }
        td { (listed.kind) }
        td { (or_dash(Some(&listed.owner))) }
        td { (or_dash(listed.proxy_user.as_deref())) }
        td { (age(listed.opened_at(), now)) }
    } }
}

/// One session with its statements and what became of it when drivers were lost.
pub(super) fn session(shown: &Shown, now: u64) -> Markup {
    let listed = &shown.line.listed;
    let title = format!("Session {}", listed.number);
    let body = html! {
        h1 { (title) " " (badge(shown.line.state)) }
        (facts(listed, now))
        h2 { "Statements" }
        @if shown.statements.is_empty() { p.empty { "There are none." } }
        @for each in &shown.statements { (statement(each, now)) }
        (pager(shown.range))
        h2 { "What happened to it" }
        (history(&shown.recovery, now))
    };
    page("../", &title, None, &body)
}

fn facts(listed: &Listed, now: u64) -> Markup {
    let request = &listed.request;
    let heartbeat = request.heartbeat_timeout_in_second.filter(|seconds| *seconds > 0);
    let facts = [
        ("Name", request.name.clone()),
        ("Kind", Some(listed.kind.to_string())),
        ("Owner", Some(listed.owner.clone())),
        ("Runs as", listed.proxy_user.clone()),
        ("Opened", Some(age(listed.opened_at(), now))),
        (
            "Ends without calls for",
            heartbeat.map(|seconds| format!("{seconds} s")),
        ),
        ("Ends idle for", request.idle_timeout.clone()),
        ("Ends after", request.ttl.clone()),
        ("Ended", listed.failed.clone()),
    ];
    html! {
        dl {
            @for (name, value) in &facts {
                @if let Some(value) = value.as_deref().filter(|value| !value.is_empty()) {
                    div { dt { (name) } dd { (value) } }
                }
            }
        }
        p { a href={ (listed.number) "/log" } { "Log" } }
    }
}

fn statement(value: &Value, now: u64) -> Markup {
    let state = value["state"].as_str().unwrap_or_default();
    let code = value["code"].as_str().unwrap_or_default();
    let started = value["started"].as_u64().filter(|at| *at > 0);
    html! {
        section.statement {
            div.bar {
                strong { "[" (value["id"]) "]" }
                (badge(state))
                @if state == "running" {
                    progress max="1" value=(value["progress"]) {}
                }
                @if let Some(at) = started { span.when { (age(at, now)) } }
            }
            pre.code { (cut(code, MAX_CODE)) }
            (output(&value["output"]))
        }
    }
}

fn history(recovery: &Recovery, now: u64) -> Markup {
    html! {
        @if recovery.events.is_empty() { p.empty { "Nothing yet." } }
        ol.history {
            @for event in &recovery.events {
                li {
                    span.when { (age(event.at, now)) } " " (event.what)
                    @if !event.lost.is_empty() {
                        ul { @for lost in &event.lost { li.lost { (lost) } } }
                    }
                }
            }
        }
    }
}

/// The log of a session's driver.
pub(super) fn log(listed: &Listed, lines: &[String]) -> Markup {
    let title = format!("Log of session {}", listed.number);
    let body = html! {
        h1 { (title) }
        p { a href={ "../" (listed.number) } { "Back to the session" } }
        pre.log { @for line in lines { (line) "\n" } }
    };
    page("../../", &title, None, &body)
}

/// Why there is nothing to show.
pub(super) fn failure(root: &str, refusal: &Refusal) -> Markup {
    let body = html! {
        h1 { (refusal.status().as_u16()) }
        p { (refusal) }
        p { a href=(home(root)) { "All sessions" } }
    };
    page(root, "Error", None, &body)
}

/// The beginning of a text, and whether there is more.
pub(super) fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        None => text.to_owned(),
        Some((at, _)) => format!("{}\n... and more", &text[..at]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_in_one_unit() {
        let cases = [
            (999, "0 s"),
            (59_000, "59 s"),
            (60_000, "1 min"),
            (3_600_000, "1 h"),
            (172_800_000, "2 d"),
        ];
        for (millis, told) in cases {
            assert_eq!(ago(millis), told);
        }
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        assert_eq!(cut("abc", 3), "abc");
        assert_eq!(cut("äöü", 2), "äö\n... and more");
    }
}
