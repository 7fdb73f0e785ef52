/** 1,000 revisions of a disk, each with 1 % of it written at random: what a backup takes at the beginning and at the end,
 *  what the map adds to what has changed, how many files there are, what mounting takes; then 900 of them are pruned,
 *  and their space is given back. Beside it a scrub of all that is stored, which reads as much as b3sum does. */
import { randomFillSync } from 'node:crypto';
import {
  closeSync,
  cpSync,
  mkdirSync,
  openSync,
  readdirSync,
  readSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { backup as takeRevision } from '../../dist/operations/backup.js';
import { openRepository } from '../../dist/repository/repository.js';
import { numbersFrom } from '../data/random.js';
import { CAIRN, freshRepository } from '../lab.js';
import { has, inTurn, peakBytesOf, peakBytesWithChildren, run, secondsOf } from '../measure.js';
import { unmount } from '../mounted.js';
import { rowsOf } from '../report.js';

const REVISIONS = Number(process.env.CAIRN_BENCH_REVISIONS ?? 1_000);
/** Nine of ten go. */
const KEPT = Math.ceil(REVISIONS / 10);
const DISK_BYTES = 256 * 2 ** 20;
const BLOCK_BYTES = 64 * 1024;
const BLOCKS = DISK_BYTES / BLOCK_BYTES;
/** Blocks that change from one revision to the next; three of four lie in a tenth of the disk. */
const CHANGES = Math.round(BLOCKS / 100);
/** Revisions at the beginning and at the end whose times are compared. */
const COMPARED = Math.min(50, Math.floor(REVISIONS / 4));
const TAG = 'hourly';
const SEGMENT_HEADER_BYTES = 64;
const RECORD_HEADER_BYTES = 64;
const SECONDS = { unit: 's', better: 'lower' };
const FILES_MAX = 5_000;
const MEMORY_MIB_MAX = 256;

export async function revisions(lab, rounds) {
  const repository = join(lab.directory, 'revisions-repository');
  const made = join(lab.directory, 'revisions-made');
  const backups = await makeRepository(lab, repository);
  const looked = await lookedAt(lab, repository, rounds);
  const pruned = await prunedMost(lab, repository, rounds);
  const collected = await collectedIn(repository, made, rounds);
  rmSync(made, { recursive: true });
  return [...backups, ...looked, ...pruned, ...collected];
}

/** Backups within this process: a thousand starts of Node would take longer than they do. */
async function makeRepository(lab, repository) {
  freshRepository(lab, repository);
  const disk = join(lab.directory, 'revisions.img');
  const below = numbersFrom(20261125);
  const fd = openSync(disk, 'w');
  for (let block = 0; block < BLOCKS; block += 1) writeBlock(fd, block);
  const opened = await openRepository(repository);
  const segments = join(repository, 'disks', 'bench', 'segments');
  const seconds = [];
  let first;
  for (let revision = 0; revision < REVISIONS; revision += 1) {
    const begun = performance.now();
    await takeRevision(opened, { disk: 'bench', source: disk, tags: [TAG] });
    seconds.push((performance.now() - begun) / 1000);
    first ??= recordsIn(segments);
    for (let change = 0; change < CHANGES; change += 1) {
      writeBlock(fd, below(change % 4 === 0 ? BLOCKS : Math.floor(BLOCKS / 10)));
    }
  }
  closeSync(fd);
  await opened.close();
  rmSync(disk);
  const all = recordsIn(segments);
  const changedBytes = (all.blocks - first.blocks) * BLOCK_BYTES;
  const files = readdirSync(repository, { recursive: true, withFileTypes: true }).filter((one) =>
    one.isFile(),
  );
  const row = (name, samples, others) =>
    rowsOf(['cairn'], { cairn: samples }, { better: 'lower', name, ...others });
  return [
    ...row(`backups 2 to ${COMPARED + 1} of ${REVISIONS}`, seconds.slice(1, COMPARED + 1), { unit: 's' }),
    ...row(`the last ${COMPARED} backups of ${REVISIONS}`, seconds.slice(-COMPARED), { unit: 's' }),
    ...row('map bytes for a changed byte', [(all.pageBytes - first.pageBytes) / changedBytes], {
      unit: 'B',
      note: `${all.pageBytes - first.pageBytes} bytes of map pages for ${changedBytes} changed ones`,
    }),
    ...row(`files after ${REVISIONS} revisions`, [files.length], { unit: 'files', target: FILES_MAX }),
  ];
}

/** What the records of all segments are, by their headers (docs/format.md, “Record”). */
function recordsIn(segments) {
  const sum = { blocks: 0, pageBytes: 0 };
  const header = Buffer.alloc(RECORD_HEADER_BYTES);
  for (const name of readdirSync(segments)) {
    const fd = openSync(join(segments, name), 'r');
    let at = SEGMENT_HEADER_BYTES;
    while (
      readSync(fd, header, 0, header.length, at) === header.length &&
      header.toString('latin1', 0, 4) === 'CRec'
    ) {
      const bytes = RECORD_HEADER_BYTES + header.readUInt32LE(20);
      if (header[4] === 2) sum.pageBytes += bytes;
      else sum.blocks += 1;
      at += bytes;
    }
    closeSync(fd);
  }
  return sum;
}

/** Half noise, half zeros, so that it shrinks by half. */
function writeBlock(fd, block) {
  const bytes = Buffer.alloc(BLOCK_BYTES);
  randomFillSync(bytes, 0, BLOCK_BYTES / 2);
  writeSync(fd, bytes, 0, BLOCK_BYTES, block * BLOCK_BYTES);
}

/** Listing, mounting, scrubbing. */
async function lookedAt(lab, repository, rounds) {
  const mountpoint = join(lab.directory, 'revisions-mount');
  mkdirSync(mountpoint, { recursive: true });
  const base = [CAIRN, '-r', repository];
  const peaks = [];
  const samples = await inTurn(rounds, {
    list: () => secondsOf(process.execPath, [...base, 'list']).seconds,
    mount: () => {
      const { seconds, stdout } = secondsOf(process.execPath, [...base, '--json', 'mount', mountpoint]);
      run('ls', ['-l', join(mountpoint, 'bench')]);
      peaks.push(peakBytesWithChildren(JSON.parse(stdout).pid) / 2 ** 20);
      unmount(mountpoint);
      return seconds;
    },
    cairn: () => secondsOf(process.execPath, [...base, '-q', 'scrub']).seconds,
    b3sum:
      has('b3sum') &&
      (() => secondsOf('sh', ['-c', `b3sum '${repository}'/disks/*/segments/* >/dev/null`]).seconds),
  });
  const row = (name, subject, others) =>
    rowsOf([subject], samples, { ...SECONDS, name, ...others }).map((one) => ({ ...one, name }));
  return [
    ...row(`list of ${REVISIONS} revisions`, 'list', { target: 1 }),
    ...row(`mount of ${REVISIONS} revisions ready`, 'mount', { target: 1 }),
    ...rowsOf(
      ['mount'],
      { mount: peaks },
      {
        name: `memory of the mount of ${REVISIONS} revisions`,
        unit: 'MiB',
        better: 'lower',
        target: MEMORY_MIB_MAX,
        note: 'after ls -l of the disk',
      },
    ),
    ...row(`scrub of ${REVISIONS} revisions`, 'cairn', {
      limits: { b3sum: { name: 'b3sum of the same files' } },
    }),
  ];
}

/** Removes all but `KEPT` revisions, and gives no space back. */
async function prunedMost(lab, repository, rounds) {
  const config = join(lab.directory, 'revisions.yaml');
  const schedule = `schedules: {often: {${TAG}: {every: 1s, keep: ${KEPT}}}}`;
  writeFileSync(config, `${schedule}\ndisks: {bench: {schedule: often}}\n`);
  const prune = [CAIRN, '-r', repository, '-c', config, '--json', 'prune'];
  const dry = await inTurn(rounds, {
    cairn: () => secondsOf(process.execPath, [...prune, '--dry-run']).seconds,
  });
  const { seconds, stdout } = secondsOf(process.execPath, [...prune, '--no-collect']);
  const { removed } = JSON.parse(stdout);
  return [
    ...rowsOf(['cairn'], dry, { ...SECONDS, name: `prune --dry-run of ${REVISIONS} revisions` }),
    ...rowsOf(
      ['cairn'],
      { cairn: [seconds] },
      {
        ...SECONDS,
        name: `prune of ${removed.length} of ${REVISIONS} revisions, without giving space back`,
      },
    ),
  ];
}

async function collectedIn(repository, made, rounds) {
  cpSync(repository, made, { recursive: true });
  const outcomes = [];
  const samples = await inTurn(rounds, {
    cairn: () => {
      rmSync(repository, { recursive: true });
      cpSync(made, repository, { recursive: true });
      run('sync', ['-f', repository]);
      const { seconds, stdout } = secondsOf(process.execPath, [CAIRN, '-r', repository, '--json', 'collect']);
      outcomes.push(JSON.parse(stdout).disks[0]);
      return seconds;
    },
  });
  rmSync(repository, { recursive: true });
  const peakBytes = peakBytesOf(process.execPath, [CAIRN, '-r', made, 'collect']);
  const { bytesDead, bytesBefore, bytesAfter, segmentsUnlinked, segmentsRewritten } = outcomes[0];
  return rowsOf(['cairn'], samples, {
    name: 'collect after that',
    ...SECONDS,
    note: `${bytesBefore - bytesAfter} bytes given back of ${bytesDead} dead ones`,
    extra: { bytesDead, bytesBefore, bytesAfter, segmentsUnlinked, segmentsRewritten, peakBytes },
  });
}
