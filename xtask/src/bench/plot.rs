//! Draws figures of several beside each other: bars, and lines where they were measured at several rates.
//! It never measures, and leaves out what nothing can be compared with.

use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::figure::Figure;

/// Fewer than these are read as quickly in the table.
const COMPARED_MIN: usize = 3;

const WIDTH: u32 = 900;
const BAR_HEIGHT: u32 = 24;
const LINES_HEIGHT: u32 = 320;

/// What titles, axes and margins take of a panel's height.
const FRAME_HEIGHT: u32 = 90;

/// Room for the names of who is compared.
const NAMES_WIDTH: u32 = 190;

const TITLE: (&str, u32) = ("sans-serif", 18);
const TEXT: (&str, u32) = ("sans-serif", 13);

/// Figures of one thing in one unit.
struct Panel<'a> {
    what: &'a str,
    unit: &'a str,
    figures: Vec<&'a Figure>,
}

impl<'a> Panel<'a> {
    /// Those worth drawing, in the order of the figures.
    fn all(figures: &'a [Figure]) -> Vec<Self> {
        let mut panels: Vec<Self> = Vec::new();
        for figure in figures {
            let is_its = |panel: &&mut Self| panel.what == figure.what && panel.unit == figure.unit;
            if let Some(panel) = panels.iter_mut().find(is_its) {
                panel.figures.push(figure);
            } else {
                panels.push(Self {
                    what: &figure.what,
                    unit: figure.unit,
                    figures: vec![figure],
                });
            }
        }
        panels.retain(|panel| {
            let most = panel.most();
            panel.figures.len() >= COMPARED_MIN && most.is_finite() && most > 0.0
        });
        panels
    }

    fn is_of_rates(&self) -> bool {
        self.figures.iter().all(|figure| figure.per_s.is_some())
    }

    fn most(&self) -> f64 {
        let values = self.figures.iter().map(|figure| figure.value);
        values.fold(0.0, f64::max)
    }

    fn height(&self) -> u32 {
        if self.is_of_rates() {
            return LINES_HEIGHT;
        }
        // There are some tens at most.
        FRAME_HEIGHT
            + BAR_HEIGHT * u32::try_from(self.figures.len()).unwrap_or(u32::MAX / BAR_HEIGHT)
    }

    fn title(&self) -> String {
        format!("{} ({})", self.what, self.unit)
    }
}

