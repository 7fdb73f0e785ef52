//! Which part of a revision is meant: all of it, a partition, or a logical volume.

use cairn_core::manifest::Manifest;
use cairn_core::probe::{Piece, Survey, visible};
use cairn_core::units::format_bytes;
use cairn_core::window::Window;

use crate::arguments::Manner;
use crate::failure::{Failure, Outcome};

const NAME_LEN_MAX: usize = 120;

pub(crate) struct Part {
    pub(crate) window: Window,
    /// As in “partition 2 of ”; empty for all of it.
    pub(crate) title: String,
}

pub(crate) fn choose(manifest: &Manifest, manner: &Manner) -> Outcome<Part> {
    let (size, layout) = (manifest.size_bytes, &manifest.layout);
    let of = |pieces: &[Piece], title: String| Ok(Part { window: Window::new(pieces, size)?, title });
    match (manner.partition, manner.volume.as_deref()) {
        (None, None) => Ok(Part { window: Window::whole(size), title: String::new() }),
        (Some(_), Some(_)) => Err(Failure::usage("Name a partition or a logical volume, not both.")),
        (Some(number), None) => {
            let found = layout.partitions.iter().find(|each| each.number == number);
            let found = found.ok_or_else(|| not_there(&format!("partition {number}"), layout))?;
            let piece = Piece::Linear { offset_bytes: found.offset_bytes, size_bytes: found.size_bytes };
            of(&[piece], format!("partition {number} of "))
        }
        (None, Some(name)) => {
            let shown = visible(name, NAME_LEN_MAX);
            let found = layout.volumes.iter().find(|each| format!("{}/{}", each.group, each.name) == name);
            let found = found.ok_or_else(|| not_there(&format!("volume {shown}"), layout))?;
            of(&found.pieces, format!("volume {shown} of "))
        }
    }
}

/// As in “ in partition 2”; empty where the place lies in none.
pub(crate) fn place_of(layout: &Survey, offset: u64) -> String {
    let holds = |start: u64, len: u64| offset >= start && offset - start < len;
    let found = layout.partitions.iter().find(|part| holds(part.offset_bytes, part.size_bytes));
    let named = found.filter(|part| part.number > 0);
    named.map_or_else(String::new, |part| format!(" in partition {}", part.number))
}

fn not_there(what: &str, layout: &Survey) -> Failure {
    let partitions = layout
        .partitions
        .iter()
        .map(|part| format!("--partition {} ({})", part.number, format_bytes(part.size_bytes)));
    let volumes = layout.volumes.iter().map(|volume| {
        let (group, name) = (visible(&volume.group, NAME_LEN_MAX), visible(&volume.name, NAME_LEN_MAX));
        format!("--volume {group}/{name} ({})", format_bytes(volume.size_bytes))
    });
    let there: Vec<String> = partitions.chain(volumes).collect();
    let hint = if there.is_empty() {
        "Neither a partition nor a logical volume was found on it.".to_owned()
    } else {
        format!("It has {}.", there.join("; "))
    };
    Failure::usage(format!("That revision has no {what}.")).with_hint(hint)
}
