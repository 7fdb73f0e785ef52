/** A repository that has a file system to itself, which can be filled to the last block and made to fail. */
import { createHash, randomFillSync } from 'node:crypto';
import {
  accessSync,
  closeSync,
  constants,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  statfsSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import path from 'node:path';
import { expect, onTestFinished, type TestContext } from 'vitest';
import { attachLoop, MIB, mountAt, needRoot, run, sparseFile } from '../block-lab.js';
import { Cli } from '../cli/cli-lab.js';
import { tempDir } from '../temp-dir.js';

/** How each is made, at about the smallest size that it takes. */
const MAKING = {
  ext4: { sizeBytes: 96 * MIB, command: ['mkfs.ext4', '-q', '-m', '0'] },
  xfs: { sizeBytes: 320 * MIB, command: ['mkfs.xfs', '-q'] },
  btrfs: { sizeBytes: 256 * MIB, command: ['mkfs.btrfs', '-q'] },
} as const;

export type FileSystemKind = keyof typeof MAKING;

/** Of a source, holes included: so much that the index by digest takes some hundred kilobytes. */
const IMAGE_BYTES = 32 * MIB;
/** What a file system or the disk's log may keep of a backup that failed. */
export const SLACK_BYTES = 96 * 1024;

/** A directory in memory where there is one: nothing that is tested here depends on how slow a medium is. */
function fastDir(): string {
  try {
    accessSync('/dev/shm', constants.W_OK);
    const dir = mkdtempSync('/dev/shm/cairn-test-');
    onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
    return dir;
  } catch {
    return tempDir();
  }
}

export async function placeOn(
  context: TestContext,
  kind: FileSystemKind,
  ...mountOptions: string[]
): Promise<Place> {
  needRoot(context);
  const { sizeBytes, command } = MAKING[kind];
  const [program, ...options] = command;
  const dir = fastDir();
  const file = sparseFile(dir, `${kind}.img`, sizeBytes);
  run(program, ...options, file);
  const mountpoint = path.join(dir, 'fs');
  mkdirSync(mountpoint);
  const device = attachLoop(file);
  mountAt(device, mountpoint, ...mountOptions);
  const place = new Place(dir, mountpoint, file, device);
  await place.cli.ok('init', '--block-size', '4KiB');
  return place;
}

export class Place {
  readonly cli: Cli;
  readonly source: string;
  /** By revision: the digest of what it was taken of. */
  readonly #taken = new Map<string, string>();

  constructor(
    readonly dir: string,
    readonly mountpoint: string,
    readonly file: string,
    readonly device: string,
  ) {
    this.cli = new Cli(dir, path.join(mountpoint, 'repository'));
    this.source = sparseFile(dir, 'disk.img', IMAGE_BYTES);
  }

  /** Fresh random bytes in a part of the source. */
  scramble(offset: number, length: number): void {
    const fd = openSync(this.source, 'r+');
    writeSync(fd, randomFillSync(Buffer.alloc(length)), 0, length, offset);
    closeSync(fd);
  }

  /** A backup of the source that must succeed; what it stored. */
  async backup(disk = 'vm1', ...args: string[]): Promise<number> {
    const { revision, storedBytes } = await this.cli.backup(disk, this.source, ...args);
    this.note(revision);
    return storedBytes;
  }

  /** The revision was taken of the source as it is now. */
  note(revision: string): void {
    this.#taken.set(revision, digestOf(this.source));
  }

  /** Every revision of the disk that is listed, or the given ones, read back. */
  async expectWhole(disk = 'vm1', revisions?: readonly string[]): Promise<void> {
    const target = path.join(this.dir, 'restored.img');
    for (const revision of revisions ?? (await this.revisions(disk))) {
      await this.cli.ok('restore', `${disk}@${revision}`, target, '--overwrite');
      expect(digestOf(target), `${disk}@${revision}`).toBe(this.#taken.get(revision));
    }
  }

  async revisions(disk = 'vm1'): Promise<string[]> {
    return (await this.cli.list()).filter((row) => row.disk === disk).map(({ revision }) => revision);
  }

  freeBytes(): number {
    run('sync', '-f', this.mountpoint);
    const { bavail, bsize } = statfsSync(this.mountpoint);
    return bavail * bsize;
  }

  /** Fills the file system up to about so much: at most a block more, or whatever it keeps for itself. */
  leave(bytes: number): void {
    this.makeRoom();
    writeFileSync(this.#ballast, '');
    for (let pieces = 0; pieces < 100; pieces++) {
      const tooMuch = this.freeBytes() - bytes;
      if (tooMuch <= 4096) return;
      const piece = pieces === 0 ? tooMuch : Math.max(4096, Math.floor(tooMuch / 8192) * 4096);
      try {
        run('fallocate', '-o', String(statSync(this.#ballast).size), '-l', String(piece), this.#ballast);
      } catch {
        if (piece === 4096) return;
      }
    }
  }

  makeRoom(): void {
    rmSync(this.#ballast, { force: true });
  }

  remount(): void {
    run('umount', this.mountpoint);
    // A mount namespace that was made meanwhile has a mount of its own, and would give the failed file system back.
    while (isHeld(this.device)) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 10);
    run('mount', this.device, this.mountpoint);
  }

  /** From now on the device ends at this offset: what lies behind it can be neither read nor written. */
  cutAt(offset: number): void {
    run('sync', '-f', this.mountpoint);
    truncateSync(this.file, offset);
    run('losetup', '-c', this.device);
    run('sh', '-c', 'echo 3 > /proc/sys/vm/drop_caches');
  }

  get #ballast(): string {
    return path.join(this.mountpoint, 'ballast');
  }
}

/** Whether a file system is on a device, in whichever mount namespace (open(2), O_EXCL). */
function isHeld(device: string): boolean {
  try {
    closeSync(openSync(device, constants.O_RDONLY | constants.O_EXCL));
    return false;
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'EBUSY') return true;
    throw cause;
  }
}

/** Where a file begins on its device. */
export function firstByteOf(file: string): number {
  const [, block] = /^\s*0:\s+0\.\.\s*\d+:\s+(\d+)\.\./m.exec(run('filefrag', '-v', '-b4096', file)) ?? [];
  if (block === undefined) throw new Error(`${file} has no blocks`);
  return Number(block) * 4096;
}

function digestOf(file: string): string {
  return createHash('sha256').update(readFileSync(file)).digest('hex');
}

/** A backup that has been given the first part of the source and waits. `goOn` lets it read the rest and end. */
export async function halfWay(place: Place): Promise<{ goOn(): ReturnType<Cli['run']> }> {
  const [reached, gate] = [path.join(place.dir, 'reached'), path.join(place.dir, 'gate')];
  run('mkfifo', reached, gate);
  const part = MIB;
  const command = `head -c ${part} ${place.source}; : > ${reached}; read go < ${gate}; tail -c +${part + 1} ${place.source}`;
  const args = ['backup', 'vm1', '--source', `exec:${command}`, '--size', String(IMAGE_BYTES), '--json'];
  const ended = place.cli.run(args);
  run('timeout', '60', 'cat', reached);
  return {
    goOn: () => {
      writeFileSync(gate, 'go\n');
      return ended;
    },
  };
}
