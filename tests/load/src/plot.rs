//! Results as pictures.

use std::path::Path;

use anyhow::anyhow;
use plotters::coord::Shift;
use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::prelude::*;
use serde::Deserialize;

use crate::measure::Second;
use crate::report::Report;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Result<(), Box<dyn std::error::Error>>;

const WIDTH: u32 = 900;
const HEIGHT: u32 = 340;
/// Told apart also by who sees few colours.
const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 92, 171),
    RGBColor(208, 28, 47),
    RGBColor(0, 136, 90),
    RGBColor(230, 126, 0),
    RGBColor(120, 64, 160),
    RGBColor(70, 70, 70),
];

/// One diagram: lines over a common axis.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Diagram {
    /// What is shown, with its unit.
    pub title: String,
    /// What the horizontal axis counts.
    pub x: String,
    /// Whether that axis is logarithmic.
    #[serde(default)]
    pub log_x: bool,
    /// The lines.
    pub lines: Vec<Line>,
}

/// One line.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// What it is.
    pub name: String,
    /// Its points, from left to right.
    pub points: Vec<(f64, f64)>,
}

/// Draws what each second of a run brought.
pub fn run(file: &Path, report: &Report) -> anyhow::Result<()> {
    let line = |name: &str, of: fn(&Second) -> f64| Line {
        name: name.to_owned(),
        points: report.series.iter().map(|one| (one.second as f64 + 1.0, of(one))).collect(),
    };
    let diagram =
        |title: &str, lines| Diagram { title: title.to_owned(), x: "second".to_owned(), log_x: false, lines };
    let turns = vec![
        line("completed", |one| one.completed as f64),
        line("errors", |one| one.errors as f64),
        line("refused", |one| one.refused as f64),
        line("not asked", |one| one.not_asked as f64),
    ];
    let latency = vec![line("p50", |one| one.p50_ms), line("p99", |one| one.p99_ms)];
    write(file, &[diagram("turns each second", turns), diagram("latency, ms", latency)])
}

/// Draws diagrams, one below the other.
pub fn write(file: &Path, diagrams: &[Diagram]) -> anyhow::Result<()> {
    let rows = u32::try_from(diagrams.len().max(1))?;
    let root = SVGBackend::new(file, (WIDTH, HEIGHT * rows)).into_drawing_area();
    let draw = || -> Drawn {
        root.fill(&WHITE)?;
        for (area, diagram) in root.split_evenly((diagrams.len().max(1), 1)).iter().zip(diagrams) {
            draw(area, diagram)?;
        }
        Ok(root.present()?)
    };
    draw().map_err(|error| anyhow!("{error}"))
}

fn draw(area: &Area<'_>, diagram: &Diagram) -> Drawn {
    let points = || diagram.lines.iter().flat_map(|line| &line.points);
    let least = points().map(|point| point.0).fold(f64::INFINITY, f64::min);
    let most = points().map(|point| point.0).fold(f64::NEG_INFINITY, f64::max);
    if !least.is_finite() || !most.is_finite() {
        return Ok(());
    }
    if diagram.log_x && least > 0.0 {
        over(area, diagram, (least..most.max(least * 2.0)).log_scale())
    } else {
        over(area, diagram, least..most.max(least + 1.0))
    }
}

fn over<X>(area: &Area<'_>, diagram: &Diagram, x: X) -> Drawn
where
    X: AsRangedCoord<Value = f64>,
    X::CoordDescType: ValueFormatter<f64>,
{
    let values = diagram.lines.iter().flat_map(|line| &line.points).map(|point| point.1);
    let highest = values.filter(|value| value.is_finite()).fold(0.0, f64::max);
    let highest = if highest > 0.0 { highest } else { 1.0 };
    let mut chart = ChartBuilder::on(area)
        .caption(&diagram.title, ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(80)
        .build_cartesian_2d(x, 0.0..highest * 1.05)?;
    chart.configure_mesh().x_desc(&diagram.x).light_line_style(WHITE).draw()?;
    for (line, colour) in diagram.lines.iter().zip(COLOURS.into_iter().cycle()) {
        let style = colour.stroke_width(2);
        chart
            .draw_series(LineSeries::new(line.points.iter().copied(), style).point_size(2))?
            .label(&line.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], style));
    }
    let background = WHITE.mix(0.8);
    chart.configure_series_labels().background_style(background).border_style(BLACK).draw()?;
    Ok(())
}
