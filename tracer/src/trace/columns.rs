//! The columns of a trace: their names, types and meanings, how they are built and how they are
//! read; never which row has which of them.

use std::{collections::HashMap, marker::PhantomData, sync::Arc};

use arrow_array::{
    Array, ArrayRef, BooleanArray, DictionaryArray, PrimitiveArray, RecordBatch, StringArray,
    UInt8Array,
    builder::{BooleanBuilder, PrimitiveBuilder, StringBuilder},
    cast::AsArray as _,
    types::{
        ArrowPrimitiveType, Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
    },
};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef};

use super::{
    listed::Listed,
    names::{self, Names, RowKinds},
};

/// One type of column.
pub(super) trait Kind {
    /// What it is built in.
    type Builder;
    /// What it is read from.
    type Column;
    /// What a field of it holds.
    type Value<'a>;

    fn data_type() -> DataType;
    fn builder() -> Self::Builder;
    fn len(builder: &Self::Builder) -> usize;
    fn append(builder: &mut Self::Builder, value: Self::Value<'_>);
    fn append_nulls(builder: &mut Self::Builder, count: usize);
    fn finish(builder: &mut Self::Builder) -> ArrayRef;
    /// The column in an array; `None` where that has another type.
    fn column(array: &ArrayRef) -> Option<Self::Column>;
    fn get(column: &Self::Column, row: usize) -> Option<Self::Value<'_>>;
}

/// A column of numbers.
pub(super) struct Number<T>(PhantomData<T>);

impl<T: ArrowPrimitiveType> Kind for Number<T> {
    type Builder = PrimitiveBuilder<T>;
    type Column = PrimitiveArray<T>;
    type Value<'a> = T::Native;

    fn data_type() -> DataType {
        T::DATA_TYPE
    }

    fn builder() -> Self::Builder {
        PrimitiveBuilder::new()
    }

    fn len(builder: &Self::Builder) -> usize {
        arrow_array::builder::ArrayBuilder::len(builder)
    }

    fn append(builder: &mut Self::Builder, value: T::Native) {
        builder.append_value(value);
    }

    fn append_nulls(builder: &mut Self::Builder, count: usize) {
        builder.append_nulls(count);
    }

    fn finish(builder: &mut Self::Builder) -> ArrayRef {
        Arc::new(builder.finish())
    }

    fn column(array: &ArrayRef) -> Option<Self::Column> {
        array.as_primitive_opt::<T>().cloned()
    }

    fn get(column: &Self::Column, row: usize) -> Option<T::Native> {
        column.is_valid(row).then(|| column.value(row))
    }
}

/// A column of texts that hardly ever come again.
pub(super) struct Text;

impl Kind for Text {
    type Builder = StringBuilder;
    type Column = StringArray;
    type Value<'a> = &'a str;

    fn data_type() -> DataType {
        DataType::Utf8
    }

    fn builder() -> Self::Builder {
        StringBuilder::new()
    }

    fn len(builder: &Self::Builder) -> usize {
        arrow_array::builder::ArrayBuilder::len(builder)
    }

    fn append(builder: &mut Self::Builder, value: &str) {
        builder.append_value(value);
    }

    fn append_nulls(builder: &mut Self::Builder, count: usize) {
        builder.append_nulls(count);
    }

    fn finish(builder: &mut Self::Builder) -> ArrayRef {
        Arc::new(builder.finish())
    }

    fn column(array: &ArrayRef) -> Option<Self::Column> {
        array.as_string_opt::<i32>().cloned()
    }

    fn get(column: &Self::Column, row: usize) -> Option<&str> {
        column.is_valid(row).then(|| column.value(row))
    }
}

/// A column of yes and no.
pub(super) struct Flag;

impl Kind for Flag {
    type Builder = BooleanBuilder;
    type Column = BooleanArray;
    type Value<'a> = bool;

    fn data_type() -> DataType {
        DataType::Boolean
    }

    fn builder() -> Self::Builder {
        BooleanBuilder::new()
    }

    fn len(builder: &Self::Builder) -> usize {
        arrow_array::builder::ArrayBuilder::len(builder)
    }

