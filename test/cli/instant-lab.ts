/** A repository with a disk from which machines are to run at once, and the mounts of it. */
import { mkdirSync } from 'node:fs';
import path from 'node:path';
import { onTestFinished } from 'vitest';
import { signalProcess } from '../../src/base/process-identity.js';
import { readRecord } from '../../src/mount/session/session-record.js';
import { isMounted, until } from '../mount/mount-lab.js';
import type { Cli } from './cli-lab.js';

export interface InstantLab {
  /** `vm1@<id>` */
  readonly name: string;
  /** An empty directory; whatever is mounted there is gone when the test is over. */
  readonly mountpoint: string;
  /** Where an overlay is to be made. */
  readonly overlay: string;
  /** Where the revision's image is in a mount at `mountpoint`. */
  readonly image: string;
}

/** Takes a revision of `disk` as that of vm1. */
export async function instantLab(cli: Cli, disk: string): Promise<InstantLab> {
  const { revision } = await cli.backup('vm1', disk);
  const mountpoint = path.join(cli.dir, 'mount');
  mkdirSync(mountpoint);
  onTestFinished(async () => {
    await cli.run(['umount', '--lazy', mountpoint]);
  });
  const image = path.join(mountpoint, 'vm1', revision, 'disk.img');
  return { name: `vm1@${revision}`, mountpoint, overlay: path.join(cli.dir, 'vm1.qcow2'), image };
}

/** Kills what serves a mount, and waits until it is out of the way. */
export async function loseMount(mountpoint: string): Promise<void> {
  const record = await readRecord(mountpoint);
  if (record === null) throw new Error(`no session is recorded for ${mountpoint}`);
  signalProcess(record.server, 'SIGKILL');
  await until(async () => !(await isMounted(mountpoint)));
}
