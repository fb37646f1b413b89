//! Selectors over headers, operator by operator.

use amq_protocol::types::AMQPValue;
use proptest::prelude::*;

use super::*;
use crate::model::field_table::encode;
use crate::model::headers::Headers;
use crate::model::vhost::ResourceKind;

fn string(text: &str) -> AMQPValue {
    AMQPValue::LongString(text.into())
}

fn table(entries: &[(&str, AMQPValue)]) -> FieldTable {
    let mut table = FieldTable::default();
    for (name, value) in entries {
        table.insert((*name).into(), value.clone());
    }
    table
}

fn headers() -> FieldTable {
    table(&[
        ("JMSType", string("car")),
        ("colour", string("blue")),
        ("like", string("bl_ue")),
        ("weight", AMQPValue::LongInt(2501)),
        ("WeIgHt", AMQPValue::ShortShortInt(-2)),
        ("double", AMQPValue::Double(0.5)),
        ("single", AMQPValue::Float(0.25)),
        ("nan", AMQPValue::Double(f64::NAN)),
        ("yes", AMQPValue::Boolean(true)),
        ("no", AMQPValue::Boolean(false)),
        ("big", AMQPValue::LongLongInt(i64::MAX)),
        ("table", AMQPValue::FieldTable(FieldTable::default())),
    ])
}

/// `@name` stands for the value of a header.
fn text(selector: &str) -> String {
    let mut parts = selector.split('@');
    let mut text = parts.next().unwrap().to_owned();
    for part in parts {
        let end = part.find(|letter: char| !letter.is_alphanumeric()).unwrap_or(part.len());
        text += &format!("{{ident,<<\"{}\">>}}{}", &part[..end], &part[end..]);
    }
    text
}

fn matches(selector: &str) -> bool {
    let encoded = encode(&headers());
    let selector = compile::compile(text(selector).as_bytes()).unwrap_or_else(|| panic!("{selector}"));
    selector.matches(|name| Headers::new(&encoded).get(name))
}

fn check(selectors: &[&str], expect: bool) {
    for selector in selectors {
        assert_eq!(matches(selector), expect, "{selector}");
    }
}

/// Selectors that are unknown match nothing, and neither does the contrary.
fn check_unknown(selectors: &[&str]) {
    for selector in selectors {
        assert!(!matches(selector), "{selector}");
        assert!(!matches(&format!("{{'not',{selector}}}")), "not {selector}");
    }
}

#[test]
fn truth() {
    check(&["true.", "@yes.", "{'not',@no}", "{'=',@yes,true}", "{'<>',@yes,false}"], true);
    check(&["false", "@no", "{'not',@yes}", "{'=',@yes,false}"], false);
    check_unknown(&["@missing", "@colour", "1", "<<\"true\">>", "[]", "@table", "{true}", "{1,2}"]);
}

#[test]
fn logic_has_three_values() {
    check(&["{'and',@yes,true}", "{'or',@no,@yes}", "{'or',@missing,true}", "{'or',true,@missing}"], true);
    check(&["{'and',@yes,@no}", "{'or',@no,false}"], false);
    check(
        &["{'not',{'and',@missing,false}}", "{'not',{'and',false,@missing}}", "{'not',{'or',false,false}}"],
        true,
    );
    check_unknown(&[
        "{'and',@missing,true}",
        "{'and',true,@missing}",
        "{'or',@missing,false}",
        "{'or',false,@missing}",
    ]);
}

#[test]
fn comparisons() {
    check(
        &[
            "{'=',@JMSType,<<\"car\">>}",
            "{'=',@weight,2501}",
            "{'=',2501.0,@weight}",
            "{'=',@WeIgHt,-2}",
            "{'=',@double,0.5}",
            "{'=',@single,0.25}",
            "{'<>',@colour,<<\"green\">>}",
            "{'>',@weight,2500}",
            "{'<',@weight,2500.5e1}",
            "{'>=',@weight,2501}",
            "{'<=',@weight,2501}",
            "{'<',@colour,<<\"c\">>}",
            "{'<>',@colour,5}",
            "{'>',@colour,5}",
        ],
        true,
    );
    check(&["{'=',@weight,2502}", "{'>',@weight,2501}", "{'<=',@weight,2500}", "{'=',@colour,5}"], false);
    check_unknown(&["{'=',@missing,1}", "{'<>',1,@missing}", "{'<=',@missing,2500}", "{'=',@nan,@nan}"]);
}

