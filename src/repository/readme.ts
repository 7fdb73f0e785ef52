/** README.txt of a repository: for whoever finds the directory and knows nothing of Cairn. */
export const REPOSITORY_README = `This directory is a Cairn backup repository
==========================================

It holds disks (whole disks or disk images), block by block, and of each disk any number of revisions: the complete
state of the disk at one moment. Every revision can be restored from this directory alone. No database, no
configuration and no other machine is needed: catalog/ is a cache that may be deleted at any time.

  cairn.json                            what makes this directory a repository
  disks/<disk>/                         everything about one disk; it may be copied to another repository as it is
  disks/<disk>/revisions/<id>.json      one readable file for each revision: when, from where, how big
  disks/<disk>/revisions/<id>.state.json   its tags, and whether it is trusted and protected
  disks/<disk>/segments/                the stored blocks, compressed and with checksums
  disks/<disk>/log.jsonl                everything that was done to the disk, one line each

Getting data back
-----------------
Install Cairn on any Linux machine, copy or mount this directory there (read-only is enough), and:

  cairn list -r <this directory>                          shows all revisions
  cairn restore -r <this directory> <disk> disk.img       writes the newest one as a raw image
  cairn restore -r <this directory> <disk>@<id> -         writes one to standard output
  cairn mount -r <this directory> <empty directory>       shows all of them as files: copy with dd or cp

A restored image is a plain raw disk: write it to a disk with dd, look at it with "losetup -fP", boot it in QEMU.

This version of Cairn does not put a rescue program next to this file yet. If no Cairn can be found any more,
docs/format.md in Cairn's source describes every byte in here, enough to write a reader: blocks are compressed with
zstd or lz4 and named by their BLAKE3 digests.

Please do not change files in here by hand. Copying, moving, renaming or removing a whole disks/<disk> is fine.
`;
