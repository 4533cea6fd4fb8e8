//! Tables as the programs of systemd print them: each column is as wide as its longest cell.

/// What is said besides the rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Legend {
    /// The headings.
    Shown,
    /// Nothing.
    Hidden,
}

/// Where a cell stands in its column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// At the beginning.
    Left,
    /// In the middle.
    Center,
    /// At the end.
    Right,
}

/// Lines of a table; columns are their headings.
pub fn table(columns: &[(&str, Align)], rows: &[Vec<String>], legend: Legend) -> String {
    let headings: Vec<String> = columns.iter().map(|(heading, _)| (*heading).to_owned()).collect();
    let shown: Vec<&Vec<String>> = match legend {
        Legend::Shown => std::iter::once(&headings).chain(rows).collect(),
        Legend::Hidden => rows.iter().collect(),
    };
    let mut widths = vec![0; columns.len()];
    for row in &shown {
        for (width, cell) in widths.iter_mut().zip(*row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |row: &&Vec<String>| {
        let cells = row.iter().zip(columns).zip(&widths);
        let cells = cells.map(|((cell, (_, align)), width)| placed(cell, *align, *width));
        format!("{}\n", cells.collect::<Vec<_>>().join(" ").trim_end())
    };
    shown.iter().map(line).collect()
}

fn placed(cell: &str, align: Align, width: usize) -> String {
    match align {
        Align::Left => format!("{cell:<width$}"),
        Align::Center => format!("{cell:^width$}"),
        Align::Right => format!("{cell:>width$}"),
    }
}
