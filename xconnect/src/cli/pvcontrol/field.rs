//! Reading fields of JSON that may come from another server: absent and odd values are shown, not refused.

use serde_json::Value;

/// A field as text: strings as they are, `null` and absent as nothing, lists joined, the rest as JSON.
pub(super) fn text(value: &Value, key: &str) -> String {
    value.get(key).map(shown).unwrap_or_default()
}

/// A value as text.
pub(super) fn shown(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(shown).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

/// A field as a string, where it is a non-empty one.
pub(super) fn string(value: &Value, key: &str) -> Option<String> {
    value.get(key)?.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}

/// A field below others as a count, 0 where it is absent.
pub(super) fn count(value: &Value, path: &[&str]) -> u64 {
    path.iter().try_fold(value, |value, key| value.get(key)).and_then(Value::as_u64).unwrap_or(0)
}
