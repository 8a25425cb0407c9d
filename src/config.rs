//! What the sidecar is told by its arguments and its environment, read once and checked before anything starts.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use crate::aws::credentials::{Source, SourceError};
use crate::policy::{Policy, PolicyError};
pub use effects::task::DEFAULT_STATE_DIR;
use effects::task::metadata::{METADATA_VARIABLE, MetadataError};
use http_client::{Network, ProxyError};

/// The name of the role that the instance gets; set in the task definition. The same name as in AWS's script.
pub const ROLE_VARIABLE: &str = "MANAGED_INSTANCE_ROLE_NAME";
/// CreateActivation takes no longer role name.
const ROLE_NAME_MAX: usize = 64;

/// Everything the sidecar is told. Debug shows nothing of the environment, which holds secrets.
#[derive(Clone)]
pub struct Config {
    /// The name of the managed instance's role, not its ARN.
    pub role_name: String,
    /// `http://169.254.170.2/v4/<id>`.
    pub metadata_uri: String,
    /// Where the task role's credentials come from.
    pub credentials: Source,
    /// The folder for registration, status and ledger.
    pub state_dir: PathBuf,
    /// Certificates to trust, and proxies.
    pub network: Network,
    /// What may be performed here.
    pub policy: Policy,
    /// The whole environment: shell steps inherit it, endpoints are looked up in it.
    pub environment: BTreeMap<OsString, OsString>,
}

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config")
            .field("role_name", &self.role_name)
            .field("metadata_uri", &self.metadata_uri)
            .field("credentials", &self.credentials)
            .field("state_dir", &self.state_dir)
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}

/// A setting that is missing or wrong.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// [`ROLE_VARIABLE`] is not set.
    #[error(
        "{ROLE_VARIABLE} is not set: give the container this environment variable with the name (not the ARN) of \
         the role that Systems Manager gives to the managed instance"
    )]
    NoRole,
    /// [`ROLE_VARIABLE`] holds this, which is no role name.
    #[error(
        "{ROLE_VARIABLE}={0:?} is not a role name: at most {ROLE_NAME_MAX} letters, digits and +=,.@_/-, and not an ARN"
    )]
    Role(String),
    /// No usable source of credentials.
    #[error(transparent)]
    Credentials(#[from] SourceError),
    /// No address of the task metadata.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// What is allowed cannot be read.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// A proxy cannot be used.
    #[error(transparent)]
    Proxy(#[from] ProxyError),
}

impl ConfigError {
    /// The exit code that says what it is: 2, as for a wrong option, where a variable is written wrong that no task needs;
    /// 1 where something is missing.
    pub fn exit_code(&self) -> u8 {
        match self {
            ConfigError::Policy(_) | ConfigError::Proxy(_) => 2,
            ConfigError::NoRole
            | ConfigError::Role(_)
            | ConfigError::Credentials(_)
            | ConfigError::Metadata(_) => 1,
        }
    }
}

impl Config {
    /// Reads the settings from `environment`.
    ///
    /// # Errors
    /// The first thing that is missing or wrong, with what to do about it.
    pub fn read(
        state_dir: PathBuf,
        environment: BTreeMap<OsString, OsString>,
    ) -> Result<Config, ConfigError> {
        let get = |name: &str| variable(&environment, name);
        let policy = Policy::read(&environment)?;
        let network = Network::read(get)?;
        let role_name = get(ROLE_VARIABLE).ok_or(ConfigError::NoRole)?;
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"+=,.@_/-".contains(&b);
        if role_name.len() > ROLE_NAME_MAX || !role_name.bytes().all(allowed) {
            return Err(ConfigError::Role(role_name));
        }
        let metadata_uri = get(METADATA_VARIABLE).ok_or(MetadataError::NotSet)?;
        Ok(Config {
            role_name,
            metadata_uri,
            credentials: Source::find(get)?,
            state_dir,
            network,
            policy,
            environment,
        })
    }

    /// A variable of the environment; one that is empty or not UTF-8 counts as not set.
    pub fn variable(&self, name: &str) -> Option<String> {
        variable(&self.environment, name)
    }
}

/// A variable of an environment; one that is empty or not UTF-8 counts as not set.
pub fn variable(environment: &BTreeMap<OsString, OsString>, name: &str) -> Option<String> {
    let value = environment.get(std::ffi::OsStr::new(name))?.to_str()?;
    (!value.is_empty()).then(|| value.to_owned())
}

/// A variable of this process's own environment; one that is empty or not UTF-8 counts as not set.
pub fn own_variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let environment =
            variables.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))).collect();
        Config::read(PathBuf::from("/nowhere"), environment)
    }

    const KEYS: [(&str, &str); 2] = [("AWS_ACCESS_KEY_ID", "A"), ("AWS_SECRET_ACCESS_KEY", "B")];

    #[test]
    fn what_is_missing_is_named() {
        let error = read(&[]).unwrap_err().to_string();
        assert!(error.starts_with("MANAGED_INSTANCE_ROLE_NAME is not set"), "{error}");
        let error = read(&[(ROLE_VARIABLE, "role")]).unwrap_err().to_string();
        assert!(error.starts_with("ECS_CONTAINER_METADATA_URI_V4 is not set"), "{error}");
        let error =
            read(&[(ROLE_VARIABLE, "role"), (METADATA_VARIABLE, "http://x/v4/y")]).unwrap_err().to_string();
        assert!(error.contains("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"), "{error}");
    }

    #[test]
    fn a_role_arn_is_not_a_role_name() {
        let error = read(&[(ROLE_VARIABLE, "arn:aws:iam::123456789012:role/x")]).unwrap_err();
        assert!(matches!(error, ConfigError::Role(_)));
    }

    #[test]
    fn a_mistyped_policy_is_wrong_usage_before_anything_else() {
        let error = read(&[("TASKFAULT_ALLOW", "cpu-stres")]).unwrap_err();
        assert!(error.exit_code() == 2 && error.to_string().contains("cpu-stres"), "{error}");
        assert_eq!(read(&[]).unwrap_err().exit_code(), 1);
    }

    #[test]
    fn a_whole_environment_is_taken() {
        let mut variables = vec![(ROLE_VARIABLE, "service-role/Name"), (METADATA_VARIABLE, "http://x/v4/y")];
        variables.extend(KEYS);
        let config = read(&variables).unwrap();
        assert_eq!(
            (config.role_name.as_str(), config.metadata_uri.as_str()),
            ("service-role/Name", "http://x/v4/y")
        );
    }
}
