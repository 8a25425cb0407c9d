//! The document store.

/// The documents every account has.
pub fn built_in(_now: std::time::SystemTime) -> Vec<super::store::Document> {
    Vec::new()
}
