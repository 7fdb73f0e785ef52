//! What `--help` says, to somebody who has never seen this and is in a hurry.

pub(crate) const TEXT: &str = "\
cairn-rescue gets disks back out of a Cairn backup repository. It needs nothing but the
repository's directory, and never writes to it: mounted read-only is enough.

  cairn-rescue [<repository>] list                              what there is, newest last
  cairn-rescue [<repository>] restore <disk> disk.img           the newest revision, to a new file
  cairn-rescue [<repository>] restore <disk>@<id> /dev/sdX      one revision, to a whole disk
  cairn-rescue [<repository>] cat <disk>@<id> | …               the same, to another program
  cairn-rescue [<repository>] verify [<disk>[@<id>]]            read all and say what is damaged

The repository is the directory with “disks” and “README.txt” in it. Where this program lies in
its directory “rescue”, it need not be named.

Revisions: <disk> and <disk>@latest are the newest that is not distrusted; <disk>@latest~2 is two
before it; <disk>@20261120T201500Z-k3f9 is one by its id, as “list” shows it, of which the
beginning is enough; <disk>@<tag> is the newest with that tag.

Options:
  -r, --repository <directory>   the repository, if it is not named before the command
  -h, --help                     this text
  -V, --version                  the version

Options of “restore”:
      --overwrite      replace what is there: a file, or what stands on a device
      --expect <code>  the code of what stands on the target, as a refusal showed it: for scripts
      --yes            go on without asking, where no code is asked for
      --resume         go on with a restore that was stopped: read the target, write what differs
      --differential   the same by another name: to put a revision over a disk that differs little
      --verify         read back what was written and compare it
      --partition-table   only the partition table, made for the size of the target
Options of “restore” and “cat”:
      --keep-going     where something is damaged, restore all the rest and list what is missing
      --partition <n>  only this partition
      --volume <group/name>   only this logical volume

A target that is mounted, in use or too small is refused, whatever the options. What stands on a
device is shown before it is overwritten, and a short code is asked for that is made of it: so a
typing mistake in the name of a device costs nothing. Put a restored file onto a disk with dd,
look into it with “losetup -fP --show disk.img”, or start it in QEMU.

Nothing is damaged by trying: only <target> is ever written to.

Exit codes:
  0 done · 1 failed · 2 wrong use · 3 no such disk or revision · 4 locked by another process
  5 stored data damaged · 6 refused, to protect the target · 7 no space · 130, 143 interrupted
";
