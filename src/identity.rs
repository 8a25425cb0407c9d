//! Who am I: the activation, the managed instance, its key and its credentials.
//!
//! Life of an identity: an [`activation`] is made with the task role, the instance [`registration`] uses it
//! up ([`enrolment`] is both in a row), [`token`] keeps temporary credentials of the managed-instance role
//! fresh, and at the end activation and instance are removed again. [`store`] keeps what a restarted container
//! needs to go on as the same instance, because a second registration of one task would mean every fault twice.

pub mod activation;
pub mod enrolment;
pub mod key;
pub mod registration;
pub mod store;
pub mod token;
