//! A table over every command, relation kind and catalog operation of the protocol.

use super::*;
use crate::wire::{append_bytes, append_string, append_varint};
use Class::{Pinned, Read, State, Write};

fn message(number: u32, body: &[u8]) -> Vec<u8> {
    let mut message = Vec::new();
    append_bytes(&mut message, number, body);
    message
}

fn text(number: u32, value: &str) -> Vec<u8> {
    message(number, value.as_bytes())
}

fn execute(plan: &[u8]) -> Vec<u8> {
    let mut request = text(1, "5f2c1c0e-1a0b-4c3e-9a53-6f3f3a1b2c3d");
    append_bytes(&mut request, 3, plan);
    request
}

fn root(relation: &[u8]) -> Vec<u8> {
    execute(&message(1, relation))
}

fn command(number: u32, body: &[u8]) -> Vec<u8> {
    execute(&message(2, &message(number, body)))
}

fn class(request: &[u8]) -> Class {
    classify_execute(request).unwrap().class
}

#[test]
fn every_command_has_its_class() {
    let expected = [
        (1, State),
        (2, Write),
        (3, State),
        (4, Write),
        (6, Write),
        (7, Read),
        (8, Read),
        (9, Read),
        (10, State),
        (11, Read),
        (12, State),
        (13, Pinned),
        (14, Pinned),
        (15, Read),
        (16, Write),
        (17, Pinned),
        (18, Write),
        (19, Write),
        (20, Write),
        (999, Write),
    ];
    for (number, class_of) in expected {
        assert_eq!(class(&command(number, &[])), class_of, "command {number}");
    }
}

#[test]
fn what_only_waits_is_told_from_what_works() {
    for (number, part, expected) in [
        (11, 1, Standing::OpensEvents),
        (11, 2, Standing::ClosesEvents),
        (7, 9, Standing::Waits),
        (9, 3, Standing::Waits),
        (7, 6, Standing::Works),
    ] {
        let mut body = Vec::new();
        append_varint(&mut body, part, 1);
        let classified = classify_execute(&command(number, &body)).unwrap();
        assert_eq!(classified.standing, expected, "command {number}, part {part}");
        assert_eq!(classified.standing.is_to_blame(), expected == Standing::Works);
    }
}

#[test]
fn parts_of_commands_decide() {
    for (number, part, expected) in [
        (7, 2, Read),
        (7, 5, Write),
        (7, 6, Write),
        (7, 9, Read),
        (9, 1, Read),
        (9, 4, State),
        (9, 5, State),
        (9, 6, State),
        (17, 1, Pinned),
        (17, 3, Read),
        (17, 4, Write),
        (17, 5, Pinned),
        (17, 6, Read),
        (17, 7, Read),
        (17, 8, Read),
        (17, 9, Pinned),
        (17, 10, Read),
        (19, 1, Pinned),
        (19, 5, Write),
        (19, 7, Read),
        (19, 9, Write),
    ] {
        assert_eq!(
            class(&command(number, &message(part, &[]))),
            expected,
            "command {number}.{part}"
        );
    }
}

#[test]
fn every_relation_kind_is_a_read_but_for_extensions() {
    for kind in (1..=48).chain([90, 91, 92]).chain(100..=107).chain([300]) {
        assert_eq!(class(&root(&message(kind, &[]))), Read, "relation {kind}");
    }
    assert_eq!(class(&root(&message(998, &[]))), Write);
}

#[test]
fn every_catalog_operation_has_its_class_in_execute_and_in_analyze() {
    for number in 1..=37 {
        let expected = match number {
            2 | 15 | 16 | 19..=23 | 25 => State,
            13 | 14 | 17 | 27..=30 | 35..=37 => Write,
            _ => Read,
        };
        let relation = message(200, &message(number, &text(1, "v")));
        assert_eq!(class(&root(&relation)), expected, "catalog {number} executed");
        let analyze = message(4, &message(1, &message(1, &relation)));
        assert_eq!(
            classify_analyze(&analyze).unwrap().class,
            expected,
            "catalog {number} analysed"
        );
    }
}

/// connect#43: a drop through the catalog API, nested in another relation and analysed only, is still a drop.
#[test]
fn a_catalog_operation_is_found_at_any_depth() {
    let mut relation = message(200, &message(15, &text(1, "V")));
    for _ in 0..300 {
        relation = message(4, &message(1, &relation));
    }
    let classified = classify_execute(&root(&relation)).unwrap();
    assert_eq!((classified.class, classified.key.as_str()), (State, "view:v"));
}

/// connect#14: a plan deeper than Spark reads is refused, not walked without end.
#[test]
fn a_plan_deeper_than_spark_reads_is_an_error() {
    let mut relation = message(15, &[]);
    for _ in 0..1100 {
        relation = message(4, &message(1, &relation));
    }
    assert_eq!(classify_execute(&root(&relation)), Err(WireError::Depth(1024)));
}

