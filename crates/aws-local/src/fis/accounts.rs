//! Target account configurations: kept and told. There is one account here, so nothing is done with them.

use serde_json::{Value, json};

use super::call::Call;
use super::definition::{Account, AccountTargeting, Accounts, Template};
use super::state::FisState;
use super::{conflict, experiments, listing, not_found, over_quota, templates};
use crate::Context;
use crate::error::ApiError;

/// The most accounts of a template.
const MOST_ACCOUNTS: usize = 40;

type Answer = Result<Value, ApiError>;

/// CreateTargetAccountConfiguration.
pub(super) fn create(call: &Call, state: &mut FisState, _context: &Context) -> Answer {
    let members = call.members();
    let token = members.text("clientToken");
    let role_arn = members.required("roleArn").to_owned();
    let description = members.text("description").map(str::to_owned);
    let (id, account) = (call.id(), account_id(call)?);
    let operation = format!("CreateTargetAccountConfiguration {id} {account}");
    let made = match token {
        Some(token) => state.tokens.made(&operation, token, call.all())?.is_some(),
        None => false,
    };
    let template = templates::find_mut(state, id)?;
    if let Some(known) = template.accounts.get(account) {
        if made {
            return Ok(shown(account, known));
        }
        return Err(conflict(format!(
            "Template {id} has a configuration of account {account} already; update it."
        )));
    }
    if template.definition.account_targeting != AccountTargeting::MultiAccount {
        return Err(ApiError::validation(format!(
            "Template {id} is for a single account; only one that was created with \
             experimentOptions accountTargeting multi-account takes account configurations."
        )));
    }
    if template.accounts.len() >= MOST_ACCOUNTS {
        return Err(over_quota(format!("Template {id} has {MOST_ACCOUNTS} account configurations already.")));
    }
    let new = Account { role_arn, description };
    let response = shown(account, &new);
    template.accounts.insert(account.to_owned(), new);
    if let Some(token) = token {
        state.tokens.remember(&operation, token, call.all(), account);
    }
    Ok(response)
}

/// GetTargetAccountConfiguration.
pub(super) fn get(call: &Call, state: &mut FisState, _context: &Context) -> Answer {
    one(&templates::find(state, call.id())?.accounts, call)
}

/// ListTargetAccountConfigurations.
pub(super) fn list(call: &Call, state: &mut FisState, _context: &Context) -> Answer {
    all(&templates::find(state, call.id())?.accounts, call)
}

/// UpdateTargetAccountConfiguration.
pub(super) fn update(call: &Call, state: &mut FisState, _context: &Context) -> Answer {
    let members = call.members();
    let role_arn = members.text("roleArn").map(str::to_owned);
    let description = members.text("description").map(str::to_owned);
    let Template { accounts, .. } = templates::find_mut(state, call.id())?;
    let account = accounts.get_mut(call.members().required("accountId")).ok_or_else(|| unknown(call))?;
    if let Some(role_arn) = role_arn {
        account.role_arn = role_arn;
    }
    account.description = description.or(account.description.take());
    Ok(shown(call.members().required("accountId"), account))
}

/// DeleteTargetAccountConfiguration.
pub(super) fn delete(call: &Call, state: &mut FisState, _context: &Context) -> Answer {
    let Template { accounts, .. } = templates::find_mut(state, call.id())?;
    let gone = accounts.remove(call.members().required("accountId")).ok_or_else(|| unknown(call))?;
    Ok(shown(call.members().required("accountId"), &gone))
}

/// GetExperimentTargetAccountConfiguration.
pub(super) fn get_of_experiment(call: &Call, state: &mut FisState, _context: &Context) -> Answer {
    one(&experiments::find(state, call.id())?.accounts, call)
}

/// ListExperimentTargetAccountConfigurations.
pub(super) fn list_of_experiment(call: &Call, state: &mut FisState, _context: &Context) -> Answer {
    all(&experiments::find(state, call.id())?.accounts, call)
}

fn account_id(call: &Call) -> Result<&str, ApiError> {
    let id = call.members().required("accountId");
    // The model takes anything up to 48 characters.
    if id.len() == 12 && id.bytes().all(|letter| letter.is_ascii_digit()) {
        return Ok(id);
    }
    Err(ApiError::validation(format!("accountId {id} is not an account: twelve digits.")))
}

fn one(accounts: &Accounts, call: &Call) -> Answer {
    let account = accounts.get(call.members().required("accountId")).ok_or_else(|| unknown(call))?;
    Ok(shown(call.members().required("accountId"), account))
}

fn all(accounts: &Accounts, call: &Call) -> Answer {
    let members = call.members();
    let page = listing::asked(members);
    let items = accounts.iter().map(|(id, account)| item(id, account)).collect();
    listing::answer("targetAccountConfigurations", items, |item| item["accountId"].to_string(), page)
}

fn item(id: &str, account: &Account) -> Value {
    let mut shown = json!({ "accountId": id, "roleArn": account.role_arn });
    if let Some(description) = &account.description {
        shown["description"] = json!(description);
    }
    shown
}

fn shown(id: &str, account: &Account) -> Value {
    json!({ "targetAccountConfiguration": item(id, account) })
}

fn unknown(call: &Call) -> ApiError {
    not_found(format!(
        "{} has no target account configuration of account {}.",
        call.id(),
        call.members().required("accountId")
    ))
}
