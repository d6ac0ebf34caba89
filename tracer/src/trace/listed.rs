//! Columns whose few texts come again and again: a row holds a text's number in a list, which is
//! written before a batch if that needs another one than was written last; never changes a list that
//! was written, which not every reader could follow.

use std::sync::Arc;

use arrow_array::{
    Array as _, ArrayRef, DictionaryArray, StringArray, UInt32Array, builder::PrimitiveBuilder,
    cast::AsArray as _, types::UInt32Type,
};
use arrow_schema::DataType;
use rustc_hash::FxHashMap;

use super::columns::{Kind, Reading};

/// A column of texts in a list.
pub(super) struct Listed;

/// Builds a column of texts in a list.
pub(super) struct ListBuilder {
    numbers: PrimitiveBuilder<UInt32Type>,
    known: FxHashMap<Arc<str>, u32>,
    /// By their numbers.
    texts: Vec<Arc<str>>,
    /// The list as it was written last: the same array again is not written again.
    written: ArrayRef,
    /// The number of the last row's text: mostly the next row has the same.
    last: u32,
}

impl ListBuilder {
    fn number(&mut self, text: &str) -> u32 {
        let last = self.texts.get(self.last as usize);
        if last.is_some_and(|last| **last == *text) {
            return self.last;
        }
        self.last = if let Some(number) = self.known.get(text) {
            *number
        } else {
            self.append(text.into())
        };
        self.last
    }

    fn append(&mut self, text: Arc<str>) -> u32 {
        // A list has not more texts than two batches have rows.
        let number = u32::try_from(self.texts.len()).unwrap_or(u32::MAX);
        self.texts.push(Arc::clone(&text));
        self.known.insert(text, number);
        number
    }

    /// Leaves out of the list what no row of the batch has, where that is much. So a list that must be
    /// written is never much longer than the batch needs, and where no new text comes none is written.
    fn shorten(&mut self) {
        let mut is_used = vec![false; self.texts.len()];
        for number in self.numbers.values_slice() {
            // A row without a text has the number 0.
            if let Some(is_used) = is_used.get_mut(*number as usize) {
                *is_used = true;
            }
        }
        let used = is_used.iter().filter(|is_used| **is_used).count();
        if self.texts.len() <= used + used / 2 {
            return;
        }
        self.known.clear();
        let texts = std::mem::take(&mut self.texts);
        let numbers: Vec<_> = texts
            .into_iter()
            .zip(is_used)
            .map(|(text, is_used)| if is_used { self.append(text) } else { 0 })
            .collect();
        for number in self.numbers.values_slice_mut() {
            *number = numbers.get(*number as usize).copied().unwrap_or_default();
        }
        self.last = 0;
    }
}

impl Kind for Listed {
    type Builder = ListBuilder;
    type Column = ListColumn;
    type Value<'a> = &'a str;

    fn data_type() -> DataType {
        DataType::Dictionary(Box::new(DataType::UInt32), Box::new(DataType::Utf8))
    }

    fn builder() -> ListBuilder {
        ListBuilder {
            numbers: PrimitiveBuilder::new(),
            known: FxHashMap::default(),
            texts: Vec::new(),
            written: Arc::new(StringArray::new_null(0)),
            last: 0,
        }
    }

    fn len(builder: &ListBuilder) -> usize {
        arrow_array::builder::ArrayBuilder::len(&builder.numbers)
    }

    fn append(builder: &mut ListBuilder, value: &str) {
        let number = builder.number(value);
        builder.numbers.append_value(number);
    }

    fn append_nulls(builder: &mut ListBuilder, count: usize) {
        builder.numbers.append_nulls(count);
    }

    fn finish(builder: &mut ListBuilder) -> ArrayRef {
        if builder.texts.len() > builder.written.len() {
            builder.shorten();
            builder.written = Arc::new(StringArray::from_iter_values(&builder.texts));
        }
        let numbers = builder.numbers.finish();
        Arc::new(DictionaryArray::new(numbers, Arc::clone(&builder.written)))
    }

    fn column(array: &ArrayRef) -> Option<ListColumn> {
        if let Some(plain) = array.as_string_opt::<i32>() {
            return Some(ListColumn::Plain(plain.clone()));
        }
        let listed = array
            .as_any()
            .downcast_ref::<DictionaryArray<UInt32Type>>()?;
        let texts = listed.values().as_string_opt::<i32>()?;
        Some(ListColumn::Listed(listed.keys().clone(), texts.clone()))
    }

