//! Roles and policies through the Query protocol.

use std::collections::BTreeMap;
use std::time::SystemTime;

use super::{IamState, call};
use crate::Context;

const TRUST: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow",
    "Principal":{"Service":["fis.amazonaws.com"]},"Action":"sts:AssumeRole"}]}"#;
const POLICY: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["ssm:SendCommand"],"Resource":"*"}]}"#;

#[derive(Default)]
struct Fixture(IamState);

impl Fixture {
    fn ask(&mut self, action: &str, pairs: &[(&str, &str)]) -> (u16, String) {
        let mut form: BTreeMap<String, String> =
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        form.insert("Action".to_owned(), action.to_owned());
        let context = Context {
            now: SystemTime::UNIX_EPOCH,
            region: "eu-west-1".into(),
            account: "000000000000".into(),
            speed: 1.0,
        };
        call(&form, &mut self.0, &context).expect("a known action")
    }

    fn ok(&mut self, action: &str, pairs: &[(&str, &str)]) -> String {
        let (status, xml) = self.ask(action, pairs);
        assert_eq!(status, 200, "{xml}");
        xml
    }

    fn refused(&mut self, action: &str, pairs: &[(&str, &str)], status: u16, code: &str) {
        let (found, xml) = self.ask(action, pairs);
        assert!(found == status && xml.contains(&format!("<Code>{code}</Code>")), "{found} {xml}");
    }

    fn with_role() -> Fixture {
        let mut fixture = Fixture::default();
        fixture.ok("CreateRole", &[("RoleName", "fis"), ("AssumeRolePolicyDocument", TRUST)]);
        fixture
    }
}

#[test]
fn a_role_lives_with_its_policies() {
    let mut fixture = Fixture::default();
    let made = fixture.ok(
        "CreateRole",
        &[
            ("RoleName", "fis"),
            ("Path", "/team/"),
            ("AssumeRolePolicyDocument", TRUST),
            ("Tags.member.1.Key", "a"),
            ("Tags.member.1.Value", "b"),
        ],
    );
    assert!(made.contains("<Arn>arn:aws:iam::000000000000:role/team/fis</Arn>"), "{made}");
    assert!(made.contains("<AssumeRolePolicyDocument>%7B%22Version%22"), "{made}");
    assert!(made.contains("<Tags><member><Key>a</Key><Value>b</Value></member></Tags>"), "{made}");
    let role = ("RoleName", "fis");
    fixture.ok("PutRolePolicy", &[role, ("PolicyName", "run"), ("PolicyDocument", POLICY)]);
    let arn = ("PolicyArn", "arn:aws:iam::aws:policy/service-role/AmazonECSTaskExecutionRolePolicy");
    fixture.ok("AttachRolePolicy", &[role, arn]);
    assert!(
        fixture.ok("ListRolePolicies", &[role]).contains("<PolicyNames><member>run</member></PolicyNames>")
    );
    let attached = fixture.ok("ListAttachedRolePolicies", &[role]);
    assert!(attached.contains("<PolicyName>AmazonECSTaskExecutionRolePolicy</PolicyName>"), "{attached}");
    let none = fixture.ok("ListAttachedRolePolicies", &[role, ("PathPrefix", "/other/")]);
    assert!(none.contains("<AttachedPolicies></AttachedPolicies>"), "{none}");
    fixture.refused("DeleteRole", &[role], 409, "DeleteConflict");
    fixture.ok("DeleteRolePolicy", &[role, ("PolicyName", "run")]);
    fixture.refused("DeleteRole", &[role], 409, "DeleteConflict");
    fixture.ok("DetachRolePolicy", &[role, arn]);
    let gone = fixture.ok("DeleteRole", &[role]);
    assert!(!gone.contains("Result"), "{gone}");
    fixture.refused("GetRole", &[role], 404, "NoSuchEntity");
}

#[test]
fn roles_are_listed_in_pages_and_by_path() {
    let mut fixture = Fixture::default();
    for (name, path) in [("one", "/"), ("two", "/team/"), ("three", "/team/")] {
        let role = [("RoleName", name), ("Path", path), ("AssumeRolePolicyDocument", TRUST)];
        fixture.ok("CreateRole", &role);
    }
    let first = fixture.ok("ListRoles", &[("MaxItems", "2")]);
    assert!(first.contains("<IsTruncated>true</IsTruncated>"), "{first}");
    let marker = first.split("<Marker>").nth(1).unwrap().split('<').next().unwrap();
    let second = fixture.ok("ListRoles", &[("MaxItems", "2"), ("Marker", marker)]);
    assert!(second.contains("<IsTruncated>false</IsTruncated>") && second.contains("two"), "{second}");
    let team = fixture.ok("ListRoles", &[("PathPrefix", "/team/")]);
    assert!(team.contains("<RoleName>two</RoleName>") && !team.contains("<RoleName>one</RoleName>"));
    fixture.refused("ListRoles", &[("Marker", "%")], 400, "ValidationError");
}

