//! What a build depends on, as one number.

use crate::compile::compiler_version;
use crate::configuration::Config;
use crate::error::Error;
use crate::{Variant, source};
use sha2::{Digest, Sha256};
use std::fs;
use std::path::Path;

/// SHA-256 of the published source, everything in this crate's folder but the generated `abi`, the
/// configuration and the compiler.
pub fn hash(published: &Path, config: Config, variant: Variant) -> Result<String, Error> {
    let mut hash = Sha256::new();
    hash.update(format!("{config:?} {variant:?} "));
    hash.update(compiler_version()?);
    for folder in [published.to_owned(), "src".into(), "mends".into(), "extension".into()] {
        let folder = source::home().join(folder);
        for file in source::files(&folder)? {
            let name = file.strip_prefix(&folder).map_err(|e| Error::Source(e.to_string()))?;
            let text = fs::read(&file).map_err(Error::io(&file))?;
            hash.update(format!("{} {} ", name.display(), text.len()));
            hash.update(text);
        }
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}