    fn get(column: &ListColumn, row: usize) -> Option<&str> {
        match column {
            ListColumn::Plain(texts) => texts.is_valid(row).then(|| texts.value(row)),
            ListColumn::Listed(numbers, texts) => {
                let number = numbers.is_valid(row).then(|| numbers.value(row))? as usize;
                (number < texts.len() && texts.is_valid(number)).then(|| texts.value(number))
            }
        }
    }
}

/// A column of texts in a list, or written out as format 1 has them.
pub(super) enum ListColumn {
    Listed(UInt32Array, StringArray),
    Plain(StringArray),
}

/// What the texts of a column mean, kept because the same few come again and again.
#[derive(Clone)]
pub(super) struct Meanings<T> {
    /// The list that they are of.
    list: Option<StringArray>,
    /// By their numbers, as far as they were asked for.
    known: Vec<Option<T>>,
}

impl<T> Default for Meanings<T> {
    fn default() -> Self {
        Self {
            list: None,
            known: Vec::new(),
        }
    }
}

impl<T: Copy> Meanings<T> {
    /// What the row's text means, if it has one, as `read` tells of each text.
    pub(super) fn get(
        &mut self,
        column: &Reading<Listed>,
        row: usize,
        read: impl FnOnce(&str) -> T,
    ) -> Option<T> {
        let column = column.column()?;
        let ListColumn::Listed(numbers, texts) = column else {
            return Listed::get(column, row).map(read);
        };
        let number = numbers.is_valid(row).then(|| numbers.value(row))? as usize;
        let is_known = |list: &StringArray| list.values().ptr_eq(texts.values());
        if !self.list.as_ref().is_some_and(is_known) {
            self.list = Some(texts.clone());
            self.known.clear();
        }
        if let Some(Some(known)) = self.known.get(number) {
            return Some(*known);
        }
        let meaning = read(Listed::get(column, row)?);
        if number >= self.known.len() {
            self.known.resize(number + 1, None);
        }
        if let Some(slot) = self.known.get_mut(number) {
            *slot = Some(meaning);
        }
        Some(meaning)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Builds a column of these texts; gives it back as read, and its list.
    fn column(builder: &mut ListBuilder, texts: &[Option<&str>]) -> (ArrayRef, Vec<String>) {
        for text in texts {
            match text {
                Some(text) => Listed::append(builder, text),
                None => Listed::append_nulls(builder, 1),
            }
        }
        let array = Listed::finish(builder);
        let column = Listed::column(&array).unwrap();
        let read: Vec<_> = (0..texts.len())
            .map(|row| Listed::get(&column, row))
            .collect();
        assert_eq!(read, texts);
        let dictionary = array.as_dictionary::<UInt32Type>().values();
        let list = dictionary.as_string::<i32>().iter().flatten();
        (Arc::clone(dictionary), list.map(str::to_owned).collect())
    }

    #[test]
    fn a_list_is_kept_until_another_text_comes() {
        let builder = &mut Listed::builder();
        let (first, list) = column(builder, &[Some("a"), None, Some("b"), Some("a")]);
        assert_eq!(list, ["a", "b"]);
        let (second, _) = column(builder, &[Some("b"), Some("b")]);
        assert!(Arc::ptr_eq(&first, &second));
        let (third, list) = column(builder, &[None, Some("c"), Some("b"), Some("a")]);
        assert_eq!(list, ["a", "b", "c"]);
        assert!(!Arc::ptr_eq(&first, &third));
    }

    #[test]
    fn a_list_that_must_be_written_leaves_out_what_is_not_needed() {
        let builder = &mut Listed::builder();
        column(builder, &[Some("a"), Some("b"), Some("c"), Some("d")]);
        let (_, list) = column(builder, &[Some("e"), Some("d"), Some("e")]);
        assert_eq!(list, ["d", "e"]);
        let (_, list) = column(builder, &[None, Some("a"), Some("")]);
        assert_eq!(list, ["d", "e", "a", ""]);
        let (_, list) = column(builder, &[]);
        assert_eq!(list, ["d", "e", "a", ""]);
    }
}
