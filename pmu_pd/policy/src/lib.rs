//! The policy compiler: TOML to the checked binary form.