    fn append(builder: &mut Self::Builder, value: bool) {
        builder.append_value(value);
    }

    fn append_nulls(builder: &mut Self::Builder, count: usize) {
        builder.append_nulls(count);
    }

    fn finish(builder: &mut Self::Builder) -> ArrayRef {
        Arc::new(builder.finish())
    }

    fn column(array: &ArrayRef) -> Option<Self::Column> {
        array.as_boolean_opt().cloned()
    }

    fn get(column: &Self::Column, row: usize) -> Option<bool> {
        column.is_valid(row).then(|| column.value(row))
    }
}

/// A column of names from a fixed list.
pub(super) struct Name<N>(PhantomData<N>);

/// Builds a column of names: their numbers, and the list once.
pub(super) struct NameBuilder {
    numbers: PrimitiveBuilder<UInt8Type>,
    /// The same array in every batch: the writer then knows that it need not be written again.
    names: ArrayRef,
}

/// A column of names, each with what it stands for where this version knows it.
pub(super) struct NameColumn<N: Names> {
    numbers: UInt8Array,
    /// By the file's number.
    known: Vec<Option<N::Value>>,
}

impl<N: Names> Kind for Name<N> {
    type Builder = NameBuilder;
    type Column = NameColumn<N>;
    type Value<'a> = N::Value;

    fn data_type() -> DataType {
        DataType::Dictionary(Box::new(DataType::UInt8), Box::new(DataType::Utf8))
    }

    fn builder() -> NameBuilder {
        NameBuilder {
            numbers: PrimitiveBuilder::new(),
            names: Arc::new(StringArray::from_iter_values(N::all())),
        }
    }

    fn len(builder: &NameBuilder) -> usize {
        arrow_array::builder::ArrayBuilder::len(&builder.numbers)
    }

    fn append(builder: &mut NameBuilder, value: N::Value) {
        builder.numbers.append_value(N::number(value));
    }

    fn append_nulls(builder: &mut NameBuilder, count: usize) {
        builder.numbers.append_nulls(count);
    }

    fn finish(builder: &mut NameBuilder) -> ArrayRef {
        let numbers = builder.numbers.finish();
        Arc::new(DictionaryArray::new(numbers, Arc::clone(&builder.names)))
    }

    fn column(array: &ArrayRef) -> Option<NameColumn<N>> {
        let array = array
            .as_any()
            .downcast_ref::<DictionaryArray<UInt8Type>>()?;
        let ours = N::all();
        let known = array
            .values()
            .as_string_opt::<i32>()?
            .iter()
            .enumerate()
            .map(|(number, name)| {
                let is_it = |our: &String| Some(our.as_str()) == name;
                // A file of this version has each where we have it.
                let place = if ours.get(number).is_some_and(is_it) {
                    number
                } else {
                    ours.iter().position(is_it)?
                };
                N::value(u8::try_from(place).ok()?)
            })
            .collect();
        Some(NameColumn {
            numbers: array.keys().clone(),
            known,
        })
    }

    fn get(column: &NameColumn<N>, row: usize) -> Option<N::Value> {
        let numbers = &column.numbers;
        let number = numbers.is_valid(row).then(|| numbers.value(row))?;
        *column.known.get(usize::from(number))?
    }
}

/// A column that is being built. Rows that have nothing in it are made up for when the next one has.
pub(super) struct Building<K: Kind>(K::Builder);

impl<K: Kind> Building<K> {
    fn new() -> Self {
        Self(K::builder())
    }

    /// Gives the row a value.
    pub(super) fn set(&mut self, row: usize, value: K::Value<'_>) {
        self.fill(row);
        K::append(&mut self.0, value);
    }

    /// Gives the row a value, if there is one.
    pub(super) fn set_opt(&mut self, row: usize, value: Option<K::Value<'_>>) {
        if let Some(value) = value {
            self.set(row, value);
        }
    }

    fn fill(&mut self, rows: usize) {
        let missing = rows.saturating_sub(K::len(&self.0));
        if missing > 0 {
            K::append_nulls(&mut self.0, missing);
        }
    }

