//! The survey as a whole, on disks made by hand, on damaged ones, and on noise.

use super::memory::Memory;
use super::*;
use proptest::prelude::*;
use serde_json::json;

fn surveyed(disk: &Memory) -> Survey {
    survey(disk, disk.size_bytes())
}

/// An ext4 of 64 KiB at `offset`.
fn put_ext4(disk: &mut Memory, offset: u64) {
    let mut block = vec![0u8; 1024];
    block[0x04] = 16;
    block[0x18] = 2;
    block[0x38..0x3c].copy_from_slice(&[0x53, 0xef, 1, 0]);
    block[0x5c] = 4;
    block[0x60] = 0x42;
    block[0x68] = 1;
    block[0x78..0x7c].copy_from_slice(b"data");
    disk.put(offset + 1024, &block);
}

/// A physical volume at the beginning of the disk, with one volume of two segments that holds an ext4.
fn lvm_disk() -> Memory {
    let mut disk = Memory::sized(4 << 20);
    let text = b"vg {\nid = \"group\"\nseqno = 3\nextent_size = 16\nphysical_volumes {\npv0 {\n\
        id = \"abcdef-ghij-klmn-opqr-stuv-wxyz-012345\"\npe_start = 256\npe_count = 400\n}\n}\n\
        logical_volumes {\nroot {\nstatus = [\"READ\", \"VISIBLE\"]\nsegment_count = 2\n\
        segment1 {\nstart_extent = 0\nextent_count = 4\ntype = \"striped\"\nstripes = [\"pv0\", 2]\n}\n\
        segment2 {\nstart_extent = 4\nextent_count = 4\ntype = \"striped\"\nstripe_size = 8\n\
        stripes = [\"pv0\", 10, \"pv0\", 20]\n}\n}\n}\n}\n";
    lvm::tests::put(&mut disk, "abcdefghijklmnopqrstuvwxyz012345", text);
    put_ext4(&mut disk, 256 * 512 + 2 * 8192);
    disk
}

#[test]
fn the_json_is_what_typescript_expects() {
    let mut disk = gpt::tests::disk(512, 1024);
    put_ext4(&mut disk, 64 * 512);
    let text = "label: gpt\nlabel-id: 33333333-3333-3333-3333-333333333333\nunit: sectors\nfirst-lba: 34\n\
                last-lba: 990\nsector-size: 512\n\n\
                disk1 : start=          64, size=          64, type=11111111-1111-1111-1111-111111111111, \
                uuid=22222222-2222-2222-2222-222222222222, name=\"root\"\n";
    let expected = json!({
        "table": {
            "kind": "gpt",
            "sectorSizeBytes": 512,
            "diskId": "33333333-3333-3333-3333-333333333333",
            "fromBackup": false,
            "sfdisk": text,
        },
        "partitions": [{
            "number": 1,
            "offsetBytes": 32768,
            "sizeBytes": 32768,
            "typeId": "11111111-1111-1111-1111-111111111111",
            "partitionId": "22222222-2222-2222-2222-222222222222",
            "name": "root",
            "fileSystem": {
                "kind": "ext4",
                "label": "data",
                "uuid": "01000000-0000-0000-0000-000000000000",
                "sizeBytes": 65536,
                "clean": true,
                "freeBytes": null,
                "inodes": null,
                "freeInodes": null,
            },
        }],
        "volumes": [],
        "problems": [],
    });
    let found = surveyed(&disk);
    assert_eq!(serde_json::to_value(&found).unwrap(), expected);
    assert_eq!(serde_json::from_value::<Survey>(expected).unwrap(), found);
}

#[test]
fn volumes_are_shown_with_their_pieces_and_file_systems() {
    let found = surveyed(&lvm_disk());
    assert_eq!(found.problems, Vec::<String>::new());
    let [volume] = found.volumes.as_slice() else { panic!("one volume: {found:?}") };
    assert_eq!((volume.group.as_str(), volume.name.as_str(), volume.size_bytes), ("vg", "root", 65536));
    assert_eq!(
        serde_json::to_value(&volume.pieces).unwrap(),
        json!([
            { "kind": "linear", "offsetBytes": 147_456, "sizeBytes": 32768 },
            { "kind": "striped", "stripeSizeBytes": 4096, "offsetsBytes": [212_992, 294_912], "sizeBytes": 32768 },
        ])
    );
    assert_eq!(volume.file_system.as_ref().unwrap().kind, "ext4");
}

