/** README.txt of a repository: for whoever finds the directory and knows nothing of Cairn. */
import { VERSION } from '../base/version.js';

export const REPOSITORY_README = `This directory is a Cairn backup repository
==========================================

It holds disks (whole disks or disk images), block by block, and of each disk any number of revisions: the complete
state of the disk at one moment. Every revision can be restored from this directory alone. No database, no
configuration, no network and no other machine is needed, and this directory may be mounted read-only.

Getting data back, with nothing but this directory
--------------------------------------------------
The program in rescue/ needs nothing but a Linux kernel. Go to this directory, and copy these lines:

  rescue/cairn-rescue-$(uname -m) list                          what there is, newest last
  rescue/cairn-rescue-$(uname -m) restore <disk> /mnt/disk.img       the newest revision, to a new file
  rescue/cairn-rescue-$(uname -m) restore <disk>@<id> /dev/sdX       one revision, to a whole disk
  rescue/cairn-rescue-$(uname -m) cat <disk>@<id> | ssh <host> "dd of=/dev/sdX bs=1M"     to another machine
  rescue/cairn-rescue-$(uname -m) verify <disk>                 reads all of a disk and says what is damaged
  rescue/cairn-rescue-$(uname -m) --help                        all that it can do

In place of <disk>@<id>, write a name as “list” shows it; the beginning of the id is enough. The target of “restore”
is the only thing that is ever written to. What stands on a device is shown before it is overwritten, and a target
that is mounted or in use is refused.

“Permission denied” although you are root: this file system is mounted noexec. Copy the program somewhere else, and
name this directory:

  cp rescue/cairn-rescue-$(uname -m) /tmp/cairn-rescue && chmod +x /tmp/cairn-rescue
  /tmp/cairn-rescue -r . list

“No such file” or “Exec format error”: no program for this machine's processor is here; “ls rescue” shows for which
there is one. Mount or copy this directory on a machine of that kind and send the image over with “cat” as above. Or
run the program under QEMU: qemu-x86_64-static rescue/cairn-rescue-x86_64 list (Debian: qemu-user-static). Or install
Cairn on this machine.

“sha256sum -c *.sha256” in rescue/ tells whether the programs there are whole.

What to do with an image
------------------------
A restored image is a plain raw disk. Write it to a disk with: dd if=disk.img of=/dev/sdX bs=1M conv=fsync
Look into it with: losetup -fP --show disk.img, and mount the partitions of the loop device that this names.
Start it in QEMU with: qemu-system-x86_64 -m 2G -drive file=disk.img,format=raw

With Cairn installed
--------------------
  cairn list -r <this directory>                          shows all revisions
  cairn restore -r <this directory> <disk> disk.img       writes the newest one as a raw image
  cairn mount -r <this directory> <empty directory>       shows all of them as files: copy with dd or cp

What lies here
--------------
  cairn.json                            what makes this directory a repository
  rescue/                               programs that restore, one for each kind of processor
  catalog/                              a cache that may be deleted at any time
  disks/<disk>/                         everything about one disk; it may be copied to another repository as it is
  disks/<disk>/revisions/<id>.json      one readable file for each revision: when, from where, how big
  disks/<disk>/revisions/<id>.state.json   its tags, and whether it is trusted and protected
  disks/<disk>/segments/                the stored blocks, compressed and with checksums
  disks/<disk>/log.jsonl                everything that was done to the disk, one line each

If no program can be found any more that reads this: docs/format.md in Cairn's source describes every byte in here,
enough to write one, and test/format/read_image.py there is one in Python. Blocks are
compressed with zstd or lz4 and named by their BLAKE3 digests.

Please do not change files in here by hand. Copying, moving, renaming or removing a whole disks/<disk> is fine.

Written by Cairn ${VERSION}.
`;
