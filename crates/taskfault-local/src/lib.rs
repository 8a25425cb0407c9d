//! What `taskfault-local` does beside serving: the [`stage`] (tasks as processes in namespaces), services of
//! tasks on it ([`up`]), the [`demo`], its [`log`], the sidecar's way into a user's own [`task_definition`], and two
//! small programs that tasks run.

#![forbid(unsafe_code)]

pub mod application;
pub mod clients;
pub mod demo;
pub mod listener;
pub mod log;
pub mod page;
pub mod pause;
pub mod stage;
pub mod task_definition;
pub mod up;
pub mod with;
