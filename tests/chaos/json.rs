//! JSON with one member that is not what it should be.

use fastrand::Rng;
use serde_json::{Value, json};

/// How deep JSON that only nests is. serde_json gives up at 128.
const DEEP: usize = 10_000;

/// `text` with one of its members replaced or taken away; as it is where it has none. JSON inside of a text is gone
/// into as often as not.
pub(crate) fn garbled(rng: &mut Rng, text: &[u8]) -> Vec<u8> {
    let Ok(mut value) = serde_json::from_slice::<Value>(text) else { return text.to_vec() };
    garble(rng, &mut value);
    value.to_string().into_bytes()
}

fn garble(rng: &mut Rng, value: &mut Value) {
    let members = count(value);
    if members == 0 {
        *value = odd(rng);
        return;
    }
    let mut left = rng.usize(..members);
    visit(rng, value, &mut left);
}

/// Members and elements at any depth.
fn count(value: &Value) -> usize {
    match value {
        Value::Object(members) => members.values().map(|member| 1 + count(member)).sum(),
        Value::Array(items) => items.iter().map(|item| 1 + count(item)).sum(),
        _ => 0,
    }
}

/// Changes the member that is `left` away; true once it is done.
fn visit(rng: &mut Rng, value: &mut Value, left: &mut usize) -> bool {
    match value {
        Value::Object(members) => {
            let names: Vec<String> = members.keys().cloned().collect();
            for name in names {
                if *left == 0 {
                    if rng.u8(..4) == 0 {
                        members.remove(&name);
                    } else if let Some(member) = members.get_mut(&name) {
                        change(rng, member);
                    }
                    return true;
                }
                *left -= 1;
                if members.get_mut(&name).is_some_and(|member| visit(rng, member, left)) {
                    return true;
                }
            }
        }
        Value::Array(items) => {
            for item in items {
                if *left == 0 {
                    change(rng, item);
                    return true;
                }
                *left -= 1;
                if visit(rng, item, left) {
                    return true;
                }
            }
        }
        _ => {}
    }
    false
}

fn change(rng: &mut Rng, value: &mut Value) {
    let inner = value.as_str().and_then(|text| serde_json::from_str::<Value>(text).ok());
    if let Some(mut inner) = inner.filter(|inner| inner.is_object() || inner.is_array())
        && rng.bool()
    {
        garble(rng, &mut inner);
        *value = Value::String(inner.to_string());
        return;
    }
    *value = odd(rng);
}

fn odd(rng: &mut Rng) -> Value {
    let all = [
        Value::Null,
        json!(true),
        json!(-1),
        json!(0),
        json!(1e300),
        json!(u64::MAX),
        json!(""),
        json!("x"),
        json!("\u{0}\u{1}\u{7f}\u{202e}"),
        json!("{{ x }}"),
        json!("a".repeat(100_000)),
        json!("[".repeat(DEEP)),
        json!([]),
        json!([null]),
        json!({}),
        json!({ "": null }),
    ];
    all[rng.usize(..all.len())].clone()
}
