//! `list [disk]`

use cairn_core::manifest::{Consistency, Trust};
use cairn_core::units::format_bytes;

use crate::failure::{Failure, Outcome};
use crate::repository::{Found, Repository, Row};

const HEADINGS: [&str; 7] = ["REVISION", "TAKEN (UTC)", "SIZE", "STORED", "CONSISTENCY", "TRUST", "TAGS"];
/// Sizes stand to the right.
const NUMBERS: [usize; 2] = [2, 3];

/// Gives the exit code: of the first thing that could not be read, if there was one.
pub(crate) fn run(repository: &Repository, only: Option<&str>) -> Outcome<u8> {
    let disks = match only {
        Some(disk) => Found { all: vec![disk.to_owned()], lost: Vec::new() },
        None => repository.disks()?,
    };
    let mut exit = tell(&disks.lost);
    let mut table = vec![HEADINGS.map(str::to_owned)];
    for name in &disks.all {
        let revisions = match repository.disk(name).and_then(|disk| repository.revisions(&disk)) {
            Ok(revisions) => revisions,
            Err(failure) if only.is_none() => Found { all: Vec::new(), lost: vec![failure] },
            Err(failure) => return Err(failure),
        };
        table.extend(revisions.all.iter().map(|row| cells(name, row)));
        exit = exit.max(tell(&revisions.lost));
    }
    if table.len() == 1 {
        crate::say("There is no revision that can be read.");
        return Ok(exit);
    }
    crate::print(&render(&table)).map(|()| exit)
}

fn tell(lost: &[Failure]) -> u8 {
    lost.iter().for_each(Failure::tell);
    lost.iter().map(|failure| failure.exit).filter(|&exit| exit == crate::failure::DAMAGED).max().unwrap_or(0)
}

/// The first cell is what the other commands take as it stands.
fn cells(disk: &str, Row { manifest, state }: &Row) -> [String; 7] {
    let consistency = match manifest.consistency {
        Consistency::Frozen => "frozen",
        Consistency::Snapshot => "snapshot",
        Consistency::Live => "live",
    };
    let trust = match state.trust {
        Trust::Trusted => "trusted",
        Trust::Distrusted => "distrusted",
        Trust::Verified => "verified",
    };
    [
        format!("{disk}@{}", manifest.revision),
        manifest.started_at.strftime("%Y-%m-%d %H:%M").to_string(),
        format_bytes(manifest.size_bytes),
        format_bytes(manifest.counters.stored_bytes),
        consistency.to_owned(),
        trust.to_owned(),
        state.tags.join(","),
    ]
}

fn render(table: &[[String; 7]]) -> String {
    let width = |column: usize| {
        let cells = table.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..HEADINGS.len()).map(width).collect();
    let mut text = String::new();
    for row in table {
        let mut line = String::new();
        for (column, (cell, &width)) in row.iter().zip(&widths).enumerate() {
            let padded =
                if NUMBERS.contains(&column) { format!("{cell:>width$}") } else { format!("{cell:<width$}") };
            line.push_str(&padded);
            line.push_str("  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_beneath_each_other() {
        let row =
            |size: &str, tags: &str| ["a@1", "now", size, "1 B", "live", "trusted", tags].map(str::to_owned);
        assert_eq!(
            render(&[row("SIZE", ""), row("8 GiB", "daily")]),
            "a@1  now   SIZE  1 B  live  trusted\na@1  now  8 GiB  1 B  live  trusted  daily\n"
        );
    }
}
