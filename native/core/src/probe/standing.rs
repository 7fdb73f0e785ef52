//! What stands on a disk, for a person who is about to lose it: sentences to read, and a short code
//! that says that they were read. One implementation, so that every program of Cairn shows the same.

use serde_json::json;

use crate::digest::{Context, Digest};
use crate::units::format_bytes;

use super::model::{FileSystem, Partition, Survey, TableKind};

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
/// Letters of a code: forty bits are enough to tell disks apart and short enough to type.
const CODE_LEN: usize = 8;
const TEXT_LEN_MAX: usize = 120;
const PROBLEM_LEN_MAX: usize = 300;

impl Survey {
    /// Whether there is anything to lose that is known here, or that looks like a damaged one.
    #[must_use]
    pub fn has_content(&self) -> bool {
        self.table.is_some() || !self.partitions.is_empty() || !self.problems.is_empty()
    }

    /// As in `k3f9-2mqa`: made of the serial number and size of the device, the disk's id, and where
    /// its partitions and volumes lie and what their file systems are called; not of the path. It
    /// changes when one of these does.
    #[must_use]
    pub fn code(&self, size_bytes: u64, serial: Option<&str>) -> String {
        let identity = |found: &Option<FileSystem>| {
            json!(found.as_ref().map(|file_system| (&file_system.kind, &file_system.uuid)))
        };
        let partitions = self.partitions.iter();
        let volumes = self.volumes.iter();
        let facts = json!([
            serial,
            size_bytes,
            self.table.as_ref().map(|table| &table.disk_id),
            partitions
                .map(|at| (at.offset_bytes, at.size_bytes, identity(&at.file_system)))
                .collect::<Vec<_>>(),
            volumes.map(|at| (&at.group, &at.name, identity(&at.file_system))).collect::<Vec<_>>(),
            !self.problems.is_empty(),
        ]);
        let bits = Digest::of(Context::Standing, facts.to_string().as_bytes()).prefix();
        let mut code = String::new();
        for at in 0..CODE_LEN {
            if at == CODE_LEN / 2 {
                code.push('-');
            }
            let letter = ALPHABET.get((bits >> (5 * at) & 31) as usize).copied().unwrap_or(b'0');
            code.push(char::from(letter));
        }
        code
    }

    /// What is there, a line for each thing; safe for a terminal, whatever a guest called its parts.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let table = self.table.as_ref().map(|table| {
            let kind = match table.kind {
                TableKind::Gpt => "GPT",
                TableKind::Mbr => "MBR",
            };
            format!("{kind} partition table, disk id {}", visible(&table.disk_id, TEXT_LEN_MAX))
        });
        let volumes = self.volumes.iter().map(|volume| {
            let (group, name) = (visible(&volume.group, TEXT_LEN_MAX), visible(&volume.name, TEXT_LEN_MAX));
            let size = format_bytes(volume.size_bytes);
            format!("volume {group}/{name}, {size}, {}", file_system_text(volume.file_system.as_ref()))
        });
        let problems = self.problems.iter().map(|problem| visible(problem, PROBLEM_LEN_MAX));
        table
            .into_iter()
            .chain(self.partitions.iter().map(partition_line))
            .chain(volumes)
            .chain(problems)
            .collect()
    }
}

/// Whether somebody typed a code: case, blanks and the hyphen do not matter.
#[must_use]
pub fn is_same_code(typed: &str, code: &str) -> bool {
    let bare = |text: &str| -> String {
        let letters = text.chars().filter(|letter| !letter.is_whitespace() && *letter != '-');
        letters.flat_map(char::to_lowercase).collect()
    };
    bare(typed) == bare(code)
}

/// Foreign text for a sentence: characters that cannot be seen or that steer a terminal are escaped,
/// and what is longer than `len_max` characters is cut.
#[must_use]
pub fn visible(text: &str, len_max: usize) -> String {
    let mut shown = String::new();
    for (count, letter) in text.chars().enumerate() {
        if count == len_max {
            shown.push('…');
            break;
        }
        // The library knows what is printable; quotes and the backslash are what it escapes besides.
        if letter.is_ascii_graphic() || letter == ' ' {
            shown.push(letter);
        } else {
            shown.extend(letter.escape_debug());
        }
    }
    shown
}

fn partition_line(partition: &Partition) -> String {
    let file_system = file_system_text(partition.file_system.as_ref());
    if partition.number == 0 {
        return format!("no partition table; {file_system} on the bare disk");
    }
    let called = quoted(partition.name.as_deref());
    format!("partition {}{called}, {}, {file_system}", partition.number, format_bytes(partition.size_bytes))
}

fn file_system_text(file_system: Option<&FileSystem>) -> String {
    let Some(FileSystem { kind, label, uuid, .. }) = file_system else {
        return "no known file system".to_owned();
    };
    let uuid = uuid.as_ref().map_or_else(String::new, |uuid| format!(" ({})", visible(uuid, TEXT_LEN_MAX)));
    format!("{}{}{uuid}", visible(kind, TEXT_LEN_MAX), quoted(label.as_deref()))
}

/// Foreign text in quotes after a blank; nothing for a name that is empty or none.
pub(crate) fn quoted(name: Option<&str>) -> String {
    let name = name.filter(|name| !name.is_empty());
    name.map_or_else(String::new, |name| format!(" “{}”", visible(name, TEXT_LEN_MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bare(kind: &str, uuid: &str, label: &str) -> Survey {
        let file_system = FileSystem {
            kind: kind.to_owned(),
            label: Some(label.to_owned()),
            uuid: Some(uuid.to_owned()),
            size_bytes: None,
            clean: None,
            free_bytes: None,
            inodes: None,
            free_inodes: None,
        };
        let partition = Partition {
            number: 0,
            offset_bytes: 0,
            size_bytes: 1 << 20,
            type_id: String::new(),
            partition_id: None,
            name: None,
            file_system: Some(file_system),
        };
        Survey { partitions: vec![partition], ..Survey::default() }
    }

    #[test]
    fn the_code_changes_with_what_stands_there_and_with_nothing_else() {
        let code = bare("ext4", "u1", "root").code(1 << 20, None);
        assert_eq!(code.len(), CODE_LEN + 1);
        assert_eq!(bare("ext4", "u1", "another label").code(1 << 20, None), code);
        let others = [
            bare("ext4", "u2", "root").code(1 << 20, None),
            bare("xfs", "u1", "root").code(1 << 20, None),
            bare("ext4", "u1", "root").code(1 << 21, None),
            bare("ext4", "u1", "root").code(1 << 20, Some("S1")),
            Survey::default().code(1 << 20, None),
        ];
        assert!(others.iter().all(|other| *other != code), "{others:?}");
        assert!(is_same_code(&format!(" {} ", code.to_uppercase().replace('-', " ")), &code));
        assert!(!is_same_code("", &code));
    }

    #[test]
    fn names_of_a_guest_steer_no_terminal() {
        let lines = bare("ext4", "u1", "a\u{1b}[31m\u{202e}b\n").lines();
        assert_eq!(lines, [r"no partition table; ext4 “a\u{1b}[31m\u{202e}b\n” (u1) on the bare disk"]);
        assert_eq!(visible("abc", 2), "ab…");
        assert_eq!(visible(r#"it's "so" \ ä"#, 99), r#"it's "so" \ ä"#);
    }
}
