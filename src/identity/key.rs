//! The instance's RSA key: its only proof of who it is.
//!
//! RSA 2048; the public key travels as base64 of the PKIX DER, signatures are RSASSA-PSS with SHA-256 and a
//! 32-byte salt. Source: amazon-ssm-agent `agent/managedInstances/auth/rsa_key.go`.

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{self, KeyPair as _};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use effects::task::Task;
use effects::task::limits::CpuLimits;
use tokio::sync::mpsc;

use crate::aws::sign::RsaSigner;

/// What RegisterManagedInstance calls this kind of key.
pub const KEY_TYPE: &str = "Rsa";

/// A key pair. Debug shows nothing of it.
pub struct InstanceKey(KeyPair);

impl std::fmt::Debug for InstanceKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("InstanceKey")
    }
}

/// The crypto library refused; it says no more than that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// No new key: the library has no randomness or no memory.
    #[error("cannot generate an RSA key")]
    Generate,
    /// No DER of a key.
    #[error("cannot encode the RSA key")]
    Encode,
    /// What is stored is no PKCS#8 key.
    #[error("the stored RSA key is damaged")]
    Damaged,
}

impl InstanceKey {
    /// A new key. Takes some tens to hundreds of milliseconds of CPU.
    ///
    /// # Errors
    /// The library could not (no randomness).
    pub fn generate() -> Result<InstanceKey, KeyError> {
        KeyPair::generate(KeySize::Rsa2048).map(InstanceKey).map_err(|_| KeyError::Generate)
    }

    /// The public key as sent: base64 of the SubjectPublicKeyInfo DER, 392 characters.
    ///
    /// # Errors
    /// The library could not encode it.
    pub fn public_base64(&self) -> Result<String, KeyError> {
        let der: PublicKeyX509Der<'_> = self.0.public_key().as_der().map_err(|_| KeyError::Encode)?;
        Ok(STANDARD.encode(der.as_ref()))
    }

    /// The private key for [`Self::from_base64`]: base64 of the PKCS#8 DER.
    ///
    /// # Errors
    /// The library could not encode it.
    pub fn private_base64(&self) -> Result<String, KeyError> {
        let der: Pkcs8V1Der<'_> = self.0.as_der().map_err(|_| KeyError::Encode)?;
        Ok(STANDARD.encode(der.as_ref()))
    }

    /// Reads back [`Self::private_base64`].
    ///
    /// # Errors
    /// The text is no key.
    pub fn from_base64(text: &str) -> Result<InstanceKey, KeyError> {
        let der = STANDARD.decode(text).map_err(|_| KeyError::Damaged)?;
        KeyPair::from_pkcs8(&der).map(InstanceKey).map_err(|_| KeyError::Damaged)
    }
}

/// Threads that race for one key, at most. How long a key takes is a matter of luck with two primes: the median
/// of the better of two is six tenths of the median of one. More would take CPUs that the task starts with.
const RACERS: u32 = 2;

/// A key that is being made on threads of its own. Who drops this does not wait for them.
#[derive(Debug)]
pub struct PendingKey(mpsc::UnboundedReceiver<Result<InstanceKey, String>>);

impl PendingKey {
    /// Begins to make a key, at once. With two whole CPUs to be had, two threads race for it; what is left of the
    /// slower one's work is lost, and it ends by itself.
    pub fn begin() -> PendingKey {
        let cpus = CpuLimits::read(&Task::default()).all_cores().cpus;
        let racers = if cpus >= f64::from(RACERS) { RACERS } else { 1 };
        PendingKey::begin_with(racers, || InstanceKey::generate().map_err(|error| error.to_string()))
    }

    /// As [`Self::begin`], by other means.
    pub(crate) fn begin_with(
        racers: u32,
        make: impl FnOnce() -> Result<InstanceKey, String> + Clone + Send + 'static,
    ) -> PendingKey {
        let (sender, receiver) = mpsc::unbounded_channel();
        for _ in 0..racers {
            let (sender, make) = (sender.clone(), make.clone());
            // A thread that cannot be had drops its sender; without any, the key is found missing.
            let thread = std::thread::Builder::new().name("instance-key".to_owned());
            if let Err(error) = thread.spawn(move || sender.send(make())) {
                tracing::warn!(%error, "no thread can be had to make the instance's key on");
            }
        }
        PendingKey(receiver)
    }

    /// The key, as soon as the first is made.
    ///
    /// # Errors
    /// The library could make none, or no thread could be had, or all died.
    pub async fn ready(mut self) -> Result<InstanceKey, String> {
        let mut failed = None;
        while let Some(made) = self.0.recv().await {
            match made {
                Ok(key) => return Ok(key),
                Err(error) => failed = Some(error),
            }
        }
        Err(failed.unwrap_or_else(|| "its thread ended without one".to_owned()))
    }
}

impl RsaSigner for InstanceKey {
    /// 344 characters.
    fn sign(&self, message: &[u8]) -> Result<String, String> {
        let mut out = vec![0; self.0.public_modulus_len()];
        self.0
            .sign(&signature::RSA_PSS_SHA256, &SystemRandom::new(), message, &mut out)
            .map_err(|_| "cannot sign with the RSA key".to_owned())?;
        Ok(STANDARD.encode(out))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn a_key_survives_storage_and_its_signatures_verify() {
        let key = InstanceKey::generate().unwrap();
        let public = key.public_base64().unwrap();
        // 294 bytes of DER; the service requires at least 392 characters.
        assert_eq!(public.len(), 392);
        let again = InstanceKey::from_base64(&key.private_base64().unwrap()).unwrap();
        assert_eq!(again.public_base64().unwrap(), public);

        let signed = again.sign(b"string to sign").unwrap();
        assert_eq!(signed.len(), 344);
        let der = STANDARD.decode(public).unwrap();
        let verifier = signature::UnparsedPublicKey::new(&signature::RSA_PSS_2048_8192_SHA256, der);
        let bytes = STANDARD.decode(signed).unwrap();
        assert!(verifier.verify(b"string to sign", &bytes).is_ok());
        assert!(verifier.verify(b"another string", &bytes).is_err());
    }

    #[tokio::test]
    async fn a_key_that_cannot_be_made_is_an_error() {
        assert!(PendingKey::begin().ready().await.is_ok());
        let refused = PendingKey::begin_with(2, || Err("no randomness".to_owned()));
        assert_eq!(refused.ready().await.unwrap_err(), "no randomness");
        let (sender, receiver) = mpsc::unbounded_channel();
        drop(sender);
        assert!(PendingKey(receiver).ready().await.unwrap_err().contains("thread"));
    }

    #[tokio::test]
    async fn one_thread_that_fails_is_not_the_end_of_the_race() {
        static MADE: AtomicUsize = AtomicUsize::new(0);
        let make = || match MADE.fetch_add(1, Ordering::Relaxed) {
            0 => Err("no memory".to_owned()),
            _ => InstanceKey::generate().map_err(|error| error.to_string()),
        };
        assert!(PendingKey::begin_with(2, make).ready().await.is_ok());
        assert_eq!(MADE.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn a_damaged_key_is_refused() {
        for text in ["", "AAAA", "not base64!"] {
            assert_eq!(InstanceKey::from_base64(text).unwrap_err(), KeyError::Damaged);
        }
    }
}
