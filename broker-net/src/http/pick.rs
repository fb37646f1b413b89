//! One field of what would be serialized, without serializing the rest: what a listing is sorted by.

use std::cmp::Ordering;
use std::fmt::Display;
use std::marker::PhantomData;

use serde::ser::{
    Error as _, Impossible, Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeTuple, Serializer,
};

/// What a row is sorted by. Numbers come before words, as in Erlang; a field that is not there counts as 0.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum SortKey {
    Number(f64),
    Text(Box<str>),
}

impl SortKey {
    /// The field of `row` at a path with dots.
    pub(super) fn of(row: &impl Serialize, path: &str) -> Self {
        match row.serialize(Pick::At(path)) {
            Ok(Found::Value(key)) => key,
            Ok(Found::Nothing | Found::Key(_)) | Err(_) => Self::Number(0.0),
        }
    }

    pub(super) fn order(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Number(one), Self::Number(other)) => one.total_cmp(other),
            (Self::Number(_), Self::Text(_)) => Ordering::Less,
            (Self::Text(_), Self::Number(_)) => Ordering::Greater,
            (Self::Text(one), Self::Text(other)) => one.cmp(other),
        }
    }
}

/// What was found.
enum Found<'p> {
    Nothing,
    Value(SortKey),
    /// The key of a field that is on the way, and what to do with its value.
    Key(Pick<'p>),
}

/// What is done with a value.
#[derive(Clone, Copy)]
enum Pick<'p> {
    /// It is taken.
    This,
    /// It is looked into, for a path.
    At(&'p str),
    /// It is the key of a field, compared with the beginning of a path.
    Key(&'p str),
}

/// The picking went wrong: the field is as good as missing.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Failed(String);

impl serde::ser::Error for Failed {
    fn custom<T: Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

impl<'p> Pick<'p> {
    fn number(self, number: f64) -> Result<Found<'p>, Failed> {
        Ok(match self {
            Self::This => Found::Value(SortKey::Number(number)),
            Self::At(_) | Self::Key(_) => Found::Nothing,
        })
    }

    fn text(self, text: &str) -> Result<Found<'p>, Failed> {
        Ok(match self {
            Self::This => Found::Value(SortKey::Text(text.into())),
            Self::At(_) => Found::Nothing,
            Self::Key(path) => match path.strip_prefix(text) {
                Some("") => Found::Key(Self::This),
                Some(rest) => rest.strip_prefix('.').map_or(Found::Nothing, |rest| Found::Key(Self::At(rest))),
                None => Found::Nothing,
            },
        })
    }

    fn fields(self) -> Fields<'p> {
        let path = match self {
            Self::At(path) => Some(path),
            Self::This | Self::Key(_) => None,
        };
        Fields { path, wanted: None, found: Found::Nothing }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a key needs no more precision")]
impl<'p> Serializer for Pick<'p> {
    type Ok = Found<'p>;
    type Error = Failed;
    type SerializeSeq = Items<'p>;
    type SerializeTuple = Items<'p>;
    type SerializeTupleStruct = Impossible<Found<'p>, Failed>;
    type SerializeTupleVariant = Impossible<Found<'p>, Failed>;
    type SerializeMap = Fields<'p>;
    type SerializeStruct = Fields<'p>;
    type SerializeStructVariant = Impossible<Found<'p>, Failed>;

    fn serialize_bool(self, value: bool) -> Result<Found<'p>, Failed> {
        self.text(if value { "true" } else { "false" })
    }

    fn serialize_i8(self, value: i8) -> Result<Found<'p>, Failed> {
        self.number(value.into())
    }

    fn serialize_i16(self, value: i16) -> Result<Found<'p>, Failed> {
        self.number(value.into())
    }

    fn serialize_i32(self, value: i32) -> Result<Found<'p>, Failed> {
        self.number(value.into())
    }

    fn serialize_i64(self, value: i64) -> Result<Found<'p>, Failed> {
        self.number(value as f64)
    }

    fn serialize_u8(self, value: u8) -> Result<Found<'p>, Failed> {
        self.number(value.into())
    }

    fn serialize_u16(self, value: u16) -> Result<Found<'p>, Failed> {
        self.number(value.into())
    }

    fn serialize_u32(self, value: u32) -> Result<Found<'p>, Failed> {
        self.number(value.into())
    }

    fn serialize_u64(self, value: u64) -> Result<Found<'p>, Failed> {
        self.number(value as f64)
    }

    fn serialize_f32(self, value: f32) -> Result<Found<'p>, Failed> {
        self.number(value.into())
    }

    fn serialize_f64(self, value: f64) -> Result<Found<'p>, Failed> {
        self.number(value)
    }

    fn serialize_char(self, value: char) -> Result<Found<'p>, Failed> {
        self.text(value.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, value: &str) -> Result<Found<'p>, Failed> {
        self.text(value)
    }

    fn serialize_bytes(self, _: &[u8]) -> Result<Found<'p>, Failed> {
        Ok(Found::Nothing)
    }

    fn serialize_none(self) -> Result<Found<'p>, Failed> {
        self.text("null")
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Found<'p>, Failed> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<Found<'p>, Failed> {
        self.text("null")
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<Found<'p>, Failed> {
        self.text("null")
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<Found<'p>, Failed> {
        self.text(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<Found<'p>, Failed> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<Found<'p>, Failed> {
        Ok(Found::Nothing)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Items<'p>, Failed> {
        Ok(Items(PhantomData))
    }

    fn serialize_tuple(self, _: usize) -> Result<Items<'p>, Failed> {
        Ok(Items(PhantomData))
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self::SerializeTupleStruct, Failed> {
        Err(Failed::custom("no field"))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, Failed> {
        Err(Failed::custom("no field"))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Fields<'p>, Failed> {
        Ok(self.fields())
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Fields<'p>, Failed> {
        Ok(self.fields())
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, Failed> {
        Err(Failed::custom("no field"))
    }
}

/// The items of a list, none of which is a field.
struct Items<'p>(PhantomData<&'p str>);

impl<'p> SerializeSeq for Items<'p> {
    type Ok = Found<'p>;
    type Error = Failed;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, _: &T) -> Result<(), Failed> {
        Ok(())
    }

    fn end(self) -> Result<Found<'p>, Failed> {
        Ok(Found::Nothing)
    }
}

