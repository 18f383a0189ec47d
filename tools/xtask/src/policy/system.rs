//! The policy domain on the real kernel: the system of tests/protocol/system, in Bochs.

use super::compile_to;
use crate::image::{Request, build, ran_to_end};
use crate::process::{Failure, Outcome};
use crate::workspace::{output, root};
use ::kernel::Config;
use std::time::Duration;

const PASSED: &str = "protocol: passed";
const TIME_LIMIT: Duration = Duration::from_secs(90);

/// Boots the image; its client asks the policy domain everything there is to ask.
pub fn in_bochs() -> Outcome {
    let folder = output("protocol-test")?;
    let sources = root().join("tests/protocol/system");
    for name in ["policy", "update"] {
        compile_to(&sources.join(format!("{name}.toml")), &folder.join(format!("{name}.bin")))?;
    }
    let system = sources.join("system.xml");
    let mut request = Request::new(Config::Debug, &system, &folder);
    request.search.push(folder.clone());
    let image = build(&request)?;
    let mut bochs = image.in_bochs(&folder.join("bochs"));
    bochs.sentinels = vec![PASSED.to_owned(), "panicked".to_owned()];
    bochs.time_limit = TIME_LIMIT;
    let finished = bochs.run(|_| ())?;
    ran_to_end(&finished)?;
    if finished.serial.lines().any(|line| line.ends_with(PASSED)) {
        println!("      every request answered on the real kernel in {:.1} s", finished.wall.as_secs_f64());
        return Ok(());
    }
    Err(Failure::Check(finished.summary()))
}
