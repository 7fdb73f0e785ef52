/** 100 disks with 1,000 revisions each: how long until the mount is there, how long its directories take to list,
 *  what memory it takes. The repository is forged (see forge.js): a hundred thousand backups would take a day. */
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { forge } from '../forge.js';
import { backup, CAIRN, freshRepository, makeDisk } from '../lab.js';
import { has, inTurn, leaveOut, peakBytesWithChildren, secondsOf } from '../measure.js';
import { unmount } from '../mounted.js';
import { rowsOf } from '../report.js';

const DISKS = 100;
const REVISIONS = 1_000;
const DISK_BYTES = 64 * 2 ** 20;
const LIST_SECONDS_MAX = 0.05;
const READY_SECONDS_MAX = 1;
const MEMORY_MIB_MAX = 256;
const NAME = `${DISKS} × ${REVISIONS} revisions`;

export async function scale(lab, rounds) {
  if (!has('b3sum')) {
    leaveOut('many revisions', 'making them needs b3sum');
    return [];
  }
  const repository = join(lab.directory, 'scale-repository');
  const newest = makeRepository(lab, repository);
  const mountpoint = join(lab.directory, 'scale');
  mkdirSync(mountpoint, { recursive: true });
  const directories = {
    'the root': '',
    'a disk': newest.disk,
    'by-date': join(newest.disk, 'by-date'),
    'a revision': join(newest.disk, newest.revision),
  };
  // The catalog is made by the first command that needs it; this is its time and no mount's.
  const firstSeconds = mountAndLook(repository, lab.engines[0], mountpoint, {}).readySeconds;
  const looked = await inTurn(
    rounds,
    Object.fromEntries(
      lab.engines.map((engine) => [engine, () => mountAndLook(repository, engine, mountpoint, directories)]),
    ),
  );
  rmSync(repository, { recursive: true });
  const row = (name, unit, target, figure, extra) =>
    rowsOf(lab.engines, figuresOf(looked, figure), {
      name: `${NAME}, ${name}`,
      unit,
      better: 'lower',
      target,
      ...extra,
    });
  return [
    ...row('mount ready', 's', READY_SECONDS_MAX, (one) => one.readySeconds, {
      note: `${firstSeconds.toFixed(1)} s when the catalog had to be made`,
      extra: { firstSeconds },
    }),
    ...Object.keys(directories).flatMap((name) => [
      ...row(`first ls of ${name}`, 's', LIST_SECONDS_MAX, (one) => one.listed[name].seconds),
      ...row(`then ls -l of ${name}`, 's', undefined, (one) => one.listed[name].longSeconds),
    ]),
    ...row('memory', 'MiB', MEMORY_MIB_MAX, (one) => one.memoryBytes / 2 ** 20, {
      note: 'session and server, the most that each has had',
    }),
  ];
}

function makeRepository(lab, repository) {
  const disk = join(lab.directory, 'small.img');
  makeDisk(disk, DISK_BYTES, new URL('..', import.meta.url).pathname);
  freshRepository(lab, repository);
  backup(lab, disk, repository);
  rmSync(disk);
  return forge(repository, DISKS, REVISIONS);
}

/** Mounts, lists each directory for the first time, asks for memory, unmounts. */
function mountAndLook(repository, engine, mountpoint, directories) {
  const words = [CAIRN, '-r', repository, '--json', 'mount', '--engine', engine, mountpoint];
  const { seconds: readySeconds, stdout } = secondsOf(process.execPath, words);
  try {
    const listed = Object.entries(directories).map(([name, path]) => {
      const directory = join(mountpoint, path);
      const { seconds } = secondsOf('ls', [directory]);
      return [name, { seconds, longSeconds: secondsOf('ls', ['-l', directory]).seconds }];
    });
    const memoryBytes = peakBytesWithChildren(JSON.parse(stdout).pid);
    return { readySeconds, listed: Object.fromEntries(listed), memoryBytes };
  } finally {
    unmount(mountpoint);
  }
}

function figuresOf(looked, figure) {
  return Object.fromEntries(Object.entries(looked).map(([engine, all]) => [engine, all.map(figure)]));
}
