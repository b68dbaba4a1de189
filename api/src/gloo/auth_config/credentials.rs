//! Steps that check credentials against a list, a directory or a portal:
//! `basicAuth`, `hmacAuth`, `ldap`, `portalAuth`, `pluginAuth`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::gloo::ResourceRef;
use crate::proto_json::ProtoDuration;
use crate::redacted::Redacted;

use super::redis::RedisOptions;
use super::secret_text;

/// User name and password in the Authorization header.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BasicAuth {
    /// Realm shown to the user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub realm: Option<String>,
    /// Users with apr1 hashes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub apr: Option<AprUsers>,
    /// How `userList` is hashed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encryption: Option<Encryption>,
    /// Users.
    #[serde(alias = "user_list", skip_serializing_if = "Option::is_none")]
    pub user_list: Option<UserList>,
}

/// What `hashedPassword` is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PasswordKind {
    /// Apache's MD5, without prefix and salt.
    Apr1,
    /// SHA-1 of password and salt, hexadecimal.
    Sha1,
    /// Bcrypt, whole.
    Bcrypt,
    /// Argon2, whole.
    Argon2,
}

/// The users of a `basicAuth`, whichever way they are written.
#[derive(Debug, Clone, Copy)]
pub struct WrittenUsers<'a> {
    /// How passwords are hashed.
    pub kind: PasswordKind,
    /// By user name.
    pub users: &'a BTreeMap<String, SaltedHash>,
    /// Where they stand, below `basicAuth`.
    pub field: &'static str,
}

impl BasicAuth {
    /// The headers in which credentials are looked for, in this order; the first that is there counts.
    pub fn headers(&self) -> &'static [&'static str] {
        if self.is_extended() { &["authorization", "proxy-authorization"] } else { &["authorization"] }
    }

    /// Whether it is written in the newer form, `encryption` and `userList`.
    pub fn is_extended(&self) -> bool {
        self.apr.is_none()
    }

    /// The users.
    pub fn users(&self) -> WrittenUsers<'_> {
        static NOBODY: BTreeMap<String, SaltedHash> = BTreeMap::new();
        if let Some(apr) = &self.apr {
            return WrittenUsers { kind: PasswordKind::Apr1, users: &apr.users, field: "apr.users" };
        }
        let kind = self.encryption.as_ref().and_then(|encryption| encryption.kinds().first().copied());
        let users = self.user_list.as_ref().map_or(&NOBODY, |list| &list.users);
        WrittenUsers { kind: kind.unwrap_or(PasswordKind::Apr1), users, field: "userList.users" }
    }
}

impl Encryption {
    /// The kinds that are set; a valid one has exactly one.
    pub fn kinds(&self) -> Vec<PasswordKind> {
        let Encryption { apr, sha1, bcrypt, argon2 } = self;
        let set = [
            (PasswordKind::Apr1, apr),
            (PasswordKind::Sha1, sha1),
            (PasswordKind::Bcrypt, bcrypt),
            (PasswordKind::Argon2, argon2),
        ];
        set.into_iter().filter_map(|(kind, set)| set.as_ref().map(|_| kind)).collect()
    }
}

/// Users with apr1 hashes.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AprUsers {
    /// By user name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub users: BTreeMap<String, SaltedHash>,
}

/// Users, hashed as `encryption` says.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct UserList {
    /// By user name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub users: BTreeMap<String, SaltedHash>,
}

/// A salted password hash.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SaltedHash {
    /// The salt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub salt: Option<String>,
    /// The hash, without prefix and salt.
    #[serde(alias = "hashed_password", skip_serializing_if = "Option::is_none", deserialize_with = "secret_text")]
    pub hashed_password: Option<Redacted>,
}

/// Which hash function; one of them.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Encryption {
    /// Apache's MD5.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub apr: Option<Empty>,
    /// SHA-1 of password and salt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha1: Option<Empty>,
    /// Bcrypt, whose hashes hold their salt; ours, not Gloo's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bcrypt: Option<Empty>,
    /// Argon2, whose hashes hold their salt; ours, not Gloo's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub argon2: Option<Empty>,
}

