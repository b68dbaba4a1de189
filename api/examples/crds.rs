//! Writes the definitions of Gloo's kinds to `deploy/crds`.

use std::error::Error;
use std::fs;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("no folder")?.join("deploy/crds");
    fs::create_dir_all(&folder)?;
    for (name, definition) in waykeeper_api::crd::definitions() {
        let text = serde_norway::to_string(&definition)?;
        let head = "# Made from the types by `cargo run -p waykeeper-api --example crds`.\n";
        fs::write(folder.join(name), format!("{head}{text}"))?;
    }
    Ok(())
}
