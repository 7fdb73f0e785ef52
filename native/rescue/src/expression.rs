//! Which revision is meant: `disk`, `disk@latest`, `disk@latest~2`, a full id, a tag, or the beginning
//! of an id, tried in this order.

use cairn_core::disk::Disk;
use cairn_core::manifest::Trust;
use cairn_core::probe::visible;
use cairn_core::revision::RevisionId;

use crate::failure::{Failure, NOT_FOUND, Outcome, USAGE};
use crate::repository::{Found, Repository, Row};

const NAME_LEN_MAX: usize = 120;
const CANDIDATES_SHOWN_MAX: usize = 10;

/// A revision that somebody named.
pub(crate) struct Chosen {
    pub(crate) disk_name: String,
    pub(crate) disk: Disk,
    pub(crate) row: Row,
}

impl Chosen {
    pub(crate) fn name(&self) -> String {
        format!("{}@{}", self.disk_name, self.row.manifest.revision)
    }
}

/// The disk's name and what follows the `@`.
pub(crate) fn split(expression: &str) -> (&str, Option<&str>) {
    expression.split_once('@').map_or((expression, None), |(disk, selector)| (disk, Some(selector)))
}

/// Says which revisions were passed over, and why.
pub(crate) fn resolve(repository: &Repository, expression: &str) -> Outcome<Chosen> {
    let (disk_name, selector) = split(expression);
    let selector = selector.unwrap_or("latest");
    let disk = repository.disk(disk_name)?;
    // What is meant must not be said to be missing where it only cannot be read.
    if let Some(id) =
        RevisionId::parse(selector).filter(|id| disk.revisions().is_ok_and(|all| all.contains(id)))
    {
        disk.manifest(&id)?;
    }
    let Found { all, lost } = repository.revisions(&disk)?;
    if all.is_empty() {
        let nothing = || Failure::new(NOT_FOUND, format!("Disk “{disk_name}” has no revision."));
        return Err(lost.into_iter().next().unwrap_or_else(nothing));
    }
    lost.iter().for_each(Failure::tell);
    let row = select(all, disk_name, selector)?;
    if row.state.trust == Trust::Distrusted {
        crate::say(&format!("{disk_name}@{} is marked distrusted.", row.manifest.revision));
    }
    Ok(Chosen { disk_name: disk_name.to_owned(), disk, row })
}

/// `all` is not empty, oldest first.
fn select(all: Vec<Row>, disk: &str, selector: &str) -> Outcome<Row> {
    if let Some(back) = steps_back(selector) {
        return select_latest(all, disk, back);
    }
    let is_exact = |row: &Row| row.manifest.revision.as_str() == selector;
    let is_tagged = |row: &Row| row.state.tags.iter().any(|tag| tag == selector);
    let at = all.iter().position(is_exact).or_else(|| all.iter().rposition(is_tagged));
    if let Some(at) = at {
        return all.into_iter().nth(at).ok_or_else(|| unknown(disk, selector));
    }
    let mut matching: Vec<Row> = all
        .into_iter()
        .filter(|row| !selector.is_empty() && row.manifest.revision.as_str().starts_with(selector))
        .collect();
    if matching.len() > 1 {
        return Err(ambiguous(&matching, disk, selector));
    }
    matching.pop().ok_or_else(|| unknown(disk, selector))
}

/// Of `latest` and `latest~2`.
fn steps_back(selector: &str) -> Option<usize> {
    let rest = selector.strip_prefix("latest")?;
    if rest.is_empty() { Some(0) } else { rest.strip_prefix('~')?.parse().ok() }
}

fn select_latest(all: Vec<Row>, disk: &str, back: usize) -> Outcome<Row> {
    let count = all.len();
    let mut left = back;
    for row in all.into_iter().rev() {
        if row.state.trust == Trust::Distrusted {
            let id = &row.manifest.revision;
            crate::say(&format!("{disk}@{id} is newer but distrusted, so it is passed over."));
        } else if left == 0 {
            return Ok(row);
        } else {
            left -= 1;
        }
    }
    let message = format!("Disk “{disk}” has {count} revisions, and not that many that are not distrusted.");
    Err(Failure::new(NOT_FOUND, message).with_hint(format!("“cairn-rescue list {disk}” shows them.")))
}

fn ambiguous(matching: &[Row], disk: &str, selector: &str) -> Failure {
    let names = matching.iter().take(CANDIDATES_SHOWN_MAX);
    let mut shown: Vec<String> = names.map(|row| format!("{disk}@{}", row.manifest.revision)).collect();
    if matching.len() > shown.len() {
        shown.push(format!("{} more", matching.len() - shown.len()));
    }
    let meant = visible(selector, NAME_LEN_MAX);
    Failure::new(USAGE, format!("“{disk}@{meant}” could be {}.", shown.join(", ")))
        .with_hint("Write more of the id.")
}

fn unknown(disk: &str, selector: &str) -> Failure {
    let meant = visible(selector, NAME_LEN_MAX);
    Failure::new(NOT_FOUND, format!("Disk “{disk}” has no revision or tag “{meant}”.")).with_hint(format!(
        "“cairn-rescue list {disk}” shows what there is. A date is written as an id begins: 20261120T20."
    ))
}
