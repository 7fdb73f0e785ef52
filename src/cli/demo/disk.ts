/** A server's disk as the demo makes it: GPT, an ESP, an ext4 root and an xfs volume, filled from this machine. */
import { statSync, truncateSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import type { Shell } from './shell.js';
import type { UndoStack } from './undo.js';

const MIB = 1024 * 1024;

export interface DemoPartition {
  readonly number: number;
  readonly name: string;
  readonly offsetBytes: number;
  readonly sizeBytes: number;
}

const ESP: DemoPartition = { number: 1, name: 'ESP', offsetBytes: MIB, sizeBytes: 64 * MIB };
export const ROOT: DemoPartition = { number: 2, name: 'root', offsetBytes: 65 * MIB, sizeBytes: 960 * MIB };
export const DATA: DemoPartition = {
  number: 3,
  name: 'data',
  offsetBytes: 1025 * MIB,
  sizeBytes: 512 * MIB,
};
/** Some of the disk belongs to nobody, as on real ones. */
const DISK_BYTES = 2048 * MIB;

/** Taken in this order while they fit. */
const ROOT_SOURCES = ['/usr/bin', '/usr/sbin', '/usr/lib/python3', '/usr/share/perl', '/usr/share/zoneinfo'];
const DATA_SOURCES = ['/usr/share/doc', '/usr/include', '/usr/share/man', '/usr/share/locale'];
const ROOT_FILL_BYTES_MAX = 400 * MIB;
const DATA_FILL_BYTES_MAX = 150 * MIB;

/** The file that the demo deletes and finds again in the older revision. */
export const LETTER = 'home/ada/letter.txt';
export const LETTER_TEXT = 'Dear Charles,\nplease keep this: there is no other copy.\nAda\n';

export class DemoDisk {
  readonly image: string;
  readonly #shell: Shell;
  readonly #undo: UndoStack;

  constructor(directory: string, shell: Shell, undo: UndoStack) {
    this.image = path.join(directory, 'server.img');
    this.#shell = shell;
    this.#undo = undo;
  }

  async partition(): Promise<void> {
    writeFileSync(this.image, '');
    truncateSync(this.image, DISK_BYTES);
    const line = ({ offsetBytes, sizeBytes, name }: DemoPartition, type: string) =>
      `start=${offsetBytes / 512}, size=${sizeBytes / 512}, type=${type}, name="${name}"`;
    const table = ['label: gpt', line(ESP, 'U'), line(ROOT, 'L'), line(DATA, 'L')].join('\n');
    await this.#shell.run('sfdisk', ['--quiet', this.image], { input: `${table}\n` });
    await this.#shell.run(
      'mkfs.vfat',
      ['-F', '16', '-n', 'ESP', `--offset=${ESP.offsetBytes / 512}`, this.image, '65536'],
      {
        hideOutput: true,
      },
    );
    const esp = `${this.image}@@${ESP.offsetBytes}`;
    await this.#shell.run('mmd', ['-i', esp, '::EFI', '::EFI/BOOT'], { silent: true });
    await this.#shell.run('mcopy', ['-i', esp, '/bin/sh', '::EFI/BOOT/BOOTX64.EFI'], { silent: true });
  }

  /** With root: file systems made and filled as anyone would, on loop devices. */
  async fillMounted(mountpoints: { root: string; data: string }): Promise<void> {
    const mkfs = (partition: DemoPartition) => (device: string) =>
      partition === ROOT
        ? // Nothing is left for the kernel to initialise later, so that the disk stands still when it is unmounted.
          this.#shell.run('mkfs.ext4', [
            '-q',
            '-L',
            'root',
            '-E',
            'lazy_itable_init=0,lazy_journal_init=0',
            device,
          ])
        : this.#shell.run('mkfs.xfs', ['-q', '-L', 'data', device]);
    await this.onLoop(ROOT, mkfs(ROOT));
    await this.onLoop(DATA, mkfs(DATA));
    await this.whileMounted(ROOT, mountpoints.root, async () => {
      await this.#shell.run('mkdir', ['-p', path.join(mountpoints.root, path.dirname(LETTER))], {
        silent: true,
      });
      writeFileSync(path.join(mountpoints.root, LETTER), LETTER_TEXT);
      await this.copyInto(mountpoints.root, ROOT_SOURCES, ROOT_FILL_BYTES_MAX);
    });
    await this.whileMounted(DATA, mountpoints.data, () =>
      this.copyInto(mountpoints.data, DATA_SOURCES, DATA_FILL_BYTES_MAX),
    );
  }

  /** Without root: mke2fs fills a file system from a directory; only ext4 knows how. */
  async fillFromDirectory(directory: string): Promise<void> {
    const tree = path.join(directory, 'tree');
    const image = path.join(directory, 'root.img');
    await this.#shell.run('mkdir', ['-p', path.join(tree, path.dirname(LETTER))], { silent: true });
    writeFileSync(path.join(tree, LETTER), LETTER_TEXT);
    await this.copyInto(tree, ROOT_SOURCES, ROOT_FILL_BYTES_MAX);
    await this.#shell.run('mkfs.ext4', ['-q', '-L', 'root', '-d', tree, image, `${ROOT.sizeBytes / MIB}M`]);
    const seek = `seek=${ROOT.offsetBytes / MIB}`;
    await this.#shell.run('dd', [`if=${image}`, `of=${this.image}`, 'bs=1M', seek, 'conv=notrunc,sparse'], {
      hideOutput: true,
    });
    await this.#shell.run('rm', ['-rf', tree, image], { silent: true });
  }

  /** The whole disk as a block device, until the demo ends. */
  async attach(): Promise<string> {
    return (await this.#loop(this.image, [])).device;
  }

  /** A loop device over any file, until the demo ends. */
  async attachFile(file: string): Promise<string> {
    return (await this.#loop(file, [])).device;
  }

  /** The partition as a block device while `work` runs: this kernel may not know partitions, so each is a window. */
  async onLoop<T>(partition: DemoPartition, work: (device: string) => Promise<T>): Promise<T> {
    const window = ['-o', String(partition.offsetBytes), '--sizelimit', String(partition.sizeBytes)];
    const { device, detach } = await this.#loop(this.image, window);
    try {
      return await work(device);
    } finally {
      await detach();
    }
  }

  async whileMounted<T>(partition: DemoPartition, mountpoint: string, work: () => Promise<T>): Promise<T> {
    return this.onLoop(partition, async (device) => {
      await this.#shell.run('mount', [device, mountpoint]);
      const unmount = this.#undo.push(`umount ${mountpoint}`, () => this.#shell.undo('umount', [mountpoint]));
      try {
        return await work();
      } finally {
        await unmount();
      }
    });
  }

  async copyInto(target: string, sources: readonly string[], bytesMax: number): Promise<void> {
    let leftBytes = bytesMax;
    for (const source of sources) {
      if (statSync(source, { throwIfNoEntry: false }) === undefined) continue;
      // Files that this user may not read are left out by both commands alike.
      const { stdout } = await this.#shell.run('du', ['-sb', source], { silent: true, accept: [0, 1] });
      const sizeBytes = Number.parseInt(stdout, 10);
      if (sizeBytes > leftBytes) continue;
      leftBytes -= sizeBytes;
      await this.#shell.run('cp', ['-a', source, target], { accept: [0, 1] });
    }
  }

  async #loop(
    file: string,
    options: readonly string[],
  ): Promise<{ device: string; detach: () => Promise<void> }> {
    const { stdout } = await this.#shell.run('losetup', ['-f', '--show', ...options, file]);
    const device = stdout.trim();
    const detach = this.#undo.push(`losetup -d ${device}`, () => this.#shell.undo('losetup', ['-d', device]));
    return { device, detach };
  }
}
