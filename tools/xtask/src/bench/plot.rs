//! The figures as a bar chart (SVG).

use super::figures::{Overheads, published_ratio};
use super::guest::{FREQUENCY, Workload};
use super::published;
use crate::run::Mode;
use std::fmt::{self, Write};

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 600.0;
/// Where bars begin, and how long the longest may be.
const LEFT: f64 = 300.0;
const LONGEST: f64 = 560.0;
const BAR: f64 = 19.0;
/// From one mode to the next.
const STEP: f64 = 56.0;
/// Colours of this project's bars and of KVM's.
const OURS: &str = "#0b62a4";
const KVM: &str = "#c3c9d0";
const TEXT: &str = "#1c2733";
const FAINT: &str = "#5b6875";

/// The modes from top to bottom, and what a reader must know of each.
const MODES: [(Mode, &str, &str); 3] = [
    (Mode::Emulated, "Emulated", "every access exits"),
    (Mode::Passthrough, "Passthrough", "no access exits, no policy"),
    (Mode::Mediated, "Mediated", "a policy decides what is counted"),
];

/// The headings of the workloads.
const fn heading(workload: Workload) -> &'static str {
    match workload {
        Workload::None => "",
        Workload::Basic => "Six events, each sampled 1,000 times a second",
        Workload::Multiplex => "Ten events that take turns on eight counters",
    }
}

/// The chart.
///
/// # Errors
/// Only if writing into a string fails.
pub fn svg(overheads: &Overheads) -> Result<String, fmt::Error> {
    let mut out = String::new();
    writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" \
         height=\"{HEIGHT}\" font-family=\"Helvetica, Arial, sans-serif\" role=\"img\">"
    )?;
    writeln!(out, "<title>How much slower a guest is while it is profiled</title>")?;
    writeln!(out, "<rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#ffffff\"/>")?;
    label(&mut out, (40.0, 46.0), 23, TEXT, "bold", "How much slower a guest is while it is profiled")?;
    label(
        &mut out,
        (40.0, 70.0),
        14,
        FAINT,
        "normal",
        "Extra time for the same work, in percent. Shorter is better.",
    )?;
    for (x, colour, name) in [(40.0, OURS, "sel4-vpmu, simulated machine"), (310.0, KVM, "KVM, as published")]
    {
        writeln!(out, "<rect x=\"{x}\" y=\"87\" width=\"14\" height=\"14\" fill=\"{colour}\"/>")?;
        label(&mut out, (x + 22.0, 99.0), 14, TEXT, "normal", name)?;
    }
    let longest = longest(overheads);
    for (i, workload) in (0u8..).zip(Workload::SAMPLED) {
        panel(&mut out, 140.0 + 215.0 * f64::from(i), workload, overheads, longest)?;
    }
    let notes = [
        format!(
            "sel4-vpmu: {} MHz, one instruction a cycle, costs of exits and register accesses as stated in \
             costs.toml; not silicon.",
            FREQUENCY / 1_000_000
        ),
        format!("KVM: {}.", published::SOURCE),
    ];
    for (y, note) in [563.0, 582.0].into_iter().zip(notes) {
        label(&mut out, (40.0, y), 12, FAINT, "normal", &note)?;
    }
    out.push_str("</svg>\n");
    Ok(out)
}

/// The longest bar's percentage.
fn longest(overheads: &Overheads) -> f64 {
    let ours = overheads.0.iter().map(|row| row.2);
    let kvm = overheads.0.iter().filter_map(|row| published::overhead(row.0, row.1));
    ours.chain(kvm).fold(1.0, f64::max)
}

