/** Everything that many processes do at once to one repository, and what they saw of it. */
import { createHash } from 'node:crypto';
import { access, open, readFile, rm } from 'node:fs/promises';
import path from 'node:path';
import { execa } from 'execa';
import { expect, onTestFinished } from 'vitest';
import type { BackupOutcome } from '../../src/operations/backup.js';
import type { PruneOutcome } from '../../src/operations/prune.js';
import type { RevisionRow } from '../../src/repository/repository.js';
import type { Cli, ToldError } from '../cli/cli-lab.js';
import { until } from '../mount/mount-lab.js';
import type { Random } from '../mount/random.js';
import { DISK_NAMES, SCHEDULED_TAG } from './attempt.js';
import { ChangingImage } from './changing-image.js';
import { look } from './look.js';

export const DISKS = DISK_NAMES.slice(0, 3);
/** The disk that is pruned, and those that are not. */
export const [PRUNED, ...OTHERS] = DISKS as [string, ...string[]];
/** A mount shows a revision within two seconds, on a machine that has nothing else to do. */
export const WAIT_MS_MAX = 60_000;
const TRIES_MAX = 200;
const HOLDER = /cairn (backup|prune|collect) \(pid \d+, since \d{4}-/;

/** Each method runs commands to their end, and may run at the same time as all others. */
export class Crowd {
  /** What each revision must read as. */
  readonly taken = new Map<string, string>();
  /** What was read by whatever way. */
  readonly read: { revision: string; digest: string; how: string }[] = [];
  readonly removed = new Set<string>();
  readonly #images: ReadonlyMap<string, ChangingImage>;
  /** A protected revision of the disk that is pruned. */
  kept = '';

  constructor(
    readonly cli: Cli,
    readonly random: Random,
    readonly mountpoint: string,
    readonly config: string,
  ) {
    const image = (disk: string) => new ChangingImage(path.join(cli.dir, `${disk}.img`), random);
    this.#images = new Map(DISKS.map((disk) => [disk, image(disk)]));
  }

  /** Runs a command until no other process holds the disk, which is the only thing that may be in its way. */
  async cairn<T>(...args: string[]): Promise<T> {
    for (let triesLeft = TRIES_MAX; ; triesLeft--) {
      const { exitCode, stdout, stderr } = await this.cli.run([...args, '--json', '--config', this.config]);
      const result = JSON.parse(stdout) as T & { error?: ToldError };
      if (exitCode === 0) return result;
      const what = `cairn ${args.join(' ')} ended with ${exitCode}: ${stdout} ${stderr}`;
      expect([exitCode, result.error?.code], what).toEqual([4, 'LOCKED']);
      expect(result.error?.message).toMatch(HOLDER);
      expect(triesLeft, what).toBeGreaterThan(0);
    }
  }

  /** What the disk's image holds after a change; the revision's id. */
  async backUp(disk: string): Promise<string> {
    const image = this.#images.get(disk);
    if (image === undefined) throw new Error(`there is no image of ${disk}`);
    image.change();
    const args = ['backup', disk, '--source', image.file, '--tag', SCHEDULED_TAG];
    const { revision } = await this.cairn<BackupOutcome>(...args);
    this.taken.set(`${disk}@${revision}`, image.digest);
    return revision;
  }

  async prune(): Promise<void> {
    const { removed } = await this.cairn<PruneOutcome>('prune', PRUNED, '--no-collect');
    for (const { disk, revision } of removed) this.removed.add(`${disk}@${revision}`);
    await this.cairn('collect', PRUNED);
  }

  /** What was reported before is listed, whatever else goes on. */
  async list(): Promise<void> {
    const before = [...this.taken.keys()].filter((name) => !name.startsWith(PRUNED) || name === this.kept);
    const rows = await this.cairn<RevisionRow[]>('list');
    expect(rows.map((row) => `${row.disk}@${row.revision}`)).toEqual(expect.arrayContaining(before));
    await this.cairn('show', this.#whatStays());
  }

  async restore(): Promise<void> {
    const target = path.join(this.cli.dir, 'restored.img');
    const args = ['restore', this.#whatStays(), target];
    const { disk, revision } = await this.cairn<{ disk: string; revision: string }>(...args);
    this.#note(disk, revision, sha256(await readFile(target)), 'restored');
    await rm(target);
  }

  /** Reads a revision in the mount, one that has just been taken as soon as it shows. */
  async readMounted(): Promise<void> {
    const [disk = '', revision = ''] = this.random.pick([...this.taken.keys()]).split('@');
    const file = this.mounted(disk, revision);
    await until(async () => (await isThere(file)) || !(await this.#isListed(disk, revision)), WAIT_MS_MAX);
    const { exitCode, stdout, stderr } = await execa('sha256sum', [file], { reject: false });
    if (exitCode === 0) return this.#note(disk, revision, stdout.split(' ')[0] ?? '', 'read in the mount');
    expect(stderr).toContain('No such');
    expect(await this.#isListed(disk, revision), `${file} is listed and not there`).toBe(false);
  }

  /** A revision that nobody removes, of any disk. */
  #whatStays(): string {
    return this.random.pick([this.kept, ...OTHERS.map((disk) => `${disk}@latest`)]);
  }

  mounted(disk: string, revision: string): string {
    return path.join(this.mountpoint, disk, revision, 'disk.img');
  }

  /** Reads half of a revision; the other half when `read` is called. */
  async openHalf(disk: string, revision: string): Promise<{ read(): Promise<void> }> {
    const handle = await open(this.mounted(disk, revision));
    onTestFinished(() => handle.close());
    const { size } = await handle.stat();
    const bytes = Buffer.alloc(size);
    const half = Math.floor(size / 2);
    await handle.read(bytes, 0, half, 0);
    return {
      read: async () => {
        for (let at = half; at < size; ) at += (await handle.read(bytes, at, size - at, at)).bytesRead;
        this.#note(disk, revision, sha256(bytes), 'read in the mount after it was removed');
        await handle.close();
      },
    };
  }

  async #isListed(disk: string, revision: string): Promise<boolean> {
    const { rows } = await look(this.cli.repository);
    return rows.some((row) => row.disk === disk && row.revision === revision);
  }

  #note(disk: string, revision: string, digest: string, how: string): void {
    this.read.push({ revision: `${disk}@${revision}`, digest, how });
  }
}

async function isThere(file: string): Promise<boolean> {
  return access(file).then(
    () => true,
    () => false,
  );
}

function sha256(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex');
}