#[test]
fn what_breaks_the_model_is_refused() {
    let mut fixture = Fixture::with_role();
    let role = ("RoleName", "fis");
    let trust = ("AssumeRolePolicyDocument", TRUST);
    fixture.refused("CreateRole", &[role, trust], 409, "EntityAlreadyExists");
    fixture.refused("CreateRole", &[("RoleName", "FIS"), trust], 409, "EntityAlreadyExists");
    fixture.refused("CreateRole", &[("RoleName", "a b"), trust], 400, "ValidationError");
    fixture.refused("CreateRole", &[("RoleName", &"a".repeat(65)), trust], 400, "ValidationError");
    fixture.refused("CreateRole", &[("RoleName", "new")], 400, "ValidationError");
    fixture.refused("CreateRole", &[("RoleName", "new"), trust, ("Path", "x")], 400, "ValidationError");
    fixture.refused(
        "CreateRole",
        &[("RoleName", "new"), trust, ("MaxSessionDuration", "5")],
        400,
        "ValidationError",
    );
    fixture.refused(
        "CreateRole",
        &[("RoleName", "new"), trust, ("MaxSessionDuration", "x")],
        400,
        "MalformedInput",
    );
    let wrong = ("AssumeRolePolicyDocument", POLICY);
    fixture.refused("CreateRole", &[("RoleName", "new"), wrong], 400, "MalformedPolicyDocument");
    let long = TRUST.replace("fis.amazonaws.com", &"f".repeat(2048));
    let long = ("AssumeRolePolicyDocument", long.as_str());
    fixture.refused("CreateRole", &[("RoleName", "new"), long], 409, "LimitExceeded");
    let name = ("PolicyName", "run");
    fixture.refused("PutRolePolicy", &[role, name, ("PolicyDocument", "{}")], 400, "MalformedPolicyDocument");
    fixture.refused(
        "PutRolePolicy",
        &[("RoleName", "no"), name, ("PolicyDocument", POLICY)],
        404,
        "NoSuchEntity",
    );
    let long = POLICY.replace("ssm:SendCommand", &"s".repeat(10_240));
    fixture.refused("PutRolePolicy", &[role, name, ("PolicyDocument", &long)], 409, "LimitExceeded");
    fixture.refused("GetRolePolicy", &[role, name], 404, "NoSuchEntity");
    fixture.refused("DeleteRolePolicy", &[role, name], 404, "NoSuchEntity");
    let bad = ("PolicyArn", "arn:aws:s3:::not-a-policy");
    fixture.refused("AttachRolePolicy", &[role, bad], 400, "InvalidInput");
    let never = ("PolicyArn", "arn:aws:iam::aws:policy/ReadOnlyAccess");
    fixture.refused("DetachRolePolicy", &[role, never], 404, "NoSuchEntity");
    for number in 0..10 {
        let arn = format!("arn:aws:iam::aws:policy/Policy{number}");
        fixture.ok("AttachRolePolicy", &[role, ("PolicyArn", &arn)]);
    }
    fixture.refused("AttachRolePolicy", &[role, never], 409, "LimitExceeded");
    assert!(fixture.ok("ListRolePolicies", &[role]).contains("<PolicyNames></PolicyNames>"));
}

#[test]
fn a_document_is_told_as_it_was_given() {
    let mut fixture = Fixture::with_role();
    let pair = [("RoleName", "fis"), ("PolicyName", "run")];
    fixture.ok("PutRolePolicy", &[pair[0], pair[1], ("PolicyDocument", POLICY)]);
    let xml = fixture.ok("GetRolePolicy", &pair);
    let encoded = xml.split("<PolicyDocument>").nth(1).unwrap().split('<').next().unwrap();
    let decoded = crate::wire::percent_decoded(encoded);
    assert_eq!(String::from_utf8(decoded).unwrap(), POLICY);
}