/// Draws all of them below each other into an SVG file; nothing where there is nothing to compare.
pub fn write(figures: &[Figure], path: &Path) -> Result<()> {
    let panels = Panel::all(figures);
    if panels.is_empty() {
        return Ok(());
    }
    let height = panels.iter().map(Panel::height).sum();
    let mut rest = SVGBackend::new(path, (WIDTH, height)).into_drawing_area();
    // Pages are light or dark, and the text is black.
    rest.fill(&WHITE).map_err(|error| anyhow!("{error}"))?;
    for panel in &panels {
        let (area, below) = rest.split_vertically(panel.height());
        let drawn = if panel.is_of_rates() {
            lines(panel, &area)
        } else {
            bars(panel, &area)
        };
        drawn.map_err(|error| anyhow!("cannot draw {}: {error}", panel.what))?;
        rest = below;
    }
    rest.present()
        .map_err(|error| anyhow!("cannot write {}: {error}", path.display()))
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;
type Drawn<'a> = Result<(), DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>>;

/// A bar for each, the first at the top.
fn bars<'a>(panel: &Panel<'_>, area: &Area<'a>) -> Drawn<'a> {
    let count = panel.figures.len();
    let mut chart = ChartBuilder::on(area)
        .caption(panel.title(), TITLE)
        .margin(10)
        .margin_right(60)
        .y_label_area_size(NAMES_WIDTH)
        .x_label_area_size(24)
        .build_cartesian_2d(0.0..panel.most(), (0..count - 1).into_segmented())?;
    let name = |place: &SegmentValue<usize>| match place {
        SegmentValue::CenterOf(place) => panel.figures[count - 1 - place].of.clone(),
        _ => String::new(),
    };
    chart
        .configure_mesh()
        .disable_y_mesh()
        .light_line_style(TRANSPARENT)
        .y_labels(count)
        .y_label_formatter(&name)
        .label_style(TEXT)
        .draw()?;
    for (index, figure) in panel.figures.iter().enumerate() {
        let place = count - 1 - index;
        let (low, high) = (SegmentValue::Exact(place), SegmentValue::Exact(place + 1));
        let mut bar = Rectangle::new([(0.0, low), (figure.value, high)], color(figure).filled());
        bar.set_margin(4, 4, 0, 0);
        chart.draw_series([bar])?;
        let number = format!(" {:.1}", figure.value);
        let at = (figure.value.max(0.0), SegmentValue::CenterOf(place));
        let middle = Pos::new(HPos::Left, VPos::Center);
        let style = TEXT.into_text_style(area).pos(middle);
        chart.draw_series([Text::new(number, at, style)])?;
    }
    Ok(())
}

/// A line for each, against the rate.
fn lines<'a>(panel: &Panel<'_>, area: &Area<'a>) -> Drawn<'a> {
    let rates = panel.figures.iter().filter_map(|figure| figure.per_s);
    let fastest = rates.fold(0.0, f64::max);
    // A share of little must not look like much.
    let top = if panel.unit == "%" {
        100.0
    } else {
        panel.most()
    };
    let mut chart = ChartBuilder::on(area)
        .caption(panel.title(), TITLE)
        .margin(10)
        .margin_right(30)
        .y_label_area_size(60)
        .x_label_area_size(40)
        .build_cartesian_2d(0.0..fastest, 0.0..top)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .x_desc("a second")
        .label_style(TEXT)
        .x_label_formatter(&|rate| format!("{rate:.0}"))
        .draw()?;
    let mut names: Vec<&str> = Vec::new();
    for figure in &panel.figures {
        if !names.contains(&figure.of.as_str()) {
            names.push(&figure.of);
        }
    }
    for (index, name) in names.into_iter().enumerate() {
        let its = panel.figures.iter().filter(|figure| figure.of == name);
        let points: Vec<_> = its
            .filter_map(|figure| Some((figure.per_s?, figure.value)))
            .collect();
        let color = Palette99::pick(index).stroke_width(2);
        let line = LineSeries::new(points, color.filled()).point_size(3);
        chart
            .draw_series(line)?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], color));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE)
        .border_style(BLACK)
        .label_font(TEXT)
        .draw()?;
    Ok(())
}

/// tracer's own stand out.
fn color(figure: &Figure) -> RGBColor {
    if figure.of.starts_with("tracer") {
        RGBColor(31, 119, 180)
    } else {
        RGBColor(160, 160, 160)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_several_have_is_drawn() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("figures.svg");
        write(&[Figure::new("alone", "memory", 1.0, "MB")], &path)?;
        assert!(!path.exists());
        let cost = |of, value| Figure::new(of, "added", value, "us");
        let missed = |of, per_s, value| Figure::new(of, "missed", value, "%").at(per_s);
        write(
            &[
                Figure::new("alone", "memory", 1.0, "MB"),
                cost("floor", 4.0),
                cost("tracer", 8.5),
                cost("peer <1>", 44.0),
                missed("tracer", 100.0, 0.0),
                missed("peer", 100.0, 5.0),
                missed("peer", 200.0, 50.0),
            ],
            &path,
        )?;
        let drawn = fs::read_to_string(&path)?;
        for text in [
            "added (us)",
            "floor",
            "8.5",
            "peer &lt;1&gt;",
            "missed (%)",
            "a second",
        ] {
            assert!(drawn.contains(text), "{text} is missing: {drawn}");
        }
        assert!(!drawn.contains("memory"), "{drawn}");
        Ok(())
    }
}
