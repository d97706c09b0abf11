//! The files that sitar writes: the commented one, and the schema.

use serde_json::Value;
use toml::de::{DeTable, DeValue};

use super::accepted::FULL;
use super::*;
use crate::config::{init, schema};

fn accepted(text: &str) {
    let problems = Folder::of(text).read(&[]).err();
    assert_eq!(problems, None, "{text}");
}

/// Returns the lines of each example in the commented file.
fn examples(text: &str) -> Vec<Vec<usize>> {
    let mut blocks: Vec<Vec<usize>> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let is_example = line
            .strip_prefix('#')
            .is_some_and(|rest| rest.starts_with(|c: char| c == '[' || c.is_alphanumeric()));
        match blocks.last_mut() {
            Some(block) if is_example && block.last() == Some(&(number.wrapping_sub(1))) => {
                block.push(number);
            }
            _ if is_example => blocks.push(vec![number]),
            _ => {}
        }
    }
    blocks
}

fn uncommented(text: &str, lines: &[usize]) -> String {
    let with = |(number, line): (usize, &str)| match line.strip_prefix('#') {
        Some(rest) if lines.contains(&number) => format!("{rest}\n"),
        _ => format!("{line}\n"),
    };
    text.lines().enumerate().map(with).collect()
}

#[test]
fn the_commented_file_is_accepted_and_so_is_each_of_its_examples() {
    let text = init::text();
    accepted(&text);
    let blocks = examples(&text);
    assert!(blocks.len() > 25, "{blocks:?}");
    for block in &blocks {
        accepted(&uncommented(&text, block));
    }
    // Those of [server] all together.
    let (from, to) = (
        text.lines().position(|line| line == "[server]"),
        text.lines().position(|line| line == "[[listen]]"),
    );
    let of_server: Vec<usize> =
        blocks.concat().into_iter().filter(|line| (from..to).contains(&Some(*line))).collect();
    assert!(of_server.len() > 14);
    accepted(&uncommented(&text, &of_server));
    for line in text.lines() {
        assert!(line.chars().count() <= 100, "{line}");
    }
}

#[test]
fn the_commented_file_has_every_key() {
    use keys::{ADMIN, FILE, LISTEN, SERVER, SITE};
    let text = init::text();
    let examples = uncommented(&text, &examples(&text).concat());
    for table in [&FILE, &SERVER, &LISTEN, &SITE, &ADMIN] {
        for key in table.keys {
            let is_there = examples.lines().any(|line| {
                line.starts_with(&format!("{} = ", key.name)) || line.trim_matches(['[', ']']) == key.name
            });
            assert!(is_there, "{} of {}", key.name, table.name);
        }
    }
}

/// Returns a value of TOML as one of JSON.
fn json(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => Value::from(text.to_string()),
        DeValue::Integer(number) => {
            i64::from_str_radix(number.as_str(), number.radix()).map_or(Value::from(f64::MAX), Value::from)
        }
        DeValue::Float(number) => Value::from(number.as_str().parse::<f64>().unwrap()),
        DeValue::Boolean(on) => Value::from(*on),
        DeValue::Datetime(time) => serde_json::json!({ "datetime": time.to_string() }),
        DeValue::Array(array) => array.iter().map(|item| json(item.get_ref())).collect(),
        DeValue::Table(table) => object(table),
    }
}

fn object(table: &DeTable<'_>) -> Value {
    let pairs = table.iter().map(|(key, value)| (key.get_ref().to_string(), json(value.get_ref())));
    Value::Object(pairs.collect())
}

fn parsed(text: &str) -> Value {
    object(DeTable::parse(text.trim_start_matches('\u{feff}')).unwrap().get_ref())
}

/// Validates what the schema uses of draft 2020-12.
fn is_valid(schema: &Value, value: &Value) -> bool {
    schema.as_object().unwrap().iter().all(|(keyword, rule)| match &**keyword {
        "$schema" | "title" | "description" | "default" | "properties" => true,
        "type" => match rule.as_str().unwrap() {
            "object" => value.is_object(),
            "array" => value.is_array(),
            "string" => value.is_string(),
            "boolean" => value.is_boolean(),
            "integer" => value.is_i64() || value.is_u64(),
            other => panic!("{other}"),
        },
        "additionalProperties" => {
            assert_eq!(*rule, false);
            let known = schema["properties"].as_object().unwrap();
            value.as_object().is_none_or(|object| {
                object.iter().all(|(key, value)| known.get(key).is_some_and(|schema| is_valid(schema, value)))
            })
        }
        "required" => value.as_object().is_none_or(|object| {
            rule.as_array().unwrap().iter().all(|key| object.contains_key(key.as_str().unwrap()))
        }),
        "items" => value.as_array().is_none_or(|array| array.iter().all(|item| is_valid(rule, item))),
        "minItems" => value.as_array().is_none_or(|array| array.len() as u64 >= rule.as_u64().unwrap()),
        "maxItems" => value.as_array().is_none_or(|array| array.len() as u64 <= rule.as_u64().unwrap()),
        "minLength" => {
            value.as_str().is_none_or(|text| text.chars().count() as u64 >= rule.as_u64().unwrap())
        }
        "minimum" => value.as_f64().is_none_or(|number| number >= rule.as_f64().unwrap()),
        "maximum" => value.as_f64().is_none_or(|number| number <= rule.as_f64().unwrap()),
        "enum" => rule.as_array().unwrap().contains(value),
        "const" => rule == value,
        "anyOf" => rule.as_array().unwrap().iter().any(|schema| is_valid(schema, value)),
        "oneOf" => rule.as_array().unwrap().iter().filter(|schema| is_valid(schema, value)).count() == 1,
        other => panic!("the schema uses {other}"),
    })
}

