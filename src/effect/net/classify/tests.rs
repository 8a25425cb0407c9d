//! Bytes against those that `nft` sends.
