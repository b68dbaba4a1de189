//! Writes the definitions of Gloo's kinds to `deploy/crds`, and what finds misspelt fields to `deploy/admission`.

use std::error::Error;
use std::fs;
use std::path::Path;

use waykeeper_api::crd;

const HEAD: &str = "# Made from the types by `cargo run -p waykeeper-api --example crds`.\n";

fn main() -> Result<(), Box<dyn Error>> {
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("no folder")?.join("deploy");
    let folder = deploy.join("crds");
    fs::create_dir_all(&folder)?;
    for (name, definition) in crd::definitions() {
        fs::write(folder.join(name), format!("{HEAD}{}", serde_norway::to_string(&definition)?))?;
    }
    let folder = deploy.join("admission");
    fs::create_dir_all(&folder)?;
    for (name, [policy, binding]) in crd::policy::policies() {
        let (policy, binding) = (serde_norway::to_string(&policy)?, serde_norway::to_string(&binding)?);
        fs::write(folder.join(name), format!("{HEAD}{policy}---\n{binding}"))?;
    }
    Ok(())
}