#[test]
fn a_bare_file_system_is_partition_zero() {
    let mut disk = Memory::sized(1 << 20);
    put_ext4(&mut disk, 0);
    let found = surveyed(&disk);
    assert_eq!(found.table, None);
    assert_eq!((found.partitions[0].number, found.partitions[0].size_bytes), (0, 1 << 20));
}

#[test]
fn a_file_system_made_over_a_table_counts() {
    let mut disk = gpt::tests::disk(512, 1024);
    disk.put(0, &[0; 512]);
    put_ext4(&mut disk, 0);
    let found = surveyed(&disk);
    assert_eq!(found.table, None);
    assert_eq!(found.partitions[0].number, 0);
}

#[test]
fn a_lost_first_sector_does_not_hide_the_gpt() {
    let mut disk = gpt::tests::disk(512, 1024);
    disk.put(0, &[0; 512]);
    let found = surveyed(&disk);
    assert_eq!(found.partitions.len(), 1);
    assert!(found.problems[0].contains("protective"), "{:?}", found.problems);
}

#[test]
fn an_announced_gpt_that_is_gone_is_told() {
    let mut disk = gpt::tests::disk(512, 1024);
    disk.put_over(512, &[0; 8]);
    disk.put_over(1023 * 512, &[0; 8]);
    let found = surveyed(&disk);
    assert_eq!(found.table, None);
    assert_eq!(found.problems.len(), 1);
}

#[test]
fn what_cannot_be_read_is_told() {
    let disk = gpt::tests::disk(512, 1024).failing(64 * 512..65 * 512);
    let found = surveyed(&disk);
    assert_eq!(found.partitions.len(), 1);
    assert!(
        found.problems[0].starts_with("Partition 1 could not be read everywhere"),
        "{:?}",
        found.problems
    );

    let found = surveyed(&gpt::tests::disk(512, 1024).failing(0..600));
    assert_eq!(found.table.map(|table| table.from_backup), Some(true));
    assert!(found.problems.iter().any(|problem| problem.contains("could not be read")));

    let found = surveyed(&Memory::sized(1 << 20).failing(0..1 << 20));
    assert_eq!(found.problems.len(), 1);
}

/// What every survey promises, whatever the bytes.
fn assert_sound(found: &Survey, size_bytes: u64) {
    let within = |offset: u64, length: u64| offset.checked_add(length).is_some_and(|end| end <= size_bytes);
    for partition in &found.partitions {
        assert!(within(partition.offset_bytes, partition.size_bytes), "{partition:?}");
    }
    for volume in &found.volumes {
        assert_eq!(volume.size_bytes, volume.pieces.iter().map(Piece::size_bytes).sum::<u64>());
        for piece in &volume.pieces {
            match piece {
                Piece::Linear { offset_bytes, size_bytes } => assert!(within(*offset_bytes, *size_bytes)),
                Piece::Striped { stripe_size_bytes, offsets_bytes, size_bytes } => {
                    let count = offsets_bytes.len() as u64;
                    assert!(count > 1 && size_bytes % (stripe_size_bytes * count) == 0);
                    assert!(offsets_bytes.iter().all(|&offset| within(offset, size_bytes / count)));
                }
            }
        }
    }
    assert!(found.problems.len() <= 101);
    let table = found.table.as_ref().map(|table| table.sfdisk.clone()).unwrap_or_default();
    let rows = table.lines().filter(|line| line.starts_with("disk")).count();
    assert!(rows >= found.partitions.len() || found.table.is_none());
    assert!(table.is_ascii());
}

/// Places where something is decoded, so that noise hits more often than not.
fn places() -> impl Strategy<Value = u64> {
    let known = vec![
        0u64, 20, 440, 446, 510, 512, 528, 1024, 1080, 4086, 4096, 4608, 32768, 65536, 131_072, 147_456,
        523_776,
    ];
    (proptest::sample::select(known), 0u64..128).prop_map(|(place, shift)| place + shift)
}

fn mutations() -> impl Strategy<Value = Vec<(u64, Vec<u8>)>> {
    let bytes = prop_oneof![
        proptest::collection::vec(any::<u8>(), 1..64),
        proptest::sample::select(vec![vec![0xff; 8], vec![0; 8], vec![0xff, 0xff, 0xff, 0x7f]]),
    ];
    proptest::collection::vec((places(), bytes), 1..12)
}

/// A disk that lies in one piece of memory, so that a mutation may hit anything.
fn flat(disk: &Memory) -> Vec<u8> {
    let mut bytes = vec![0; disk.size_bytes() as usize];
    disk.read_at(&mut bytes, 0).unwrap();
    bytes
}

