//! A folder of Secrets and AuthConfigs of any size, and the edits a person would make in it.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use tempfile::TempDir;

/// Objects in one file.
const IN_ONE_FILE: usize = 1_000;

/// Secrets `s0` to `s<n-1>`, each selected by one AuthConfig, `c0` to `c<m-1>`, of namespace `bench`.
#[derive(Debug)]
pub struct Folder {
    dir: TempDir,
    /// How many Secrets there are.
    pub secrets: usize,
    /// How many AuthConfigs.
    pub configs: usize,
}

impl Folder {
    /// Writes one. The Secret and the AuthConfig that will be edited have a file each, as people keep them.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(secrets: usize, configs: usize) -> anyhow::Result<Folder> {
        let folder = Folder { dir: TempDir::new()?, secrets, configs };
        for first in (1..secrets).step_by(IN_ONE_FILE) {
            let numbers = first..secrets.min(first + IN_ONE_FILE);
            let all: String = numbers.map(|number| folder.secret(number, &key(number))).collect();
            fs::write(folder.path().join(format!("secrets-{first}.yaml")), all)?;
        }
        for first in (1..configs).step_by(IN_ONE_FILE) {
            let all: String = (first..configs.min(first + IN_ONE_FILE)).map(|number| config(number, "org")).collect();
            fs::write(folder.path().join(format!("configs-{first}.yaml")), all)?;
        }
        folder.replace("secret.yaml", &folder.secret(0, &key(0)))?;
        folder.replace("config.yaml", &config(0, "org"))?;
        Ok(folder)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// AuthConfigs with a key for each, from all over the folder.
    pub fn some(&self, count: usize) -> impl Iterator<Item = (String, String)> + '_ {
        let count = count.min(self.secrets);
        (0..count).map(move |n| n * self.secrets / count).map(|number| (self.config_of(number), key(number)))
    }

    /// Gives the first Secret another key. The first AuthConfig reads it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn rekey(&self, key: &str) -> anyhow::Result<()> {
        self.replace("secret.yaml", &self.secret(0, key))
    }

    /// The `config_id` of the AuthConfig that reads the Secret `number`.
    pub fn config_of(&self, number: usize) -> String {
        format!("bench.c{}", self.team(number))
    }

    fn team(&self, number: usize) -> usize {
        number * self.configs / self.secrets.max(1)
    }

    fn secret(&self, number: usize, key: &str) -> String {
        format!(
            "---\napiVersion: v1\nkind: Secret\nmetadata:\n  name: s{number}\n  namespace: bench\n  labels:\n    team: t{}\n\
             type: extauth.solo.io/apikey\nstringData:\n  api-key: {key}\n  org: org-{number}\n",
            self.team(number)
        )
    }

    fn replace(&self, name: &str, text: &str) -> anyhow::Result<()> {
        let aside = self.path().join(format!(".{name}"));
        fs::write(&aside, text)?;
        Ok(fs::rename(aside, self.path().join(name))?)
    }
}

/// The key of the Secret `number` as it is written at first.
pub fn key(number: usize) -> String {
    format!("key-{number:08}-of-the-benchmark")
}

fn config(number: usize, header: &str) -> String {
    let mut text = format!(
        "---\napiVersion: extauth.solo.io/v1\nkind: AuthConfig\nmetadata:\n  name: c{number}\n  namespace: bench\n\
         spec:\n  configs:\n  - apiKeyAuth:\n      headerName: api-key\n      labelSelector:\n        team: t{number}\n"
    );
    let _ = writeln!(text, "      headersFromMetadataEntry:\n        x-{header}:\n          name: org");
    text
}
