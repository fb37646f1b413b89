//! Field tables and message properties as the API writes them: plain JSON, without AMQP's types.

use amq_protocol::protocol::BasicProperties;
use amq_protocol::types::{AMQPValue, FieldArray, FieldTable, LongString, ShortString};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Number, Value, json};

use super::error::{ApiError, ApiResult};

/// A table as a JSON object.
pub(crate) fn to_json(table: &FieldTable) -> Value {
    table
        .inner()
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), value_to_json(value)))
        .collect::<Map<_, _>>()
        .into()
}

fn value_to_json(value: &AMQPValue) -> Value {
    match value {
        AMQPValue::Boolean(value) => (*value).into(),
        AMQPValue::ShortShortInt(value) => (*value).into(),
        AMQPValue::ShortShortUInt(value) => (*value).into(),
        AMQPValue::ShortInt(value) => (*value).into(),
        AMQPValue::ShortUInt(value) => (*value).into(),
        AMQPValue::LongInt(value) => (*value).into(),
        AMQPValue::LongUInt(value) => (*value).into(),
        AMQPValue::LongLongInt(value) => (*value).into(),
        AMQPValue::Timestamp(value) => (*value).into(),
        AMQPValue::Float(value) => float(f64::from(*value)),
        AMQPValue::Double(value) => float(*value),
        AMQPValue::DecimalValue(value) => json!({"scale": value.scale, "value": value.value}),
        AMQPValue::ShortString(text) => text.as_str().into(),
        AMQPValue::LongString(text) => text_or_base64(text.as_bytes()),
        AMQPValue::ByteArray(bytes) => text_or_base64(bytes.as_slice()),
        AMQPValue::FieldArray(values) => values.as_slice().iter().map(value_to_json).collect(),
        AMQPValue::FieldTable(table) => to_json(table),
        AMQPValue::Void => Value::Null,
    }
}

/// JSON has no infinities and no NaN: they are written as text.
fn float(value: f64) -> Value {
    Number::from_f64(value).map_or_else(|| value.to_string().into(), Value::Number)
}

fn text_or_base64(bytes: &[u8]) -> Value {
    std::str::from_utf8(bytes).map_or_else(|_| STANDARD.encode(bytes).into(), Into::into)
}

/// A table from a JSON object; `null` and nothing at all are an empty one.
pub(super) fn from_json(value: Option<&Value>) -> ApiResult<FieldTable> {
    match value {
        None | Some(Value::Null) => Ok(FieldTable::default()),
        // Erlang writes an empty object as an empty list.
        Some(Value::Array(items)) if items.is_empty() => Ok(FieldTable::default()),
        Some(Value::Object(fields)) => from_object(fields),
        Some(other) => Err(ApiError::bad_request(json!(["not_table", other]))),
    }
}

fn from_object(fields: &Map<String, Value>) -> ApiResult<FieldTable> {
    let mut table = FieldTable::default();
    for (name, value) in fields {
        table.insert(short_string(name)?, value_from_json(value)?);
    }
    Ok(table)
}

fn value_from_json(value: &Value) -> ApiResult<AMQPValue> {
    Ok(match value {
        Value::Null => return Err(ApiError::bad_request("null_not_allowed")),
        Value::Bool(value) => AMQPValue::Boolean(*value),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(integer), _) => AMQPValue::LongLongInt(integer),
            (None, Some(float)) => AMQPValue::Double(float),
            (None, None) => return Err(ApiError::bad_request(json!(["not_number", number]))),
        },
        Value::String(text) => AMQPValue::LongString(LongString::from(text.as_str())),
        Value::Array(values) => {
            let values: Vec<_> = values.iter().map(value_from_json).collect::<ApiResult<_>>()?;
            AMQPValue::FieldArray(FieldArray::from(values))
        }
        Value::Object(fields) => AMQPValue::FieldTable(from_object(fields)?),
    })
}

/// At most 255 bytes.
fn short_string(text: &str) -> ApiResult<ShortString> {
    if text.len() > usize::from(u8::MAX) {
        return Err(ApiError::bad_request("a short string has 255 bytes at most"));
    }
    Ok(ShortString::from(text))
}