fn mutated(mut bytes: Vec<u8>, mutations: &[(u64, Vec<u8>)]) -> Memory {
    for (offset, noise) in mutations {
        for (at, byte) in (*offset as usize..).zip(noise) {
            if let Some(place) = bytes.get_mut(at) {
                *place = *byte;
            }
        }
    }
    Memory::from(bytes)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn noise_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..70_000), size in any::<u64>()) {
        let length = bytes.len() as u64;
        assert_sound(&survey(&Memory::from(bytes.clone()), length), length);
        // A caller may be wrong about the size; reads are then short.
        assert_sound(&survey(&Memory::from(bytes), size), size);
    }

    #[test]
    fn damaged_disks_never_panic(which in 0usize..4, noise in mutations()) {
        let whole = match which {
            0 => flat(&gpt::tests::disk(512, 1024)),
            1 => flat(&gpt::tests::disk(4096, 256)),
            2 => flat(&lvm_disk()),
            _ => flat(&superblock::tests::everything()),
        };
        let disk = mutated(whole, &noise);
        assert_sound(&surveyed(&disk), disk.size_bytes());
    }

    #[test]
    fn any_gpt_entries_are_sound(
        entries in proptest::collection::vec(any::<[u8; 128]>(), 128),
        sectors in 100u64..5000,
    ) {
        let entries = entries.concat();
        let mut disk = gpt::tests::disk(512, sectors);
        disk.put(512, &gpt::tests::header(1, sectors - 1, 2, sectors, &entries));
        disk.put(1024, &entries);
        assert_sound(&surveyed(&disk), disk.size_bytes());
    }

    #[test]
    fn any_mbr_entries_are_sound(entries in any::<[u8; 64]>(), second in any::<[u8; 64]>(), at in 0u32..64) {
        let mut bytes = vec![0u8; 64 * 512];
        for (sector, entries) in [(0, entries), (at as usize, second)] {
            let start = sector * 512;
            bytes[start + 446..start + 510].copy_from_slice(&entries);
            bytes[start + 510..start + 512].copy_from_slice(&[0x55, 0xaa]);
        }
        for slot in 0..4 {
            bytes[446 + slot * 16] &= 0x80;
            bytes[446 + slot * 16 + 9..446 + slot * 16 + 12].fill(0);
        }
        bytes[446 + 4] = 5;
        let disk = Memory::from(bytes);
        assert_sound(&surveyed(&disk), disk.size_bytes());
    }

    #[test]
    fn any_lvm_text_is_sound(text in proptest::collection::vec(lvm_token(), 0..60)) {
        let mut disk = lvm_disk();
        let text = text.concat();
        lvm::tests::put(&mut disk, "abcdefghijklmnopqrstuvwxyz012345", text.as_bytes());
        assert_sound(&surveyed(&disk), disk.size_bytes());
    }

    #[test]
    fn any_lvm_numbers_are_sound(numbers in any::<[u64; 8]>(), shifts in any::<[u32; 8]>()) {
        let number = |index: usize| numbers[index] >> (shifts[index] % 64);
        let text = format!(
            "vg {{ id=\"g\" seqno={} extent_size={} physical_volumes {{ pv0 {{ \
             id=\"abcdefghijklmnopqrstuvwxyz012345\" pe_start={} pe_count={} }} }} logical_volumes {{ lv {{ \
             status=[\"VISIBLE\"] segment1 {{ start_extent=0 extent_count={} type=\"striped\" stripe_size={} \
             stripes=[\"pv0\",{},\"pv0\",{}] }} }} }} }}",
            number(0) >> 1, number(1) >> 1, number(2) >> 1, number(3) >> 1, number(4) >> 1, number(5) >> 1,
            number(6) >> 1, number(7) >> 1
        );
        let mut disk = lvm_disk();
        lvm::tests::put(&mut disk, "abcdefghijklmnopqrstuvwxyz012345", text.as_bytes());
        assert_sound(&surveyed(&disk), disk.size_bytes());
    }
}

fn lvm_token() -> impl Strategy<Value = String> {
    let words = [
        "vg {",
        "}",
        "[",
        "]",
        ",",
        "=",
        "\"",
        "\\",
        "#",
        "\n",
        "id",
        "\"x\"",
        "seqno = 1 ",
        "extent_size = 1 ",
        "physical_volumes {",
        "logical_volumes {",
        "segment1 {",
        "stripes = [",
        "\"pv0\", 0",
        "-",
        "7",
        "1.5",
        "\0",
        "type = \"striped\" ",
        "start_extent = 0 ",
        "extent_count = 1 ",
        "status = [\"VISIBLE\"] ",
    ];
    proptest::sample::select(words.to_vec()).prop_map(str::to_owned)
}
