//! Reading what qemu-nbd exports.

use std::os::unix::fs::FileExt;

use cairn_core::random::Numbers;
use cairn_core::source::Ahead;
use cairn_core::source::nbd::NbdSource;

use crate::lab::{Server, has, image_with_bitmap, write};

const MIB: u64 = 1 << 20;

/// A file with `bytes`, holes where whole pages of them are zeros.
fn sparse(path: &std::path::Path, bytes: &[u8]) {
    let file = std::fs::File::create(path).unwrap();
    file.set_len(bytes.len() as u64).unwrap();
    for (at, page) in (0..).step_by(4096).zip(bytes.chunks(4096)) {
        if page.iter().any(|&byte| byte != 0) {
            file.write_all_at(page, at).unwrap();
        }
    }
}

/// Bytes of the extents that the source says hold data; all that it leaves out must be zeros.
fn data_bytes(source: &NbdSource, bytes: &[u8]) -> u64 {
    let (mut at, mut data) = (0, 0);
    while at < source.size_bytes() {
        match source.data_after(at) {
            Ahead::Data(range) => {
                assert!(bytes[at as usize..range.start as usize].iter().all(|&byte| byte == 0));
                assert!(range.start < range.end && range.start >= at);
                data += range.end - range.start;
                at = range.end;
            }
            Ahead::Hole => {
                assert!(bytes[at as usize..].iter().all(|&byte| byte == 0));
                break;
            }
            Ahead::Unknown => panic!("qemu-nbd tells what is a hole"),
        }
    }
    data
}

fn whole(source: &NbdSource) -> Vec<u8> {
    let mut bytes = vec![0xaa; source.size_bytes() as usize];
    source.read(&mut bytes, 0).unwrap();
    bytes
}

#[test]
fn a_sparse_image_is_read_byte_by_byte_and_its_holes_are_told() {
    if !has(&["qemu-nbd"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("disk.raw");
    let mut bytes = vec![0; 40 << 20];
    bytes[3 << 20..5 << 20].fill(7);
    bytes[39 << 20..].fill(9);
    sparse(&image, &bytes);
    let server = Server::start(&image, &["-f", "raw"]);
    let source = server.source(None);
    assert_eq!(source.size_bytes(), 40 * MIB);
    assert_eq!(source.notes(), Vec::<String>::new());
    assert!(whole(&source) == bytes);
    assert_eq!(data_bytes(&source, &bytes), 3 * MIB);
    assert_eq!(source.data_after(0), Ahead::Data(3 * MIB..5 * MIB));
    assert_eq!(source.data_after(4 * MIB + 1), Ahead::Data(4 * MIB + 1..5 * MIB));
}

#[test]
fn any_part_of_any_image_is_read_as_it_is() {
    if !has(&["qemu-nbd"]) {
        return;
    }
    let seed = std::env::var("CAIRN_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(20_261_126);
    let mut numbers = Numbers::new(seed);
    for round in 0..4 {
        let directory = tempfile::tempdir().unwrap();
        let image = directory.path().join("disk.raw");
        // QEMU rounds sizes to sectors.
        let size = (numbers.below(9000) as usize + 1) * 512;
        let mut bytes = vec![0; size];
        for _ in 0..numbers.below(20) {
            let start = numbers.below(size as u64) as usize;
            let end = (start + numbers.below(200_000) as usize).min(size);
            bytes[start..end].fill(numbers.below(256) as u8);
        }
        sparse(&image, &bytes);
        let server = Server::start(&image, &["-f", "raw", "-e", "4"]);
        let source = server.source(None);
        data_bytes(&source, &bytes);
        for _ in 0..100 {
            let start = numbers.below(size as u64) as usize;
            let len = numbers.below((size - start) as u64 + 1) as usize;
            let mut part = vec![0xaa; len];
            source.read(&mut part, start as u64).unwrap();
            assert!(part == bytes[start..start + len], "seed {seed}, round {round}: {len} bytes at {start}");
        }
    }
}

#[test]
fn threads_read_at_the_same_time_whether_the_server_takes_one_connection_or_several() {
    if !has(&["qemu-nbd", "qemu-storage-daemon"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("disk.raw");
    let mut numbers = Numbers::new(1);
    let bytes: Vec<u8> = (0..8 << 20).map(|_| numbers.next_u64() as u8).collect();
    sparse(&image, &bytes);
    // Two are fewer than there are threads, so that some of them have to share.
    for connections in ["1", "2", "4", "any number"] {
        let server = match connections {
            "any number" => Server::daemon(&image),
            limited => Server::start(&image, &["-f", "raw", "-e", limited]),
        };
        let source = server.source(None);
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (source, bytes) = (&source, &bytes);
                scope.spawn(move || {
                    for piece in (thread..64).step_by(4) {
                        let start = piece << 17;
                        let mut part = vec![0; 1 << 17];
                        source.read(&mut part, start as u64).unwrap();
                        assert!(part == bytes[start..start + part.len()]);
                    }
                });
            }
        });
    }
}

#[test]
fn a_bitmap_tells_at_least_what_was_written() {
    if !has(&["qemu-nbd", "qemu-img", "qemu-io"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("disk.qcow2");
    image_with_bitmap(&image, "64G");
    let written = [5 * MIB..5 * MIB + 4096, 300 * MIB..302 * MIB, 63 * 1024 * MIB..63 * 1024 * MIB + 512];
    let commands =
        written.iter().map(|range| format!("write -P 7 {} {}", range.start, range.end - range.start));
    write(&image, &commands.collect::<Vec<_>>());
    let server = Server::start(&image, &["-f", "qcow2", "-B", "changes"]);
    let source = server.source(Some("changes"));
    let dirty = source.dirty_extents(&|| Ok(())).unwrap();
    assert_eq!(dirty.len(), 3, "{dirty:?}");
    for range in &written {
        assert!(dirty.iter().any(|told| told.start <= range.start && range.end <= told.end), "{dirty:?}");
    }
    assert!(dirty.iter().map(|told| told.end - told.start).sum::<u64>() < 4 * MIB, "{dirty:?}");
    // The same connection tells of holes and bytes.
    assert_eq!(source.data_after(0), Ahead::Data(5 * MIB..5 * MIB + 65536));
    let mut some = [0; 600];
    source.read(&mut some, 63 * 1024 * MIB).unwrap();
    assert!(some[..512] == [7; 512] && some[512..] == [0; 88]);
}

#[test]
fn what_is_not_there_is_named_with_what_is() {
    if !has(&["qemu-nbd", "qemu-img"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("disk.qcow2");
    image_with_bitmap(&image, "1M");
    let server = Server::start(&image, &["-f", "qcow2", "-B", "changes"]);
    let said = |name, bitmap| NbdSource::open(server.socket(), name, bitmap).err().unwrap().to_string();
    let socket = server.socket().display();
    assert_eq!(
        said("vm", Some("other")),
        format!(
            "nbd+unix:///vm?socket={socket} cannot be read: the export has no bitmap “other”; it has “changes”"
        )
    );
    assert!(said("none", None).contains("the server has no export of this name"), "{}", said("none", None));
    let absent = NbdSource::open(&directory.path().join("absent"), "vm", None).err().unwrap().to_string();
    assert!(absent.contains("its socket cannot be connected to: No such file"), "{absent}");
    let without = server.source(None);
    assert!(without.dirty_extents(&|| Ok(())).is_err());
    assert_eq!(without.data_after(0), Ahead::Hole, "a question that has no answer breaks nothing");
}
