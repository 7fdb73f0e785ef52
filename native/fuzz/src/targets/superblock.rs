//! Superblocks: any bytes at the places where one may stand, with each magic number in its place.

use crate::disk::Disk;

const MAGICS: [(u64, &[u8]); 14] = [
    (0, b"XFSB\0\0\x10\0"),
    (0, b"hsqs"),
    (0, b"LUKS\xba\xbe\0\x02"),
    (0, b"\xeb\x76\x90EXFAT   "),
    (3, b"NTFS    "),
    (0, b"\xeb\x58\x90mkfs.fat\0\x02"),
    (512, b"LABELONE\x01\0\0\0\0\0\0\0"),
    (1024, &[0xe2, 0xe1, 0xf5, 0xe0]),
    (1080, &[0x53, 0xef]),
    (4086, b"SWAPSPACE2"),
    (4096, &[0xfc, 0x4e, 0x2b, 0xa9, 1, 0, 0, 0]),
    (32768, b"\x01CD001\x01"),
    (65600, b"_BHRfS_M"),
    (65584, &[0, 0, 1, 0, 0, 0, 0, 0]),
];

pub fn run(bytes: &[u8]) {
    let Some((&choice, bytes)) = bytes.split_first() else { return };
    let (offset, magic) = MAGICS[usize::from(choice) % MAGICS.len()];
    let mut disk = Disk::new(4 << 20).put(0, bytes).put(offset & !0xfff, bytes);
    if choice & 0x80 != 0 {
        disk = disk.put(510, &[0x55, 0xaa]);
    }
    disk.put(offset, magic).survey();
}