/// A message without fields.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Empty {}

/// Requests signed with a shared secret.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HmacAuth {
    /// The shared secrets.
    #[serde(alias = "secret_refs", skip_serializing_if = "Option::is_none")]
    pub secret_refs: Option<SecretRefs>,
    /// Signature parameters come in headers.
    #[serde(alias = "parameters_in_headers", skip_serializing_if = "Option::is_none")]
    pub parameters_in_headers: Option<Empty>,
}

/// Secrets by name.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SecretRefs {
    /// The Secrets.
    #[serde(alias = "secret_refs", skip_serializing_if = "Vec::is_empty")]
    pub secret_refs: Vec<ResourceRef>,
}

/// User name and password checked by an LDAP server.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Ldap {
    /// `ldap://host:port`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// DN of a user, with one `%s` for the name.
    #[serde(alias = "user_dn_template", skip_serializing_if = "Option::is_none")]
    pub user_dn_template: Option<String>,
    /// Attribute that lists groups; `memberOf` when absent.
    #[serde(alias = "membership_attribute_name", skip_serializing_if = "Option::is_none")]
    pub membership_attribute_name: Option<String>,
    /// Groups of which the user must be in one.
    #[serde(alias = "allowed_groups", skip_serializing_if = "Vec::is_empty")]
    pub allowed_groups: Vec<String>,
    /// Connections kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool: Option<LdapPool>,
    /// Filter of the search; `(uid=*)` when absent.
    #[serde(alias = "search_filter", skip_serializing_if = "Option::is_none")]
    pub search_filter: Option<String>,
    /// Do not look at groups.
    #[serde(alias = "disable_group_checking")]
    pub disable_group_checking: bool,
    /// How groups are looked up.
    #[serde(alias = "group_lookup_settings", skip_serializing_if = "Option::is_none")]
    pub group_lookup_settings: Option<GroupLookup>,
}

/// Connections kept.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LdapPool {
    /// At most.
    #[serde(alias = "max_size", skip_serializing_if = "Option::is_none")]
    pub max_size: Option<u32>,
    /// At start.
    #[serde(alias = "initial_size", skip_serializing_if = "Option::is_none")]
    pub initial_size: Option<u32>,
}

/// How groups are looked up.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GroupLookup {
    /// Secret of the service account.
    #[serde(alias = "credentials_secret_ref", skip_serializing_if = "Option::is_none")]
    pub credentials_secret_ref: Option<ResourceRef>,
    /// Search as the service account.
    #[serde(alias = "check_groups_with_service_account")]
    pub check_groups_with_service_account: bool,
}

/// Keys and tokens checked by a developer portal.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PortalAuth {
    /// The portal's web server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Header that holds a key.
    #[serde(alias = "api_key_header", skip_serializing_if = "Option::is_none")]
    pub api_key_header: Option<String>,
    /// Cache in Redis.
    #[serde(alias = "redis_options", skip_serializing_if = "Option::is_none")]
    pub redis_options: Option<RedisOptions>,
    /// How long answers are kept.
    #[serde(alias = "cache_duration", skip_serializing_if = "Option::is_none")]
    pub cache_duration: Option<ProtoDuration>,
    /// How long to wait for the portal.
    #[serde(alias = "request_timeout", skip_serializing_if = "Option::is_none")]
    pub request_timeout: Option<ProtoDuration>,
}

/// A Go plugin loaded by the server.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PluginAuth {
    /// Name of the plugin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config: Option<serde_json::Value>,
    /// Its file.
    #[serde(alias = "plugin_file_name", skip_serializing_if = "Option::is_none")]
    pub plugin_file_name: Option<String>,
    /// Its symbol.
    #[serde(alias = "exported_symbol_name", skip_serializing_if = "Option::is_none")]
    pub exported_symbol_name: Option<String>,
}