    fn finish(&mut self, rows: usize) -> ArrayRef {
        self.fill(rows);
        K::finish(&mut self.0)
    }
}

/// A column that is being read.
pub(super) struct Reading<K: Kind>(Option<K::Column>);

impl<K: Kind> Reading<K> {
    /// The row's value, if it has one. A column that an older version did not write has none.
    pub(super) fn get(&self, row: usize) -> Option<K::Value<'_>> {
        K::get(self.0.as_ref()?, row)
    }

    /// The whole column, where the file has it.
    pub(super) const fn column(&self) -> Option<&K::Column> {
        self.0.as_ref()
    }
}

/// A column's entry in the field dictionary.
pub struct DictionaryEntry {
    /// Its name, the same as in JSON lines where those have it.
    pub name: &'static str,
    /// What it means, with its unit.
    pub meaning: &'static str,
    data_type: fn() -> DataType,
}

impl DictionaryEntry {
    /// Its type, as a person writes it.
    #[must_use]
    pub fn type_name(&self) -> String {
        match (self.data_type)() {
            DataType::Utf8 => "text".to_owned(),
            DataType::Boolean => "boolean".to_owned(),
            DataType::Dictionary(number, _) if *number == DataType::UInt8 => "name".to_owned(),
            DataType::Dictionary(..) => "listed text".to_owned(),
            number => number.to_string().to_lowercase(),
        }
    }
}