#[test]
fn a_policy_lives_with_its_versions() {
    let mut fixture = Fixture::with_role();
    let made =
        fixture.ok("CreatePolicy", &[("PolicyName", "run"), ("Path", "/team/"), ("PolicyDocument", POLICY)]);
    let arn = ("PolicyArn", "arn:aws:iam::000000000000:policy/team/run");
    assert!(made.contains(arn.1) && made.contains("<DefaultVersionId>v1</DefaultVersionId>"), "{made}");
    fixture.refused(
        "CreatePolicy",
        &[("PolicyName", "RUN"), ("PolicyDocument", POLICY)],
        409,
        "EntityAlreadyExists",
    );
    fixture.refused(
        "CreatePolicy",
        &[("PolicyName", "bad"), ("PolicyDocument", TRUST)],
        400,
        "MalformedPolicyDocument",
    );
    let version = |id: &'static str| ("VersionId", id);
    fixture.ok("CreatePolicyVersion", &[arn, ("PolicyDocument", POLICY), ("SetAsDefault", "true")]);
    let shown = fixture.ok("GetPolicyVersion", &[arn, version("v2")]);
    assert!(
        shown.contains("<IsDefaultVersion>true</IsDefaultVersion>") && shown.contains("%7B%22Version"),
        "{shown}"
    );
    fixture.ok("SetDefaultPolicyVersion", &[arn, version("v1")]);
    fixture.refused("DeletePolicyVersion", &[arn, version("v1")], 409, "DeleteConflict");
    fixture.refused("DeletePolicy", &[arn], 409, "DeleteConflict");
    fixture.ok("DeletePolicyVersion", &[arn, version("v2")]);
    fixture.refused("GetPolicyVersion", &[arn, version("v2")], 404, "NoSuchEntity");
    for _ in 0..4 {
        fixture.ok("CreatePolicyVersion", &[arn, ("PolicyDocument", POLICY)]);
    }
    fixture.refused("CreatePolicyVersion", &[arn, ("PolicyDocument", POLICY)], 409, "LimitExceeded");
    let versions = fixture.ok("ListPolicyVersions", &[arn, ("MaxItems", "2")]);
    assert!(
        versions.contains("<VersionId>v6</VersionId>") && versions.contains("<IsTruncated>true<"),
        "{versions}"
    );
    for id in ["v3", "v4", "v5", "v6"] {
        fixture.ok("DeletePolicyVersion", &[arn, ("VersionId", id)]);
    }
    let role = ("RoleName", "fis");
    fixture.ok("AttachRolePolicy", &[role, arn]);
    let listed = fixture.ok("ListPolicies", &[("OnlyAttached", "true"), ("Scope", "Local")]);
    assert!(listed.contains("<AttachmentCount>1</AttachmentCount>"), "{listed}");
    assert!(!fixture.ok("ListPolicies", &[("Scope", "AWS")]).contains("<member>"));
    fixture.refused("DeletePolicy", &[arn], 409, "DeleteConflict");
    fixture.ok("DetachRolePolicy", &[role, arn]);
    fixture.ok("DeletePolicy", &[arn]);
    fixture.refused("GetPolicy", &[arn], 404, "NoSuchEntity");
    fixture.refused("AttachRolePolicy", &[role, arn], 404, "NoSuchEntity");
}

#[test]
fn a_role_is_changed_and_tagged() {
    let mut fixture = Fixture::with_role();
    let role = ("RoleName", "fis");
    let ssm = TRUST.replace("fis.", "ssm.");
    fixture.ok("UpdateAssumeRolePolicy", &[role, ("PolicyDocument", &ssm)]);
    fixture.refused(
        "UpdateAssumeRolePolicy",
        &[role, ("PolicyDocument", POLICY)],
        400,
        "MalformedPolicyDocument",
    );
    assert!(fixture.ok("GetRole", &[role]).contains("ssm.amazonaws.com"));
    assert_eq!(fixture.0.trusts("arn:aws:iam::000000000000:role/fis", "ssm.amazonaws.com"), Some(true));
    assert_eq!(fixture.0.trusts("arn:aws:iam::000000000000:role/fis", "fis.amazonaws.com"), Some(false));
    assert_eq!(fixture.0.trusts("arn:aws:iam::000000000000:role/none", "fis.amazonaws.com"), None);
    assert!(!fixture.ok("GetRole", &[role]).contains("<Tags>"), "none are told where there are none");
    fixture.ok("TagRole", &[role, ("Tags.member.1.Key", "a"), ("Tags.member.1.Value", "b")]);
    assert!(fixture.ok("ListRoleTags", &[role]).contains("<Key>a</Key><Value>b</Value>"));
    assert!(
        fixture.ok("GetRole", &[role]).contains("<Tags>") && !fixture.ok("ListRoles", &[]).contains("<Tags>")
    );
    fixture.ok("UntagRole", &[role, ("TagKeys.member.1", "a")]);
    assert!(!fixture.ok("ListRoleTags", &[role]).contains("<member>"));
    fixture.ok("UpdateRole", &[role, ("MaxSessionDuration", "7200")]);
    assert!(fixture.ok("GetRole", &[role]).contains("<MaxSessionDuration>7200<"));
}
