//! The secret that a browser must know to change something.

use std::fmt;

use aws_lc_rs::{constant_time, rand};

/// 32 hexadecimal digits, made anew by every process.
#[derive(Clone)]
pub struct Token(String);

impl Token {
    /// A new one.
    ///
    /// # Errors
    /// The system's random source does not work.
    pub fn new() -> Result<Token, &'static str> {
        let mut bytes = [0; 16];
        rand::fill(&mut bytes).map_err(|_| "the system's random source does not work")?;
        Ok(Token(hex::encode(bytes)))
    }

    /// As it is given to the user.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// Whether this is the token. Takes as long for every answer.
    pub(crate) fn is(&self, given: &str) -> bool {
        constant_time::verify_slices_are_equal(self.0.as_bytes(), given.as_bytes()).is_ok()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_token_is_the_token() {
        let (token, other) = (Token::new().unwrap(), Token::new().unwrap());
        assert_eq!(token.text().len(), 32);
        assert!(token.is(token.text()));
        for wrong in ["", &token.text()[..31], other.text(), &format!("{}0", token.text())] {
            assert!(!token.is(wrong), "{wrong}");
        }
        assert_eq!(format!("{token:?}"), "Token");
    }
}