#[test]
fn the_schema_accepts_what_the_parser_accepts() {
    let schema: Value = serde_json::from_str(&schema::text()).unwrap();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    let init = init::text();
    let blocks = examples(&init);
    let all = accepted::ACCEPTED.iter().map(|text| (*text).to_owned());
    let all = all.chain([FULL.to_owned()]).chain(blocks.iter().map(|block| uncommented(&init, block)));
    for text in all {
        assert!(is_valid(&schema, &parsed(&text)), "{text}");
    }
}

#[test]
fn the_schema_refuses_unknown_keys_and_wrong_types() {
    let schema = schema::schema();
    let mut count = 0;
    for case in mistakes::cases() {
        let is_of_schema = case.printed.lines().any(|line| {
            line.starts_with("sitar.toml:") && (line.contains(": unknown ") || line.contains(": wrong type "))
        });
        let Ok(table) = DeTable::parse(case.files[0].1) else { continue };
        let value = object(table.get_ref());
        if is_of_schema {
            assert!(!is_valid(&schema, &value), "{}", case.title);
            count += 1;
        }
    }
    assert!(count > 40, "{count}");
}

#[test]
fn the_schema_refuses_what_is_missing_and_out_of_bounds() {
    let schema = schema::schema();
    for text in [
        "[[listen]]\ntls = \"off\"\n",
        "[[site]]\nhosts = \"a\"\n",
        "[server]\nshards = 513\n",
        "[server]\nmemory = -1\n",
        "[server]\nengine = \"kqueue\"\n",
        "[[site]]\nredirect_to = \"x\"\nredirect_status = 303\n",
        "[[site]]\nroot = \"x\"\ncertificate = \"acm\"\n",
        "[acme]\neab = { kid = \"x\" }\n[[site]]\nroot = \"x\"\n",
        "[[acme.authority]]\nca = \"x\"\n[[site]]\nroot = \"x\"\n",
        "[[site]]\nroot = \"x\"\ncertificate = []\n",
        "[[site]]\nroot = \"x\"\ncertificate = { chain = \"x\" }\n",
        "[[site]]\nroot = \"\"\n",
        "[[site]]\nroot = \"x\"\nhosts = []\n",
        "[[site]]\nroot = \"x\"\nredirect_to = \"https://a.example\"\n",
        "[[site]]\nroot = \"x\"\nhosts = \"\"\n",
        "[[site]]\nroot = \"x\"\nhosts = [\"a\", \"\"]\n",
        "[[site]]\nredirect_to = \"\"\n",
        "[[site]]\nredirect_to = \"x\"\nredirect_status = 308.5\n",
        "[[listen]]\naddress = \"\"\n",
        "[server]\nmemory = \"\"\n",
        "[server]\nspin = \"\"\n",
        "include = \"\"\n",
    ] {
        assert!(!is_valid(&schema, &parsed(text)), "{text}");
        assert!(Folder::of(text).read(&[]).is_err(), "{text}");
    }
    // The enumeration would do for a validator, and an editor shows the type.
    let status = &schema["properties"]["site"]["items"]["properties"]["redirect_status"];
    assert_eq!(status["type"], "integer");
}

#[test]
fn each_default_and_example_of_the_schema_is_right() {
    fn walk(schema: &Value) {
        let Some(properties) = schema["properties"].as_object() else { return };
        for (name, property) in properties {
            if let Some(default) = property.get("default") {
                assert!(is_valid(property, default), "{name}");
            }
            walk(property);
            walk(&property["items"]);
        }
    }
    let schema = schema::schema();
    walk(&schema);
    use keys::{ACME, ADMIN, AUTHORITY, CERTIFICATE, EAB, LISTEN, LOG, OPTIONS, PAGES, SERVER, SITE};
    let table = |name: &str| match name {
        "[[listen]]" => &schema["properties"]["listen"]["items"],
        "[[site]]" => &schema["properties"]["site"]["items"],
        "certificate" => &schema["properties"]["server"]["properties"]["certificate"]["anyOf"][1],
        "[[acme.authority]]" => &schema["properties"]["acme"]["properties"]["authority"]["items"],
        "eab" => &schema["properties"]["acme"]["properties"]["eab"],
        "acme" => &schema["properties"]["site"]["items"]["properties"]["acme"],
        "pages" => &schema["properties"]["server"]["properties"]["pages"],
        other => &schema["properties"][other.trim_matches(['[', ']'])],
    };
    let tables = [&SERVER, &LISTEN, &SITE, &LOG, &ADMIN, &CERTIFICATE, &PAGES];
    for section in tables.into_iter().chain([&ACME, &AUTHORITY, &EAB, &OPTIONS]) {
        for key in section.keys.iter().filter(|key| !key.example.is_empty()) {
            let value = parsed(&format!("x = {}", key.example));
            assert!(is_valid(&table(section.name)["properties"][key.name], &value["x"]), "{}", key.name);
        }
    }
}
