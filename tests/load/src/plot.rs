//! A run as a picture: what each second brought.

use std::path::Path;

use anyhow::anyhow;
use plotters::coord::Shift;
use plotters::prelude::*;

use crate::measure::Second;
use crate::report::Report;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Draws throughput above latency.
pub fn write(file: &Path, report: &Report) -> anyhow::Result<()> {
    let root = SVGBackend::new(file, (900, 700)).into_drawing_area();
    draw(&root, report).map_err(|error| anyhow!("{error}"))
}

fn draw(root: &Area<'_>, report: &Report) -> Result<(), Box<dyn std::error::Error>> {
    root.fill(&WHITE)?;
    let (above, below) = root.split_vertically(350);
    let seconds = &report.series;
    let count = |of: fn(&Second) -> u64| seconds.iter().map(move |one| of(one) as f64).collect::<Vec<_>>();
    chart(
        &above,
        "turns each second",
        &[
            ("completed", BLUE, count(|one| one.completed)),
            ("refused", MAGENTA, count(|one| one.refused)),
            ("errors", RED, count(|one| one.errors)),
            ("not asked", BLACK, count(|one| one.not_asked)),
        ],
    )?;
    chart(
        &below,
        "latency, ms",
        &[
            ("p50", BLUE, seconds.iter().map(|one| one.p50_ms).collect()),
            ("p99", RED, seconds.iter().map(|one| one.p99_ms).collect()),
        ],
    )?;
    root.present()?;
    Ok(())
}

fn chart(
    area: &Area<'_>,
    title: &str,
    lines: &[(&str, RGBColor, Vec<f64>)],
) -> Result<(), Box<dyn std::error::Error>> {
    let width = lines.iter().map(|(_, _, values)| values.len()).max().unwrap_or(0).max(2);
    let highest = lines.iter().flat_map(|(_, _, values)| values).copied().fold(1.0, f64::max);
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(30)
        .y_label_area_size(70)
        .build_cartesian_2d(1.0..width as f64, 0.0..highest * 1.05)?;
    chart.configure_mesh().x_desc("second").draw()?;
    for (name, colour, values) in lines {
        let points = values.iter().enumerate().map(|(at, value)| (at as f64 + 1.0, *value));
        let colour = *colour;
        chart
            .draw_series(LineSeries::new(points, colour.stroke_width(2)))?
            .label(*name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(2)));
    }
    chart.configure_series_labels().background_style(WHITE.mix(0.8)).border_style(BLACK).draw()?;
    Ok(())
}