macro_rules! columns {
    ($($(#[doc = $meaning:literal])+ $name:ident: $kind:ty,)+) => {
        /// Every column, in order.
        pub const DICTIONARY: &[DictionaryEntry] = &[$(DictionaryEntry {
            name: stringify!($name),
            meaning: concat!($($meaning),+),
            data_type: <$kind as Kind>::data_type,
        }),+];

        /// The rows of a batch that is being built.
        pub(super) struct Rows {
            begun: usize,
            $(pub(super) $name: Building<$kind>,)+
        }

        impl Rows {
            pub(super) fn new() -> Self {
                Self { begun: 0, $($name: Building::new(),)+ }
            }

            fn arrays(&mut self) -> Vec<ArrayRef> {
                let rows = std::mem::take(&mut self.begun);
                vec![$(self.$name.finish(rows)),+]
            }
        }

        /// The rows of a batch that is being read.
        pub(super) struct Batch {
            rows: usize,
            $(pub(super) $name: Reading<$kind>,)+
        }

        impl Batch {
            /// The columns of a batch by their names; others are ignored.
            pub(super) fn new(batch: &RecordBatch) -> Result<Self, WrongType> {
                Ok(Self {
                    rows: batch.num_rows(),
                    $($name: Reading(match batch.column_by_name(stringify!($name)) {
                        Some(array) => {
                            let column = <$kind as Kind>::column(array);
                            let column = column.ok_or(WrongType(stringify!($name)))?;
                            // Many columns are of one kind of row, of which a batch may have none.
                            (array.null_count() < array.len()).then_some(column)
                        }
                        None => None,
                    }),)+
                })
            }
        }
    };
}

/// A column has a type that its name does not stand for.
#[derive(Debug)]
pub(super) struct WrongType(pub(super) &'static str);

type U16 = Number<UInt16Type>;
type U32 = Number<UInt32Type>;
type U64 = Number<UInt64Type>;
type I32 = Number<Int32Type>;
type I64 = Number<Int64Type>;

columns! {
    /// What the row is: an event, a tick, a fact about the host, or an item of the row before.
    kind: Name<RowKinds>,
    /// When, in nanoseconds of `CLOCK_BOOTTIME`; the session's `wall_offset_ns` added is UTC.
    ts: U64,
    /// How many of the following rows are items of this one.
    items: U32,
    /// The process, in the host's numbering.
    pid: U32,
    /// The thread that acted, in the host's numbering.
    tid: U32,
    /// The thread's name.
    thread: Listed,
    /// The process's name.
    comm: Listed,
    /// The socket while it lives; used again after it was freed.
    sock: U64,
    /// The kernel's socket cookie, unique since boot.
    cookie: U64,
    /// When the connection or the process began, as `ts`.
    start: U64,
    /// Payload bytes that the peer has acknowledged so far.
    tx_bytes: U64,
    /// Payload bytes received so far.
    rx_bytes: U64,
    /// Local address.
    laddr: Listed,
    /// Local port; 0 once the kernel has given it back.
    lport: U16,
    /// Remote address.
    raddr: Listed,
    /// Remote port.
    rport: U16,
    /// The network namespace's inode number.
    netns: U32,
    /// The connection's TCP state before.
    old_state: Name<names::TcpStates>,
    /// The connection's TCP state from then on.
    new_state: Name<names::TcpStates>,
    /// Why it failed, as a positive errno.
    errno: I32,
    /// The part that the local process played in making the connection.
    role: Name<names::Roles>,
    /// The descriptor.
    fd: U32,
    /// How the descriptor was asked for.
    source: Name<names::Sources>,
    /// What the descriptor refers to.
    fd_kind: Name<names::FdKinds>,
    /// Files that the process had opened by then, since it was first seen.
    opens: U64,
    /// Descriptors got less closed by then, since the process was first seen.
    fds_net: I64,
    /// As `fds_net`, files only.
    files_net: I64,
    /// The file's path.
    path: Text,
    /// Whether the path is the kernel's own (from the root) or the one that was asked for.
    path_form: Name<names::PathForms>,
    /// Descriptors open, as /proc tells.
    fds_open: U64,
    /// The soft limit of descriptors; nothing where there is none.
    fd_limit: U64,
    /// The hard limit of descriptors; nothing where there is none.
    fd_hard_limit: U64,
    /// The parent.
    ppid: U32,
    /// The parent's name.
    parent_comm: Listed,
    /// The real user id.
    uid: U32,
    /// The user's name, or number where it has none.
    user: Listed,
    /// The process's pid in its own pid namespace.
    ns_pid: U32,
    /// The cgroup's inode number.
    cgroup_id: U64,
    /// The container's id.
    container: Listed,
    /// What runs the container.
    runtime: Listed,
    /// The pod's uid.
    pod_uid: Listed,
    /// The systemd unit.
    unit: Listed,
    /// The host name of the process's UTS namespace; of a pod's process the pod's name.
    hostname: Listed,
    /// The executable.
    exe: Listed,
    /// The command line, arguments joined by spaces.
    cmdline: Text,
    /// Whether the process has just replaced its program.
    is_exec: Flag,
    /// The number of the user stack that the thread acted with; negative where it could not be taken,
    /// for that errno.
    stack: I64,
    /// A frame of a user stack: the function and its file, or a place in a file.
    frame: Listed,
    /// What an item counts, or which end of a range it is.
    name: Name<names::Items>,
    /// The item's number.
    value: U64,
}

impl Rows {
    /// Begins a row, and gives its number.
    pub(super) fn begin(&mut self, kind: names::RowKind, ts: u64) -> usize {
        let row = self.begun;
        self.kind.set(row, kind);
        self.ts.set(row, ts);
        self.begun += 1;
        row
    }

    /// How many rows have been begun.
    pub(super) const fn len(&self) -> usize {
        self.begun
    }

    /// Takes the rows as a batch.
    pub(super) fn finish(&mut self, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
        RecordBatch::try_new(Arc::clone(schema), self.arrays())
    }
}

impl Batch {
    /// How many rows there are.
    pub(super) const fn len(&self) -> usize {
        self.rows
    }
}

/// The schema with this metadata.
pub(super) fn schema(metadata: HashMap<String, String>) -> SchemaRef {
    let fields: Vec<_> = DICTIONARY
        .iter()
        .map(|column| {
            let meaning = HashMap::from([("meaning".to_owned(), column.meaning.trim().to_owned())]);
            Field::new(column.name, (column.data_type)(), true).with_metadata(meaning)
        })
        .collect();
    Arc::new(Schema::new_with_metadata(fields, metadata))
}
