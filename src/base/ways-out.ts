/** What a person can do about an error, where that holds wherever the error comes from. */

export const OUT_OF_FULL =
  'Make room on that file system (“df” and “df -i” show whether bytes or inodes are missing) and run it again; what was there before is untouched.';

export const OUT_OF_READ_ONLY =
  'That file system is mounted read-only; choose another, or remount it. Where it has become so by itself, the kernel log (dmesg) says why.';

/** For a source that was written to although the revision must not be live. */
export const OUT_OF_RESTLESS =
  'No revision was taken. What was stored so far is kept for the next backup of the disk. Freeze the source or back up a snapshot of it, by hooks say, or take “require” away.';

export const OUT_OF_FAILING =
  'Look at the kernel log (dmesg) and at the medium, and copy what can still be read before anything else is tried.';

/** For a file of the repository that is damaged or missing. */
export const OUT_OF_DAMAGE =
  'Nothing else is touched by it. Put the file back from a copy of the repository if there is one; “cairn doctor” shows what else is wrong.';