/// Message properties as an object, without those that are not set; an empty list if none is, as Erlang has it.
pub(super) fn properties_to_json(properties: &BasicProperties) -> Value {
    let mut fields = Map::new();
    let text = |value: &Option<ShortString>| value.as_ref().map(|text| Value::from(text.as_str()));
    for (name, value) in [
        ("content_type", text(properties.content_type())),
        ("content_encoding", text(properties.content_encoding())),
        ("headers", properties.headers().as_ref().map(to_json)),
        ("delivery_mode", properties.delivery_mode().map(Value::from)),
        ("priority", properties.priority().map(Value::from)),
        ("correlation_id", text(properties.correlation_id())),
        ("reply_to", text(properties.reply_to())),
        ("expiration", text(properties.expiration())),
        ("message_id", text(properties.message_id())),
        ("timestamp", properties.timestamp().map(Value::from)),
        ("type", text(properties.kind())),
        ("user_id", text(properties.user_id())),
        ("app_id", text(properties.app_id())),
        ("cluster_id", text(properties.cluster_id())),
    ] {
        if let Some(value) = value {
            fields.insert(name.to_owned(), value);
        }
    }
    if fields.is_empty() { Value::Array(Vec::new()) } else { fields.into() }
}

/// Message properties from what [`properties_to_json`] writes. Names that are no property are passed over.
pub(super) fn properties_from_json(value: Option<&Value>) -> ApiResult<BasicProperties> {
    let fields = match value {
        None | Some(Value::Null) => return Ok(BasicProperties::default()),
        Some(Value::Array(items)) if items.is_empty() => return Ok(BasicProperties::default()),
        Some(Value::Object(fields)) => fields,
        Some(other) => return Err(ApiError::bad_request(json!(["not_table", other]))),
    };
    let mut properties = BasicProperties::default();
    for (name, value) in fields {
        properties = match name.as_str() {
            "content_type" => properties.with_content_type(text(name, value)?),
            "content_encoding" => properties.with_content_encoding(text(name, value)?),
            "headers" => properties.with_headers(from_json(Some(value))?),
            "delivery_mode" => properties.with_delivery_mode(octet(name, value)?),
            "priority" => properties.with_priority(octet(name, value)?),
            "correlation_id" => properties.with_correlation_id(text(name, value)?),
            "reply_to" => properties.with_reply_to(text(name, value)?),
            "expiration" => properties.with_expiration(text(name, value)?),
            "message_id" => properties.with_message_id(text(name, value)?),
            "timestamp" => properties.with_timestamp(value.as_u64().ok_or_else(|| not_int(name))?),
            "type" => properties.with_type(text(name, value)?),
            "user_id" => properties.with_user_id(text(name, value)?),
            "app_id" => properties.with_app_id(text(name, value)?),
            "cluster_id" => properties.with_cluster_id(text(name, value)?),
            _ => properties,
        };
    }
    Ok(properties)
}

fn text(name: &str, value: &Value) -> ApiResult<ShortString> {
    match value {
        Value::String(text) => short_string(text),
        _ => Err(ApiError::bad_request(json!(["not_string", name]))),
    }
}

fn octet(name: &str, value: &Value) -> ApiResult<u8> {
    value.as_u64().and_then(|number| u8::try_from(number).ok()).ok_or_else(|| not_int(name))
}

fn not_int(name: &str) -> ApiError {
    ApiError::bad_request(json!(["not_int", name]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_survives_json() {
        let json = json!({"a": 1, "b": "x", "c": true, "d": 1.5, "e": [1, {"f": "y"}]});
        assert_eq!(to_json(&from_json(Some(&json)).unwrap()), json);
        assert_eq!(from_json(Some(&json!([]))).unwrap(), FieldTable::default());
        assert!(from_json(Some(&json!({"a": null}))).is_err());
        assert!(from_json(Some(&json!(3))).is_err());
        assert!(from_json(Some(&json!({"k".repeat(256): 1}))).is_err());
    }

    #[test]
    fn properties_survive_json() {
        let json = json!({"delivery_mode": 2, "headers": {"h": 1}, "type": "t", "timestamp": 5, "priority": 9});
        assert_eq!(properties_to_json(&properties_from_json(Some(&json)).unwrap()), json);
        assert_eq!(properties_to_json(&BasicProperties::default()), json!([]));
        assert!(properties_from_json(Some(&json!({"delivery_mode": "x"}))).is_err());
        assert!(properties_from_json(Some(&json!({"priority": 256}))).is_err());
    }
}
