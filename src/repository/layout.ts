/** Where things lie in a repository. Nothing else in this room or above puts such paths together. */
import path from 'node:path';
import { type DiskName, isRevisionId, type RevisionId } from '../base/ids.js';

/** The format of a repository that this version makes, and the newest that it opens. */
export const REPOSITORY_FORMAT = 1;

/** Directories that wait for their removal begin with this; no disk's name begins with a dot. */
export const DELETED_PREFIX = '.deleted-';
/** So begin directories of disks that are being made. */
export const NEW_PREFIX = '.new-';

/** The paths of one repository. */
export class Layout {
  readonly dir: string;

  constructor(dir: string) {
    this.dir = dir;
  }

  get header(): string {
    return path.join(this.dir, 'cairn.json');
  }

  get readme(): string {
    return path.join(this.dir, 'README.txt');
  }

  /** Programs that restore with nothing but this directory. */
  get rescue(): string {
    return path.join(this.dir, 'rescue');
  }

  get disks(): string {
    return path.join(this.dir, 'disks');
  }

  get catalog(): string {
    return path.join(this.dir, 'catalog');
  }

  /** Shared by restores, so that others yield. */
  get restoring(): string {
    return path.join(this.dir, 'restoring');
  }

  /** What the schedule keeps between two runs; the repository restores without it. */
  get daemon(): string {
    return path.join(this.dir, 'daemon');
  }

  /** Which disks the schedule lets alone. */
  get holds(): string {
    return path.join(this.daemon, 'holds.json');
  }

  /** How the daemon saw everything when it last looked. */
  get status(): string {
    return path.join(this.daemon, 'status.json');
  }

  /** How full the file system was, an hour a line. */
  get space(): string {
    return path.join(this.daemon, 'space.jsonl');
  }

  /** The configuration that the daemon has taken over, for the commands that it starts. */
  get takenConfig(): string {
    return path.join(this.daemon, 'config.json');
  }

  /** Locked by the daemon while it runs. */
  get daemonLock(): string {
    return path.join(this.daemon, 'lock');
  }

  /** Notifications that wait to be delivered: a directory for each recipient, a file for each message. */
  get outbox(): string {
    return path.join(this.daemon, 'outbox');
  }

  /** Notifications that were given up, until somebody removes them. */
  get undelivered(): string {
    return path.join(this.daemon, 'undelivered');
  }

  /** Which problems people were told of. */
  get told(): string {
    return path.join(this.daemon, 'told.json');
  }

  /** How notifications fare on their ways. */
  get deliveries(): string {
    return path.join(this.daemon, 'deliveries.json');
  }

  /** Which codes went to whom, and who brought one back. */
  get recipients(): string {
    return path.join(this.daemon, 'recipients.json');
  }

  disk(disk: DiskName): string {
    return path.join(this.disks, disk);
  }

  revisions(disk: DiskName): string {
    return path.join(this.disk(disk), 'revisions');
  }

  segments(disk: DiskName): string {
    return path.join(this.disk(disk), 'segments');
  }

  /** The highest numbers that removed revisions had. */
  marks(disk: DiskName): string {
    return path.join(this.disk(disk), 'marks.json');
  }

  /** Manifests of removed revisions whose space has not come back yet. */
  retired(disk: DiskName): string {
    return path.join(this.disk(disk), 'retired');
  }

  manifest(disk: DiskName, revision: RevisionId): string {
    return path.join(this.revisions(disk), `${revision}.json`);
  }

  state(disk: DiskName, revision: RevisionId): string {
    return path.join(this.revisions(disk), `${revision}.state.json`);
  }
}

/** The directories that a disk has in its own. */
export function ownDirectories(diskDir: string): string[] {
  return ['segments', 'revisions', 'retired'].map((name) => path.join(diskDir, name));
}

/** The log of everything done to the disk in `diskDir`. */
export function journalFile(diskDir: string): string {
  return path.join(diskDir, 'log.jsonl');
}

/** Is there from before the hook `before` of a backup begins until its hook `after` has ended. */
export function hookMarkFile(diskDir: string): string {
  return path.join(diskDir, 'between-hooks.json');
}

/** The index by digest, which is only a hint. */
export function dedupFile(diskDir: string): string {
  return path.join(diskDir, 'dedup');
}

/** The revision whose manifest has this file name; null for every other file. */
export function revisionOfManifest(fileName: string): RevisionId | null {
  const revision = fileName.endsWith('.json') ? fileName.slice(0, -'.json'.length) : '';
  return isRevisionId(revision) ? revision : null;
}
