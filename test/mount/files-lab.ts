/** A lab for tests of `cairn files`: a repository, mount points, and the certainty that nothing is left. */
import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, vi } from 'vitest';
import { filesOf } from '../../src/mount/files/files-of.js';
import { viewPath } from '../../src/mount/files/files-record.js';
import type { FilesOptions, FilesResult } from '../../src/mount/files/mount-files.js';
import { unmountFiles } from '../../src/mount/files/unmount-files.js';
import { loopDevices } from '../../src/mount/session/loop-devices.js';
import { mountTable } from '../../src/mount/session/mount-table.js';
import { runDirectory, runPathFor } from '../../src/mount/session/run-directory.js';
import { openImage } from '../../src/native/index.js';
import { openRepository } from '../../src/repository/repository.js';
import { isMounted, MountLab } from './mount-lab.js';
import { backUp } from './real-store.js';

/** Called inside of `describe`; the function it gives is called inside of tests. */
export function useFilesLab(): () => FilesLab {
  let lab: FilesLab;
  beforeEach(async () => {
    lab = new FilesLab(await MountLab.make());
  });
  afterEach(async () => {
    vi.restoreAllMocks();
    await lab.close();
  });
  return () => lab;
}

export class FilesLab {
  readonly #revisions: string[] = [];
  readonly #mountpoints: string[];

  constructor(readonly lab: MountLab) {
    this.#mountpoints = [lab.mountpoint];
  }

  get repository(): string {
    return this.lab.repository;
  }

  get mountpoint(): string {
    return this.lab.mountpoint;
  }

  /** A path for an image. */
  get image(): string {
    return join(this.lab.directory, 'image');
  }

  async anotherMountpoint(name: string): Promise<string> {
    const path = join(this.lab.directory, name);
    await mkdir(path);
    this.#mountpoints.push(path);
    return path;
  }

  async backUp(source: string): Promise<string> {
    const revision = await backUp(this.repository, 'vm1', source);
    this.#revisions.push(revision);
    return revision;
  }

  async files(expression: string, options: Partial<FilesOptions> = {}): Promise<FilesResult> {
    const repository = await openRepository(this.repository);
    try {
      return (await filesOf(repository, expression, { mountpoint: this.mountpoint, ...options })).result;
    } finally {
      await repository.close();
    }
  }

  /** Digest of a whole image as the repository gives it back. */
  async digest(revision: string): Promise<string> {
    const image = await openImage(join(this.repository, 'disks/vm1'), revision);
    try {
      const content = Buffer.alloc(image.sizeBytes);
      await image.read(content, 0);
      return createHash('sha256').update(content).digest('hex');
    } finally {
      image.close();
    }
  }

  /** Loop devices and mounts of this lab, and files of its mount points in the run directory. Others of the
   *  machine come and go meanwhile. */
  async left(): Promise<string[]> {
    const views = await Promise.all(this.#mountpoints.map(viewPath));
    const sessions = await Promise.all(views.map((view) => runPathFor(view, 'mount', '')));
    const marks = [this.lab.directory, ...this.#revisions, ...[...views, ...sessions].map(digestOf)];
    const isOurs = (text: string) => marks.some((mark) => text.includes(mark));
    return [
      ...(await loopDevices()).map((found) => `${found.device} ${found.backingFile}`),
      ...(await mountTable()).map((found) => `${found.source} at ${found.mountPoint}`),
      ...(await readdir(await runDirectory())),
    ].filter(isOurs);
  }

  async expectNothingLeft(): Promise<void> {
    expect(await this.left()).toEqual([]);
  }

  /** Every file of the repository with a digest of its content. */
  async stored(): Promise<Record<string, string>> {
    const found: Record<string, string> = {};
    for (const entry of await readdir(this.repository, { recursive: true, withFileTypes: true })) {
      const path = join(entry.parentPath, entry.name);
      if (!entry.isFile() || path.includes('/catalog')) continue;
      found[path] = createHash('sha256')
        .update(await readFile(path))
        .digest('hex');
    }
    return found;
  }

  async close(): Promise<void> {
    for (const mountpoint of this.#mountpoints) {
      await unmountFiles(mountpoint).catch(() => {});
      if (await isMounted(mountpoint)) throw new Error(`${mountpoint} is still mounted`);
    }
    await this.lab[Symbol.asyncDispose]();
  }
}

function digestOf(path: string): string {
  return path.slice(path.lastIndexOf('-') + 1);
}