impl<'p> SerializeTuple for Items<'p> {
    type Ok = Found<'p>;
    type Error = Failed;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, _: &T) -> Result<(), Failed> {
        Ok(())
    }

    fn end(self) -> Result<Found<'p>, Failed> {
        Ok(Found::Nothing)
    }
}

/// The fields of an object: one of them is looked into.
struct Fields<'p> {
    path: Option<&'p str>,
    /// What to do with the value of the field whose key was last serialized, if it is on the way.
    wanted: Option<Pick<'p>>,
    found: Found<'p>,
}

impl<'p> Fields<'p> {
    fn key<T: Serialize + ?Sized>(&self, key: &T) -> Result<Option<Pick<'p>>, Failed> {
        let (Some(path), Found::Nothing) = (self.path, &self.found) else { return Ok(None) };
        match key.serialize(Pick::Key(path))? {
            Found::Key(pick) => Ok(Some(pick)),
            Found::Nothing | Found::Value(_) => Ok(None),
        }
    }

    fn look<T: Serialize + ?Sized>(&mut self, wanted: Option<Pick<'p>>, value: &T) -> Result<(), Failed> {
        if let Some(pick) = wanted {
            self.found = value.serialize(pick)?;
        }
        Ok(())
    }
}

impl<'p> SerializeMap for Fields<'p> {
    type Ok = Found<'p>;
    type Error = Failed;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Failed> {
        self.wanted = self.key(key)?;
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Failed> {
        let wanted = self.wanted.take();
        self.look(wanted, value)
    }

    fn end(self) -> Result<Found<'p>, Failed> {
        Ok(self.found)
    }
}

impl<'p> SerializeStruct for Fields<'p> {
    type Ok = Found<'p>;
    type Error = Failed;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result<(), Failed> {
        let wanted = self.key(key)?;
        self.look(wanted, value)
    }

    fn end(self) -> Result<Found<'p>, Failed> {
        Ok(self.found)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_field_is_found_at_its_path() {
        let row = json!({"name": "q", "n": 3, "f": 1.5, "b": true, "z": null, "list": [1], "stats": {"ack": 7, "d": {"rate": 2.5}}});
        let text = |text: &str| SortKey::Text(text.into());
        for (path, expect) in [
            ("name", text("q")),
            ("n", SortKey::Number(3.0)),
            ("f", SortKey::Number(1.5)),
            ("b", text("true")),
            ("z", text("null")),
            ("stats.ack", SortKey::Number(7.0)),
            ("stats.d.rate", SortKey::Number(2.5)),
            ("list", SortKey::Number(0.0)),
            ("stats", SortKey::Number(0.0)),
            ("stats.nope", SortKey::Number(0.0)),
            ("name.x", SortKey::Number(0.0)),
            ("nam", SortKey::Number(0.0)),
            ("names", SortKey::Number(0.0)),
            ("", SortKey::Number(0.0)),
        ] {
            assert_eq!(SortKey::of(&row, path), expect, "{path}");
        }
    }
}
