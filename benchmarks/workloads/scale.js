/** 100 disks with 1,000 revisions each: how long until the mount is there, how long its directories take to list, how
 *  long commands take that look at all revisions, and what memory each of them takes. The repository is forged (see
 *  forge.js): a hundred thousand backups would take a day. */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { diskName, forge } from '../forge.js';
import { CAIRN, cairn, freshRepository, makeDisk } from '../lab.js';
import { has, inTurn, leaveOut, peakBytesOf, peakBytesWithChildren, secondsOf } from '../measure.js';
import { unmount } from '../mounted.js';
import { rowsOf } from '../report.js';

const DISKS = Number(process.env.CAIRN_BENCH_DISKS ?? 100);
const REVISIONS = 1_000;
const DISK_BYTES = 64 * 2 ** 20;
const LIST_SECONDS_MAX = 0.05;
const READY_SECONDS_MAX = 1;
const MEMORY_MIB_MAX = 256;
/** Commands that look at every revision, with the seconds that each may take. */
const COMMANDS = [
  { words: ['list'], secondsMax: 1 },
  { words: ['prune', '--dry-run'], secondsMax: 5 },
];
const TAG = 'hourly';
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
  const { seconds: firstSeconds } = secondsOf(process.execPath, [CAIRN, '-r', repository, 'list']);
  const looked = await inTurn(
    rounds,
    Object.fromEntries(
      lab.engines.map((engine) => [engine, () => mountAndLook(repository, engine, mountpoint, directories)]),
    ),
  );
  const commands = await commandRows(repository, configuration(lab), rounds);
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
      note: `the first command, which made the catalog, took ${firstSeconds.toFixed(1)} s`,
      extra: { firstSeconds },
    }),
    ...Object.keys(directories).flatMap((name) => [
      ...row(`first ls of ${name}`, 's', LIST_SECONDS_MAX, (one) => one.listed[name].seconds),
      ...row(`then ls -l of ${name}`, 's', undefined, (one) => one.listed[name].longSeconds),
    ]),
    ...row('memory of the mount', 'MiB', MEMORY_MIB_MAX, (one) => one.memoryBytes / 2 ** 20, {
      note: 'session and server, the most that each has had',
    }),
    ...commands,
  ];
}

/** Seconds and memory of each command as a whole process. */
async function commandRows(repository, config, rounds) {
  const rows = [];
  for (const { words, secondsMax } of COMMANDS) {
    const args = [CAIRN, '-r', repository, '-c', config, ...words];
    const samples = await inTurn(rounds, { cairn: () => secondsOf(process.execPath, args).seconds });
    const memory = await inTurn(rounds, { cairn: () => peakBytesOf(process.execPath, args) / 2 ** 20 });
    const about = { better: 'lower', name: `${NAME}, cairn ${words.join(' ')}` };
    rows.push(
      ...rowsOf(['cairn'], samples, { ...about, unit: 's', target: secondsMax }),
      ...rowsOf(['cairn'], memory, {
        ...about,
        name: `${about.name}, memory`,
        unit: 'MiB',
        target: MEMORY_MIB_MAX,
      }),
    );
  }
  return rows;
}

/** Every disk has a schedule, of which most revisions are too many. */
function configuration(lab) {
  const file = join(lab.directory, 'scale.yaml');
  const disks = Array.from({ length: DISKS }, (_, index) => `  ${diskName(index)}: {schedule: servers}`);
  const schedules = `schedules:\n  servers: {${TAG}: {every: 1h, keep: 24}}`;
  writeFileSync(file, `${schedules}\ndisks:\n${disks.join('\n')}\n`);
  return file;
}

function makeRepository(lab, repository) {
  const disk = join(lab.directory, 'small.img');
  makeDisk(disk, DISK_BYTES, new URL('.', import.meta.url).pathname);
  freshRepository(lab, repository);
  cairn(lab, ['backup', 'bench', '--source', disk, '--tag', TAG], repository);
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
