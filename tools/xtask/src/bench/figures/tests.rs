use super::super::lab::tests::observed;
use super::super::path::tests::path;
use super::{Baseline, Figures, Goal, Mode, Row, Set, Workload, goals, published_ratio};
use bochs_pmu::costs::Costs;

fn row(workload: Workload, mode: Mode, overhead_percent: f64) -> Row {
    let base = Baseline { cycles: 1000, checksum: 9 };
    let (control_traps, data) = match mode {
        Mode::Emulated => (42, 720),
        Mode::Mediated => (25, 0),
        _ => (0, 0),
    };
    let mut row = Row::new(workload, mode, &observed(1100, control_traps, data), &base).expect("complete");
    row.overhead_percent = overhead_percent;
    if mode == Mode::Passthrough {
        row.approved = 0;
    }
    row
}

/// Figures with these overheads: emulated, passthrough and mediated, basic and multiplex.
pub fn figures(overheads: [f64; 6]) -> Figures {
    let set = |name: &str, factor: f64| {
        let cases = Workload::SAMPLED.iter().flat_map(|w| super::MODES.map(|mode| (*w, mode)));
        let rows = cases.zip(overheads).map(|((w, mode), percent)| row(w, mode, percent * factor)).collect();
        Set { name: name.to_owned(), costs: Costs::default(), rows }
    };
    Figures {
        baseline: Baseline { cycles: 1000, checksum: 9 },
        unused_percent: 0.0,
        set: set("default", 1.0),
        path: path(),
        sweep: vec![set("half", 0.5), set("double", 2.0)],
    }
}

const GOOD: [f64; 6] = [20.0, 2.0, 2.1, 40.0, 4.0, 4.2];

#[test]
fn overhead_is_extra_time_for_the_same_work() {
    let base = Baseline { cycles: 1000, checksum: 9 };
    let row = Row::new(Workload::Basic, Mode::Mediated, &observed(1250, 25, 0), &base).expect("complete");
    assert!((row.overhead_percent - 25.0).abs() < 1e-9);
    // 145 exits in 1250 cycles of 2 GHz, for 100 samples.
    assert!((row.exits_per_second - 145.0 * 2e9 / 1250.0).abs() < 1e-3);
    assert!((row.exits_per_sample - 1.45).abs() < 1e-9);
    assert!((row.cycles_per_sample - 2.5).abs() < 1e-9);
    assert_eq!((row.control_traps, row.approved, row.exits, row.exact), (25, 15, 145, (1, 1)));
}

#[test]
fn a_guest_that_computed_something_else_is_not_compared() {
    let base = Baseline { cycles: 1000, checksum: 8 };
    let row = Row::new(Workload::Basic, Mode::Mediated, &observed(1250, 25, 0), &base);
    assert!(row.unwrap_err().contains("checksum"));
}

/// A mode, what makes its row unsound, and what is said then.
type Change = (Mode, fn(&mut Row), &'static str);

/// Each thing that must be so by construction, and a row in which it is not.
#[test]
fn what_must_be_so_is_checked() {
    let changes: &[Change] = &[
        (Mode::Mediated, |row| row.samples = 99, "99 samples were taken, 100 expected"),
        (Mode::Mediated, |row| (row.samples, row.expected) = (0, 0), "no sample"),
        (Mode::Mediated, |row| row.exact = (0, 1), "0 of 1 counters exact"),
        (Mode::Mediated, |row| row.exact = (0, 0), "0 of 0 counters exact"),
        (Mode::Mediated, |row| row.fpu_exits = 1, "1 exits by uses of the FPU"),
        (Mode::Mediated, |row| row.data_exits = 1, "1 data accesses exited"),
        (Mode::Mediated, |row| row.approved = 0, "25 + 0 control writes of 40"),
        (Mode::Passthrough, |row| row.data_exits = 1, "where none does"),
        (Mode::Passthrough, |row| row.control_traps = 1, "where none does"),
        (Mode::Emulated, |row| row.data_exits = 699, "699 data accesses"),
        (Mode::Emulated, |row| row.control_traps = 39, "39 control"),
    ];
    for (mode, change, why) in changes {
        let mut row = row(Workload::Basic, *mode, 1.0);
        assert_eq!(row.sound(), Ok(()), "{}", mode.name());
        change(&mut row);
        assert!(row.sound().unwrap_err().contains(why), "{why}: {:?}", row.sound());
    }
}

#[test]
fn emulated_must_be_dearer_than_mediated() {
    assert_eq!(figures(GOOD).set.sound(), Ok(()));
    let mut overheads = GOOD;
    overheads[0] = 2.1;
    assert!(figures(overheads).set.sound().unwrap_err().contains("basic"));
}

#[test]
fn ratios_are_quotients_of_overheads() {
    let figures = figures(GOOD);
    let ratio = figures
        .set
        .overheads()
        .ratio(Workload::Multiplex, Mode::Mediated, Mode::Passthrough)
        .expect("both rows");
    assert!((ratio - 1.05).abs() < 1e-9);
    // 6.21 / 4.24 and 10.45 / 7.34: what filtering costs KVM.
    let of_kvm = |workload| published_ratio(workload, Mode::Mediated, Mode::Passthrough).expect("published");
    assert!(
        (of_kvm(Workload::Basic) - 1.46).abs() < 0.01 && (of_kvm(Workload::Multiplex) - 1.42).abs() < 0.01
    );
    assert_eq!(published_ratio(Workload::None, Mode::Mediated, Mode::Off), None);
}

#[test]
fn the_ranking_of_other_costs_is_compared() {
    let mut figures = figures(GOOD);
    assert_eq!(figures.set.overheads().ranking(Workload::Basic), ["passthrough", "mediated", "emulated"]);
    assert_eq!(figures.ranking_holds(), Some(true));
    figures.sweep[1].rows[1].overhead_percent = 1000.0;
    assert_eq!(figures.ranking_holds(), Some(false));
    figures.sweep.clear();
    assert_eq!(figures.ranking_holds(), None);
}

#[test]
fn goals_are_met_or_missed() {
    assert!(goals(&figures(GOOD)).iter().all(Goal::met));
    let missed: Vec<String> = goals(&figures([7.0, 2.0, 4.5, 40.0, 4.0, 7.5]))
        .into_iter()
        .filter(|goal| !goal.met())
        .map(|goal| goal.name)
        .collect();
    assert_eq!(
        missed,
        [
            "mediated / passthrough, basic",
            "emulated / mediated, basic",
            "mediated, basic, percent",
            "mediated / passthrough, multiplex",
            "emulated / mediated, multiplex",
            "mediated, multiplex, percent",
        ]
    );
}
