//! Values that are written as one word each. Pure.

/// The value that is written as `word`; `all` has them in the order of their `names`.
pub(crate) fn find<T: Copy>(word: &str, names: &[&str], all: &[T]) -> Option<T> {
    names.iter().zip(all).find(|(name, _)| **name == word).map(|(_, value)| *value)
}

/// How a value is written; empty for one that is not among `all`.
pub(crate) fn of<T: PartialEq>(value: &T, names: &[&'static str], all: &[T]) -> &'static str {
    names.iter().zip(all).find(|(_, one)| *one == value).map_or("", |(name, _)| name)
}
