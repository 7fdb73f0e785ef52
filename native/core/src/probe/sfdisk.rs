//! A partition table as the text that sfdisk(8) dumps and takes back.
//!
//! The text is that of `sfdisk --dump` but for two things: there is no `device` line, since the disk has no
//! name here, and nodes are called `disk<number>`, of which sfdisk reads the number alone. What a guest wrote
//! into a name cannot leave its quotes: every byte that sfdisk itself would escape is escaped (util-linux,
//! libfdisk script.c: `\xNN`), and so is every byte that is not printable ASCII.

use super::table::{GptExtent, Row, Table};
use std::fmt::Write as _;

/// What sfdisk assumes where no `table-length` is given.
const ENTRY_COUNT_USUAL: u32 = 128;

/// The names of the attribute bits 0 to 2 (UEFI table 5-8) in sfdisk.
const ATTRIBUTES: [(u32, &str); 3] =
    [(0, "RequiredPartition"), (1, "NoBlockIOProtocol"), (2, "LegacyBIOSBootable")];

/// The bits that belong to the partition's type.
const ATTRIBUTES_OF_TYPE: std::ops::Range<u32> = 48..64;

/// The text for `table`.
pub(super) fn text(table: &Table) -> String {
    let mut lines = match &table.gpt {
        Some(_) => vec!["label: gpt".to_owned(), format!("label-id: {}", table.disk_id)],
        None => vec!["label: dos".to_owned(), format!("label-id: 0x{}", table.disk_id)],
    };
    lines.push("unit: sectors".to_owned());
    lines.extend(table.gpt.iter().flat_map(extent));
    lines.push(format!("sector-size: {}", table.sector_size_bytes));
    if !table.rows.is_empty() {
        lines.push(String::new());
    }
    lines.extend(table.rows.iter().map(|row| line(row, table.gpt.is_some())));
    lines.push(String::new());
    lines.join("\n")
}

fn extent(gpt: &GptExtent) -> Vec<String> {
    let mut lines = vec![
        format!("first-lba: {}", gpt.first_usable_sector),
        format!("last-lba: {}", gpt.last_usable_sector),
    ];
    if gpt.entry_count != ENTRY_COUNT_USUAL {
        lines.push(format!("table-length: {}", gpt.entry_count));
    }
    lines
}

/// Only a GPT stores the partition's identifier; an MBR's is derived from the disk's.
fn line(row: &Row, is_gpt: bool) -> String {
    let mut line = format!(
        "disk{} : start={:>12}, size={:>12}, type={}",
        row.number, row.start_sector, row.sectors, row.type_id
    );
    if let Some(id) = row.partition_id.as_ref().filter(|_| is_gpt) {
        line.push_str(", uuid=");
        line.push_str(id);
    }
    if let Some(name) = &row.name {
        line.push_str(", name=");
        push_quoted(&mut line, name);
    }
    if let Some(attributes) = attributes(row.attributes) {
        line.push_str(", attrs=");
        push_quoted(&mut line, &attributes);
    }
    if row.bootable {
        line.push_str(", bootable");
    }
    line
}

fn attributes(bits: u64) -> Option<String> {
    let is_set = |bit: u32| bits & (1u64 << bit) != 0;
    let mut words: Vec<String> =
        ATTRIBUTES.iter().filter(|(bit, _)| is_set(*bit)).map(|(_, name)| (*name).to_owned()).collect();
    let numbers: Vec<String> =
        ATTRIBUTES_OF_TYPE.filter(|&bit| is_set(bit)).map(|bit| bit.to_string()).collect();
    if !numbers.is_empty() {
        words.push(format!("GUID:{}", numbers.join(",")));
    }
    (!words.is_empty()).then(|| words.join(" "))
}

fn push_quoted(line: &mut String, text: &str) {
    line.push('"');
    for byte in text.bytes() {
        if matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\' | b'`' | b'$') {
            line.push(char::from(byte));
        } else {
            // Writing into a string cannot fail.
            let _ = write!(line, "\\x{byte:02x}");
        }
    }
    line.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str) -> Row {
        Row {
            number: 3,
            start_sector: 2048,
            sectors: 40960,
            type_id: "0FC63DAF-8483-4772-8E79-3D69D8477DE4".into(),
            partition_id: Some("FAD13038-BC0C-7042-88B3-E8CC8A633941".into()),
            name: Some(name.into()),
            attributes: (1 << 2) | (1 << 60) | (1 << 63) | 1,
            bootable: false,
        }
    }

    #[test]
    fn a_gpt_is_dumped_as_sfdisk_does() {
        let table = Table {
            sector_size_bytes: 512,
            disk_id: "1BA884CB-9C92-8C40-88E4-169AF6A0950F".into(),
            gpt: Some(GptExtent {
                first_usable_sector: 2048,
                last_usable_sector: 409_566,
                entry_count: 256,
                from_backup: false,
            }),
            rows: vec![row("a, b;c #d")],
        };
        assert_eq!(
            text(&table),
            "label: gpt\nlabel-id: 1BA884CB-9C92-8C40-88E4-169AF6A0950F\nunit: sectors\nfirst-lba: 2048\n\
             last-lba: 409566\ntable-length: 256\nsector-size: 512\n\n\
             disk3 : start=        2048, size=       40960, type=0FC63DAF-8483-4772-8E79-3D69D8477DE4, \
             uuid=FAD13038-BC0C-7042-88B3-E8CC8A633941, name=\"a, b;c #d\", \
             attrs=\"RequiredPartition LegacyBIOSBootable GUID:60,63\"\n"
        );
    }

    #[test]
    fn an_mbr_is_dumped_as_sfdisk_does() {
        let rows = vec![Row {
            type_id: "c".into(),
            partition_id: Some("c1fe535f-03".into()),
            name: None,
            attributes: 0,
            bootable: true,
            ..row("")
        }];
        let table = Table { sector_size_bytes: 4096, disk_id: "c1fe535f".into(), gpt: None, rows };
        assert_eq!(
            text(&table),
            "label: dos\nlabel-id: 0xc1fe535f\nunit: sectors\nsector-size: 4096\n\n\
             disk3 : start=        2048, size=       40960, type=c, bootable\n"
        );
    }

    #[test]
    fn a_hostile_name_stays_within_its_quotes() {
        let line = line(&row("x\"\ndisk9 : start=1, size=1\\`$é"), true);
        assert_eq!(line.lines().count(), 1);
        assert!(line.contains(r#"name="x\x22\x0adisk9 : start=1, size=1\x5c\x60\x24\xc3\xa9", "#), "{line}");
    }
}