/// Both children of a join and both inputs of a co-group are walked.
#[test]
fn second_inputs_are_walked() {
    let handle = message(37, &text(1, "h1"));
    for (kind, number) in [
        (5, 2),
        (6, 2),
        (31, 5),
        (32, 3),
        (39, 2),
        (41, 2),
        (44, 2),
        (47, 2),
        (48, 2),
        (300, 3),
    ] {
        let relation = message(kind, &message(number, &handle));
        assert_eq!(
            classify_execute(&root(&relation)).unwrap().handles,
            ["h1"],
            "relation {kind}.{number}"
        );
    }
}

#[test]
fn references_to_blobs_and_handles_are_named() {
    let mut chunked = text(1, "aa");
    append_string(&mut chunked, 1, "bb");
    append_string(&mut chunked, 2, "cc");
    assert_eq!(
        classify_execute(&root(&message(45, &chunked))).unwrap().blobs,
        ["aa", "bb", "cc"]
    );
    assert_eq!(
        classify_execute(&root(&message(36, &text(3, "dd"))))
            .unwrap()
            .blobs,
        ["dd"]
    );
    let handle = message(37, &text(1, "data"));
    let mut transform = message(1, &text(1, "model"));
    transform.extend(message(3, &handle));
    let model = message(300, &message(1, &transform));
    assert_eq!(
        classify_execute(&root(&model)).unwrap().handles,
        ["model", "data"]
    );
}

/// Text under the field number that holds the input elsewhere.
#[test]
fn text_is_not_read_as_a_tree() {
    for kind in [1, 998, 999, 1234] {
        let relation = message(kind, &text(1, "type.googleapis.com/some.Relation"));
        assert!(classify_execute(&root(&relation)).is_ok(), "relation {kind}");
    }
}

#[test]
fn sql_commands_of_old_and_new_clients_are_read() {
    let old = command(5, &text(1, "create temp view v as select 1"));
    let new = command(
        5,
        &message(6, &message(10, &text(1, "create temp view v as select 1"))),
    );
    let with_references = message(41, &message(1, &message(10, &text(1, "insert into t select 1"))));
    assert_eq!(classify_execute(&old).unwrap(), classify_execute(&new).unwrap());
    assert_eq!(classify_execute(&new).unwrap().key, "view:v");
    assert_eq!(class(&command(5, &message(6, &with_references))), Write);
    assert_eq!(class(&root(&message(10, &text(1, "drop table t")))), Write);
}

#[test]
fn views_are_keyed_by_name_and_scope() {
    let mut body = message(1, &message(36, &text(3, "blob")));
    append_string(&mut body, 2, "Sales");
    let local = classify_execute(&command(3, &body)).unwrap();
    assert_eq!(
        (local.class, local.key.as_str(), local.blobs),
        (State, "view:sales", vec!["blob".to_owned()])
    );
    append_varint(&mut body, 3, 1);
    assert_eq!(classify_execute(&command(3, &body)).unwrap().key, "gview:sales");
}

#[test]
fn configs_are_state_when_they_change_something() {
    let pair = |key: &str| message(1, &text(1, key));
    let mut two = pair("b");
    two.extend(pair("A"));
    let set = classify_config(&message(3, &message(1, &two))).unwrap();
    assert_eq!((set.class, set.key.as_str()), (State, "conf:A,b"));
    let unset = classify_config(&message(3, &message(6, &text(1, "a")))).unwrap();
    assert_eq!((unset.class, unset.key.as_str()), (State, "conf:a"));
    for number in [2, 3, 4, 5, 7] {
        assert_eq!(
            classify_config(&message(3, &message(number, &text(1, "a"))))
                .unwrap()
                .class,
            Read
        );
    }
}

#[test]
fn persisting_is_state_and_other_analysis_is_not() {
    for number in (4..=13).chain([16, 18]) {
        assert_eq!(
            classify_analyze(&message(number, &[])).unwrap().class,
            Read,
            "analyze {number}"
        );
    }
    for number in [14, 15] {
        assert_eq!(
            classify_analyze(&message(number, &[])).unwrap().class,
            State,
            "analyze {number}"
        );
    }
}

/// connect#15: a compressed plan is shown to the shell and counts as a write until it is inflated.
#[test]
fn a_compressed_plan_is_found_and_not_trusted() {
    let mut operation = message(1, b"zstd");
    append_varint(&mut operation, 2, 2);
    let request = execute(&message(3, &operation));
    assert_eq!(
        compressed_plan(&request).unwrap(),
        Some(Compressed {
            data: b"zstd",
            is_command: true
        })
    );
    assert_eq!(class(&request), Write);
    assert_eq!(compressed_plan(&root(&[])).unwrap(), None);
}
