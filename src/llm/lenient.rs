//! Reads JSON of which anything may be missing or of another type: what is not as expected is absent, and nothing of it is
//! kept while it is read.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// For `deserialize_with`: the value, or none if it is of another type.
pub(super) fn lenient<'de, D: Deserializer<'de>, T: FromJson<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    deserializer.deserialize_any(Expecting(PhantomData))
}

/// What a type can be made of; of anything else it is not made.
pub(super) trait FromJson<'de>: Sized {
    /// From a string.
    fn from_text(_: &str) -> Option<Self> {
        None
    }

    /// From a number that is not negative and has no fraction.
    fn from_number(_: u64) -> Option<Self> {
        None
    }

    /// From an array.
    fn from_array<A: SeqAccess<'de>>(mut array: A) -> Result<Option<Self>, A::Error> {
        while array.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    /// From an object.
    fn from_object<A: MapAccess<'de>>(mut object: A) -> Result<Option<Self>, A::Error> {
        while object.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(None)
    }
}

impl FromJson<'_> for String {
    fn from_text(text: &str) -> Option<Self> {
        Some(text.to_owned())
    }
}

impl FromJson<'_> for u64 {
    fn from_number(number: u64) -> Option<Self> {
        Some(number)
    }
}

/// Elements of another type are left out.
impl<'de, T: FromJson<'de>> FromJson<'de> for Vec<T> {
    fn from_array<A: SeqAccess<'de>>(mut array: A) -> Result<Option<Self>, A::Error> {
        let mut elements = Self::new();
        while let Some(Element(element)) = array.next_element()? {
            elements.extend(element);
        }
        Ok(Some(elements))
    }
}

/// A struct whose fields are all lenient: it is made of an object.
pub(super) trait Fields {}

impl<'de, T: Fields + Deserialize<'de>> FromJson<'de> for T {
    fn from_object<A: MapAccess<'de>>(object: A) -> Result<Option<Self>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(object)).map(Some)
    }
}

struct Element<T>(Option<T>);

impl<'de, T: FromJson<'de>> Deserialize<'de> for Element<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        lenient(deserializer).map(Self)
    }
}

struct Expecting<T>(PhantomData<T>);

impl<'de, T: FromJson<'de>> Visitor<'de> for Expecting<T> {
    type Value = Option<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(T::from_text(text))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(T::from_number(number))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, array: A) -> Result<Self::Value, A::Error> {
        T::from_array(array)
    }

    fn visit_map<A: MapAccess<'de>>(self, object: A) -> Result<Self::Value, A::Error> {
        T::from_object(object)
    }
}
