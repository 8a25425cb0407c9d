//! What AWS clients need to speak to the local AWS and to nobody else: `taskfault-local env` says it to a shell,
//! `taskfault-local aws` runs the AWS CLI so. Keys of a real account are never part of it.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use experiment::run::client::{CallError, Fis};

/// Credentials that the local AWS takes and that AWS refuses.
const KEY: &str = "local";

/// What would lead clients elsewhere, or to the keys of a real account.
const UNSET: [&str; 9] = [
    "AWS_PROFILE",
    "AWS_DEFAULT_PROFILE",
    "AWS_SESSION_TOKEN",
    "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_ROLE_ARN",
    "AWS_USE_FIPS_ENDPOINT",
];

/// Begins the names of variables with the endpoint of one service.
const OF_ONE_SERVICE: &str = "AWS_ENDPOINT_URL_";

/// Where the local AWS is, and the region that clients act in.
#[derive(Debug, Clone, PartialEq, clap::Args)]
pub struct ClientOptions {
    /// Where taskfault-local listens
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:4566", value_parser = endpoint)]
    pub endpoint: String,
    /// Region that clients act in; that of the local AWS if not given
    #[arg(long, value_name = "REGION", value_parser = region)]
    pub region: Option<String>,
}

/// The arguments of `taskfault-local aws`.
#[derive(Debug, Clone, PartialEq, clap::Args)]
pub struct AwsOptions {
    /// Where the local AWS is
    #[command(flatten)]
    pub client: ClientOptions,
    /// What follows `aws`
    #[arg(value_name = "ARGUMENT", required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    pub arguments: Vec<OsString>,
}

/// They stand in a shell script without quotes.
fn endpoint(text: &str) -> Result<String, String> {
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".:-_[]/".contains(&byte);
    match rest.is_some_and(|rest| !rest.is_empty() && rest.bytes().all(plain)) {
        true => Ok(text.trim_end_matches('/').to_owned()),
        false => Err("an endpoint is http:// with a host and a port".to_owned()),
    }
}

fn region(text: &str) -> Result<String, String> {
    match !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        true => Ok(text.to_owned()),
        false => Err("a region is letters, digits and hyphens, us-west-2 for instance".to_owned()),
    }
}

/// Prints what a shell has to evaluate. Where no local AWS answers it prints the same, so that the clients of this
/// shell reach nobody rather than AWS, and says so.
pub fn env(options: &ClientOptions) -> ExitCode {
    let (region, trouble) = match local_region(options) {
        Ok(region) => (region, None),
        Err(error) => (options.region.clone().unwrap_or_else(|| "us-east-1".to_owned()), Some(error)),
    };
    let mut unset: Vec<String> = UNSET.map(str::to_owned).into();
    unset.extend(of_one_service());
    println!("unset {}", unset.join(" "));
    for (name, value) in variables(&options.endpoint, &region) {
        println!("export {name}={value}");
    }
    println!(
        "# For AWS CLI 2.13, 1.29 and later, and today's SDKs. Older ones do not read AWS_ENDPOINT_URL:"
    );
    println!("# taskfault-local aws ... runs any of them.");
    match trouble {
        None => ExitCode::SUCCESS,
        Some(error) => {
            eprintln!("taskfault-local: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Becomes the AWS CLI, with the local AWS as its endpoint. Its exit code is the CLI's; 1 if there is no local AWS at
/// the endpoint, 127 if there is no AWS CLI.
pub fn aws(options: &AwsOptions) -> ExitCode {
    let given = options.arguments.iter().any(|word| {
        word.to_str().is_some_and(|word| word == "--endpoint-url" || word.starts_with("--endpoint-url="))
    });
    if given {
        eprintln!(
            "taskfault-local: --endpoint-url is what this command is for; say --endpoint URL before `{}`",
            options.arguments[0].display()
        );
        return ExitCode::from(2);
    }
    let region = match local_region(&options.client) {
        Ok(region) => region,
        Err(error) => {
            eprintln!("taskfault-local: {error}");
            return ExitCode::FAILURE;
        }
    };
    let endpoint = &options.client.endpoint;
    let mut command = Command::new("aws");
    command.arg("--endpoint-url").arg(endpoint).args(&options.arguments);
    for name in UNSET.map(str::to_owned).into_iter().chain(of_one_service()) {
        command.env_remove(name);
    }
    command.envs(variables(endpoint, &region));
    let error = command.exec();
    eprintln!(
        "taskfault-local: running `aws`: {error}; install the AWS CLI, for instance by `pip install awscli`"
    );
    ExitCode::from(127)
}

fn variables<'a>(endpoint: &'a str, region: &'a str) -> [(&'static str, &'a str); 6] {
    [
        ("AWS_ENDPOINT_URL", endpoint),
        ("AWS_REGION", region),
        ("AWS_DEFAULT_REGION", region),
        ("AWS_ACCESS_KEY_ID", KEY),
        ("AWS_SECRET_ACCESS_KEY", KEY),
        ("AWS_EC2_METADATA_DISABLED", "true"),
    ]
}

fn of_one_service() -> impl Iterator<Item = String> {
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    // Names that a shell does not take are left alone: nothing reads them.
    let plain = |name: &String| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    names.filter(|name| name.starts_with(OF_ONE_SERVICE)).filter(plain)
}

/// The region to act in, at an endpoint where a local AWS answers.
fn local_region(options: &ClientOptions) -> Result<String, CallError> {
    let fis = Fis::at(&options.endpoint)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| CallError::Unreachable {
        call: "starting the runtime",
        reason: error.to_string(),
    })?;
    runtime.block_on(fis.is_local())?;
    Ok(options.region.clone().unwrap_or_else(|| fis.region().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_shell_evaluates_holds_nothing_else() {
        assert_eq!(endpoint("http://127.0.0.1:4566/"), Ok("http://127.0.0.1:4566".to_owned()));
        assert_eq!(endpoint("http://[::1]:4566"), Ok("http://[::1]:4566".to_owned()));
        for wrong in
            ["", "127.0.0.1:4566", "http://", "http://a;id", "http://a$(id)", "http://a b", "http://a'"]
        {
            assert!(endpoint(wrong).is_err(), "{wrong}");
        }
        assert!(region("us-west-2").is_ok() && region("a;b").is_err() && region("").is_err());
    }
}