fn panel(out: &mut String, top: f64, workload: Workload, overheads: &Overheads, longest: f64) -> fmt::Result {
    label(out, (40.0, top), 16, TEXT, "bold", heading(workload))?;
    let first = top + 16.0;
    for (i, (mode, name, about)) in (0u8..).zip(MODES) {
        let y = first + STEP * f64::from(i);
        label(out, (40.0, y + 17.0), 15, TEXT, "normal", name)?;
        label(out, (40.0, y + 34.0), 12, FAINT, "normal", about)?;
        for (offset, colour, percent) in
            [(0.0, OURS, overheads.of(workload, mode)), (BAR + 2.0, KVM, published::overhead(workload, mode))]
        {
            if let Some(percent) = percent {
                bar(out, y + offset, colour, percent, longest)?;
            }
        }
    }
    let pair = (Mode::Mediated, Mode::Passthrough);
    let ratios = (overheads.ratio(workload, pair.0, pair.1), published_ratio(workload, pair.0, pair.1));
    if let (Some(ours), Some(kvm)) = ratios {
        let note = format!("mediated is {ours:.2} times passthrough; KVM's {kvm:.2} times");
        label(out, (LEFT + 240.0, first + STEP * 2.0 + 26.0), 14, TEXT, "normal", &note)?;
    }
    let bottom = first + STEP * 3.0 - 10.0;
    writeln!(out, "<line x1=\"{LEFT}\" y1=\"{first}\" x2=\"{LEFT}\" y2=\"{bottom}\" stroke=\"{FAINT}\"/>")
}

fn bar(out: &mut String, y: f64, colour: &str, percent: f64, longest: f64) -> fmt::Result {
    let length = (LONGEST * percent / longest).max(1.0);
    writeln!(out, "<rect x=\"{LEFT}\" y=\"{y}\" width=\"{length:.1}\" height=\"{BAR}\" fill=\"{colour}\"/>")?;
    let (text, weight) = if colour == OURS { (TEXT, "bold") } else { (FAINT, "normal") };
    label(out, (LEFT + length + 8.0, y + 14.5), 14, text, weight, &format!("{percent:.2} %"))
}

/// Text. No caller's text has a character that XML would take for its own.
fn label(out: &mut String, at: (f64, f64), size: u8, colour: &str, weight: &str, text: &str) -> fmt::Result {
    let (x, y) = at;
    writeln!(
        out,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" font-size=\"{size}\" font-weight=\"{weight}\" fill=\"{colour}\">{text}</text>"
    )
}

#[cfg(test)]
mod tests {
    use super::super::figures::tests::figures;
    use super::{LONGEST, svg};

    /// Every bar's length is its percentage of the longest one's, and each has its label.
    #[test]
    fn bars_are_as_long_as_what_they_show() {
        let overheads = [20.0, 2.0, 2.1, 40.0, 4.0, 4.2];
        let svg = svg(&figures(overheads).set.overheads()).expect("a string takes all");
        let longest = 79.32;
        for percent in overheads.into_iter().chain([33.62, 4.24, 6.21, 79.32, 7.34, 10.45]) {
            let bar = format!("width=\"{:.1}\" height=\"19\"", LONGEST * percent / longest);
            assert!(svg.contains(&bar) && svg.contains(&format!(">{percent:.2} %<")), "{percent}\n{svg}");
        }
    }

    #[test]
    fn the_ratios_are_said() {
        let svg =
            svg(&figures([20.0, 2.0, 2.1, 40.0, 4.0, 5.0]).set.overheads()).expect("a string takes all");
        assert!(svg.contains("mediated is 1.05 times passthrough; KVM's 1.46 times"));
        assert!(svg.contains("mediated is 1.25 times passthrough; KVM's 1.42 times"));
    }

    #[test]
    fn it_is_well_formed() {
        let text =
            svg(&figures([200.0, 2.0, 2.1, 40.0, 4.0, 4.2]).set.overheads()).expect("a string takes all");
        let document = roxmltree::Document::parse(&text).expect("well-formed");
        let bars = document.descendants().filter(|node| node.attribute("height") == Some("19"));
        let widths: Vec<f64> = bars.filter_map(|bar| bar.attribute("width")?.parse().ok()).collect();
        assert_eq!(widths.len(), 12);
        assert!(widths.iter().all(|width| (1.0..=LONGEST).contains(width)), "{widths:?}");
    }
}