#[test]
fn arithmetic() {
    check(
        &[
            "{'=',{'+',@weight,1},2502}",
            "{'=',{'-',@weight,1.5},2499.5}",
            "{'=',{'*',@WeIgHt,@WeIgHt},4}",
            "{'=',{'/',@WeIgHt,4},-0.5}",
            "{'=',{'/',4,2},2}",
            "{'=',{'-',@weight},-2501}",
            "{'=',{'+',@double},0.5}",
            // A quotient by zero is an atom, and as such above all numbers.
            "{'>',{'/',1,0},@big}",
            "{'>',{'/',-1,0.0},@big}",
            "{'=',{'/',0,0},{'/',0.0,0}}",
        ],
        true,
    );
    check_unknown(&[
        "{'=',{'+',@colour,1},1}",
        "{'=',{'-',@colour},1}",
        "{'=',{'+',@missing,1},1}",
        "{'=',{'*',{'*',@big,@big},@big},1}",
        "{'=',{'*',1.0e300,1.0e300},1}",
    ]);
}

#[test]
fn between() {
    check(
        &["{'between',@weight,{'range',0,2501}}", "{'between',17,17,17}", "{'not_between',16,{range,17,18}}"],
        true,
    );
    check(&["{'between',@weight,{range,0,2500}}", "{'not_between',17,{range,17,18}}"], false);
    check_unknown(&["{'between',@missing,{range,0,1}}", "{'not_between',1,{range,@missing,1}}"]);
}

#[test]
fn within() {
    check(
        &[
            "{'in',@colour,[<<\"red\">>,<<\"blue\">>]}",
            "{'not_in',@colour,[<<\"red\">>]}",
            "{'in',@weight,[2501]}",
        ],
        true,
    );
    check(&["{'in',@colour,[]}", "{'not_in',@colour,[<<\"blue\">>]}", "{'in',@weight,[2501.0]}"], false);
    check_unknown(&["{'in',@missing,[<<\"blue\">>]}", "{'not_in',@missing,[<<\"blue\">>]}", "{'in',@colour,1}"]);
}

#[test]
fn like() {
    check(
        &[
            "{'like',@colour,<<\"bl%\">>,no_escape}",
            "{'like',@colour,{<<\"bl_e\">>,no_escape}}",
            "{'like',@like,<<\"b_!_ue\">>,<<\"!\">>}",
            "{'not_like',@colour,<<\"l%\">>,no_escape}",
            "{'like',@colour,regex,<<\"b.*e\">>}",
        ],
        true,
    );
    check(&["{'like',@colour,<<\"l%\">>,no_escape}", "{'not_like',@colour,<<\"bl%\">>,no_escape}"], false);
    check_unknown(&["{'like',@missing,<<\"%\">>,no_escape}", "{'not_like',@weight,<<\"x\">>,no_escape}"]);
}

#[test]
fn null() {
    check(&["{'is_null',@missing}", "{'not_null',@colour}", "{'not_null',1}"], true);
    check(&["{'is_null',@colour}", "{'not_null',@missing}", "{'is_null',1}"], false);
}

fn binding(arguments: FieldTable) -> BindingDefinition {
    BindingDefinition {
        source: "x".into(),
        destination: "q".into(),
        destination_kind: ResourceKind::Queue,
        routing_key: "k".into(),
        arguments,
    }
}

#[test]
fn a_binding_needs_a_selector_406() {
    let refused = |arguments: FieldTable| check_binding(&binding(arguments)).unwrap_err().to_string();
    let text = |shown: &str| {
        format!("PRECONDITION_FAILED - cannot parse selector '{shown}' binding destination 'q' to exchange 'x'")
    };
    assert_eq!(refused(FieldTable::default()), text("error"));
    assert_eq!(refused(table(&[(SELECTOR, AMQPValue::LongInt(1))])), text("error"));
    assert_eq!(refused(table(&[(SELECTOR, string("{true"))])), text("\"{true\""));
    let escape = "{'like',{ident,<<\"a\">>},<<\"b\">>,<<\"two\">>}.";
    assert_eq!(refused(table(&[(SELECTOR, string(escape))])), text(&format!("\"{escape}\"")));
    assert_eq!(check_binding(&binding(table(&[(SELECTOR, string("true."))]))), Ok(()));
}

proptest! {
    #[test]
    fn no_selector_panics(parts in prop::collection::vec(prop::sample::select(vec![
        "@weight", "@missing", "@colour", "1", "0", "1.0e308", "<<\"a\">>", "true", "[1]", "170141183460469231731687303715884105727",
    ]), 3), operator in prop::sample::select(vec![
        "=", "<", "+", "-", "*", "/", "and", "or", "in", "like", "between", "not_in", "range", "regex", "ident",
    ]), form in 0..4) {
        let (one, two, three) = (parts[0], parts[1], parts[2]);
        let selector = match form {
            0 => format!("{{'{operator}',{one}}}"),
            1 => format!("{{'{operator}',{one},{two}}}"),
            2 => format!("{{'{operator}',{one},{{'{operator}',{two},{three}}}}}"),
            _ => format!("{{'{operator}',{one},{two},{three}}}"),
        };
        let encoded = encode(&headers());
        if let Some(selector) = compile::compile(text(&selector).as_bytes()) {
            selector.matches(|name| Headers::new(&encoded).get(name));
        }
    }
}
