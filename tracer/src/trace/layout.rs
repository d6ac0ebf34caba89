//! Which buffers a batch has by the types of its columns, and which of them hold offsets: Arrow's own reader
//! panics where one of those has no whole number of them. Never what the buffers hold.

use std::collections::HashMap;

use arrow_ipc::{Field, Schema, Type};

/// Bytes of an offset, and what a buffer of anything else is a multiple of.
const OFFSET_BYTES: usize = size_of::<i32>();
const ANY: usize = 1;

/// What the length of each buffer must be a multiple of, in bytes.
pub(super) type Units = Vec<usize>;

/// The buffers of the batches and lists of a stream.
#[derive(Debug, Default)]
pub(super) struct Layout {
    /// Of a batch of rows.
    pub(super) batch: Units,
    /// Of each list, by its number.
    pub(super) lists: HashMap<i64, Units>,
}

impl Layout {
    /// By what the stream says of its columns; `None` where one is of a type that no trace has.
    pub(super) fn of(schema: &Schema<'_>) -> Option<Self> {
        let mut layout = Self::default();
        for field in schema.fields().into_iter().flatten() {
            let units = layout.column(&field)?;
            layout.batch.extend(units);
        }
        Some(layout)
    }

    /// Of a column: what is valid, and the values or their numbers in a list.
    fn column(&mut self, field: &Field<'_>) -> Option<Units> {
        let values = self.values(field)?;
        let Some(list) = field.dictionary() else {
            return Some(values);
        };
        self.lists.insert(list.id(), values);
        Some(vec![ANY, ANY])
    }

    fn values(&mut self, field: &Field<'_>) -> Option<Units> {
        let mut units = match field.type_type() {
            Type::Bool | Type::Int | Type::FloatingPoint | Type::Timestamp => vec![ANY, ANY],
            Type::Binary | Type::Utf8 => vec![ANY, OFFSET_BYTES, ANY],
            Type::List => vec![ANY, OFFSET_BYTES],
            Type::Struct_ => vec![ANY],
            _ => return None,
        };
        for child in field.children().into_iter().flatten() {
            units.extend(self.column(&child)?);
        }
        Some(units)
    }
}
