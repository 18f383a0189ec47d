use super::{Folder, Lines, Running, Stop, Watch, watch};
use rustix::fs::{CWD, Mode, mkfifoat};
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::time::{Duration, Instant};

fn scratch(name: &str) -> std::path::PathBuf {
    let folder = std::env::temp_dir().join(format!("xtask-supervise-{}-{name}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// Runs a shell script in place of an emulator; `$SERIAL` is the serial log, `$REQUEST` the line of the request to end.
fn play(name: &str, script: &str, sentinels: &[&str], limit: Duration) -> (Stop, Vec<String>) {
    let folder = scratch(name);
    let (serial, console) = (folder.join("serial"), folder.join("console"));
    let request = folder.join("request");
    mkfifoat(CWD, request.to_str().unwrap(), Mode::RWXU).unwrap();
    let sentinels: Vec<String> = sentinels.iter().map(|&s| s.to_owned()).collect();
    let mut lines = Vec::new();
    let stop = watch(
        Command::new("sh").args(["-c", script]).env("SERIAL", &serial).env("REQUEST", &request),
        &Watch {
            serial: &serial,
            console: &console,
            logs: &[],
            sentinels: &sentinels,
            end_request: Some(&request),
            time_limit: limit,
        },
        &mut |line, _| lines.push(line.to_owned()),
    )
    .unwrap();
    std::fs::remove_dir_all(folder).unwrap();
    (stop, lines)
}

#[test]
fn a_sentinel_stops_the_process() {
    let start = Instant::now();
    let script = "printf 'one\\ntwo: done\\nthree' > $SERIAL; exec sleep 60";
    let (stop, lines) = play("sentinel", script, &["done"], Duration::from_secs(30));
    assert!(matches!(stop, Stop::Sentinel(line) if line == "two: done"));
    assert_eq!(lines, ["one", "two: done"]);
    assert!(start.elapsed() < Duration::from_secs(30));
}

/// A guest's kernel may have a word for its monitor, too.
#[test]
fn what_a_guest_prints_stops_nothing() {
    let script = "printf 'guest: done\\nneighbour: guest: done\\nvmm: done\\n' > $SERIAL; exec sleep 60";
    let (stop, lines) = play("guest", script, &["done"], Duration::from_secs(30));
    assert!(matches!(stop, Stop::Sentinel(line) if line == "vmm: done"));
    assert_eq!(lines.len(), 3);
    let (stop, _) = play("guest", script, &["guest: done"], Duration::from_secs(30));
    assert!(matches!(stop, Stop::Sentinel(line) if line == "guest: done"), "unless it is asked for");
}

#[test]
fn the_time_limit_stops_a_process_that_ignores_the_request() {
    let script = "trap '' INT; while :; do sleep 1; done";
    let (stop, _) = play("limit", script, &["done"], Duration::from_millis(100));
    assert!(matches!(stop, Stop::TimeLimit));
}

/// Of two that want the same processor, each waits for half of the time.
#[test]
fn waiting_for_a_processor_is_told() {
    let busy = || {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "taskset", "-c", "0", "sh", "-c", "while :; do :; done"]);
        Running(command.spawn().unwrap())
    };
    let two = [busy(), busy()];
    std::thread::sleep(Duration::from_secs(1));
    let waited = two.each_ref().map(|child| child.waited().unwrap());
    assert!(waited.iter().any(|waited| *waited > Duration::from_millis(200)), "{waited:?}");
}

#[test]
fn at_the_time_limit_the_guest_is_asked_for_its_end() {
    let script = "exec 3<>$REQUEST; echo ready > $SERIAL; \
                  dd bs=1 count=1 <&3 2>/dev/null | od -An -tu1 >> $SERIAL; echo done >> $SERIAL; exec sleep 60";
    let (stop, lines) = play("asked", script, &["done"], Duration::from_millis(500));
    assert!(matches!(stop, Stop::Sentinel(line) if line == "done"));
    assert_eq!(lines.iter().map(|line| line.trim()).collect::<Vec<_>>(), ["ready", "3", "done"]);
}

#[test]
fn a_long_log_stops_the_process() {
    let script = "head -c 70000000 /dev/zero > $SERIAL; exec sleep 60";
    let (stop, _) = play("long", script, &[], Duration::from_secs(60));
    assert!(matches!(stop, Stop::LogTooLong(log) if log.ends_with("serial")));
}

#[test]
fn the_last_lines_before_an_exit_are_seen() {
    let (stop, lines) = play("exit", "echo last > $SERIAL; exit 3", &[], Duration::from_secs(60));
    assert!(matches!(stop, Stop::Exited(status) if status.code() == Some(3)));
    assert_eq!(lines, ["last"]);
}

/// It may have lost what it was to write.
#[test]
fn a_process_that_crashes_when_it_is_asked_to_end_has_failed() {
    let script = "trap 'kill -SEGV $$' INT; echo done > $SERIAL; while :; do sleep 0.1; done";
    let (stop, _) = play("crash", script, &["done"], Duration::from_secs(60));
    assert!(matches!(stop, Stop::Exited(status) if status.signal() == Some(11)));
}

#[test]
fn a_line_is_seen_once_and_whole() {
    let folder = scratch("lines");
    let path = folder.join("log");
    let mut file = std::fs::File::create(&path).unwrap();
    let mut lines = Lines::new(&path);
    file.write_all(b"a\nb").unwrap();
    assert_eq!(lines.new_ones(), ["a"]);
    file.write_all(b"c\r\n").unwrap();
    assert_eq!(lines.new_ones(), ["bc"]);
    assert!(lines.new_ones().is_empty());
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn one_run_at_a_time_uses_a_folder() {
    let path = scratch("folder");
    std::fs::write(path.join("serial"), "old").unwrap();
    let first = Folder::claim(&path, &["serial"]).unwrap();
    assert!(!first.file("serial").exists(), "the old log is gone");
    let refused = Folder::claim(&path, &[]).err().unwrap().to_string();
    assert!(refused.contains("another run uses"), "{refused}");
    drop(first);
    assert!(Folder::claim(&path, &[]).is_ok());
    std::fs::remove_dir_all(path).unwrap();
}
