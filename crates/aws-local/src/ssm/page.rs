//! Pages of a listing: a token names the last item that was shown, so that items which come or go between
//! two calls neither repeat nor hide others.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::error::ApiError;
use crate::members::Members;

/// The items after the one that `token` names, at most `size`, and the token of the next page if there is one.
/// `key` is an item's identity within the listing.
pub(crate) fn page<T>(
    items: Vec<T>,
    key: impl Fn(&T) -> String,
    size: usize,
    token: Option<&str>,
) -> Result<(Vec<T>, Option<String>), ApiError> {
    let start = match token.filter(|token| !token.is_empty()) {
        None => 0,
        Some(token) => after(&items, &key, token).ok_or_else(|| {
            ApiError::new(
                "InvalidNextToken",
                "The specified token is not valid for this listing. Start again without it.",
            )
        })?,
    };
    let more = items.len() > start + size;
    let shown: Vec<T> = items.into_iter().skip(start).take(size).collect();
    let next = shown.last().filter(|_| more).map(|last| URL_SAFE_NO_PAD.encode(key(last)));
    Ok((shown, next))
}

/// [`page`] with the members `MaxResults`, which is 50 if it is not there, and `NextToken`.
pub(super) fn paged<T>(
    items: Vec<T>,
    key: impl Fn(&T) -> String,
    members: Members<'_>,
) -> Result<(Vec<T>, Option<String>), ApiError> {
    page(items, key, members.count("MaxResults").unwrap_or(50), members.text("NextToken"))
}

fn after<T>(items: &[T], key: &impl Fn(&T) -> String, token: &str) -> Option<usize> {
    let last = String::from_utf8(URL_SAFE_NO_PAD.decode(token).ok()?).ok()?;
    items.iter().position(|item| key(item) == last).map(|index| index + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_cover_the_listing_once() {
        let items = || (0..7).collect::<Vec<u32>>();
        let mut seen = Vec::new();
        let mut token = None;
        loop {
            let (shown, next) = page(items(), u32::to_string, 3, token.as_deref()).unwrap();
            seen.extend(shown);
            token = next;
            if token.is_none() {
                break;
            }
        }
        assert_eq!(seen, items());
    }

    #[test]
    fn a_full_last_page_has_no_token() {
        let (shown, next) = page(vec![1, 2, 3], i32::to_string, 3, None).unwrap();
        assert_eq!((shown.len(), next), (3, None));
    }

    #[test]
    fn a_foreign_token_is_refused() {
        for token in ["%%%", "bm9uZQ"] {
            assert_eq!(page(vec![1], i32::to_string, 3, Some(token)).unwrap_err().code, "InvalidNextToken");
        }
    }
}
