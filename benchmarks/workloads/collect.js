/** 1,000 revisions of a disk, each with 1 % of it written at random, 900 of them removed: what giving their space back
 *  takes, and how much comes back of what was dead. Beside it a scrub of all that is stored, which reads as much as
 *  b3sum does. */
import { randomFillSync } from 'node:crypto';
import { closeSync, cpSync, openSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { backup as takeRevision } from '../../dist/operations/backup.js';
import { openRepository } from '../../dist/repository/repository.js';
import { numbersFrom } from '../data/random.js';
import { CAIRN, cairn, freshRepository } from '../lab.js';
import { has, inTurn, peakBytesOf, run, secondsOf } from '../measure.js';
import { rowsOf } from '../report.js';

const REVISIONS = 1_000;
const REMOVED = 900;
const DISK_BYTES = 512 * 2 ** 20;
const BLOCK_BYTES = 64 * 1024;
/** Blocks that change from one revision to the next; three of four lie in a tenth of the disk. */
const CHANGES = 64;
const SECONDS = { unit: 's', better: 'lower' };

export async function collect(lab, rounds) {
  const repository = join(lab.directory, 'collect-repository');
  const made = join(lab.directory, 'collect-made');
  await makeRepository(lab, repository);
  const scrubbed = await inTurn(rounds, {
    cairn: () => secondsOf(process.execPath, [CAIRN, '-r', repository, '-q', 'scrub']).seconds,
    b3sum:
      has('b3sum') &&
      (() => secondsOf('sh', ['-c', `b3sum '${repository}'/disks/*/segments/* >/dev/null`]).seconds),
  });
  const going = cairn(lab, ['list', 'bench'], repository).slice(0, REMOVED);
  cairn(lab, ['remove', ...going.map(({ disk, revision }) => `${disk}@${revision}`)], repository);
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
  rmSync(made, { recursive: true });
  const { bytesDead, bytesBefore, bytesAfter, segmentsUnlinked, segmentsRewritten } = outcomes[0];
  return [
    ...rowsOf(['cairn'], samples, {
      name: `collect after ${REMOVED} of ${REVISIONS} revisions were removed`,
      ...SECONDS,
      note: `${bytesBefore - bytesAfter} bytes given back of ${bytesDead} dead ones`,
      extra: { bytesDead, bytesBefore, bytesAfter, segmentsUnlinked, segmentsRewritten, peakBytes },
    }),
    ...rowsOf(['cairn'], scrubbed, {
      name: `scrub of ${REVISIONS} revisions`,
      ...SECONDS,
      limits: { b3sum: { name: 'b3sum of the same files' } },
    }),
  ];
}

/** Backups within this process: a thousand starts of Node would take longer than they do. */
async function makeRepository(lab, repository) {
  freshRepository(lab, repository);
  const disk = join(lab.directory, 'collect.img');
  const below = numbersFrom(20261125);
  const fd = openSync(disk, 'w');
  for (let block = 0; block < DISK_BYTES / BLOCK_BYTES; block += 1) writeBlock(fd, block);
  const opened = await openRepository(repository);
  for (let revision = 0; revision < REVISIONS; revision += 1) {
    await takeRevision(opened, { disk: 'bench', source: disk });
    for (let change = 0; change < CHANGES; change += 1) {
      const blocks = DISK_BYTES / BLOCK_BYTES;
      writeBlock(fd, below(change % 4 === 0 ? blocks : Math.floor(blocks / 10)));
    }
  }
  closeSync(fd);
  await opened.close();
  rmSync(disk);
}

/** Half noise, half zeros, so that it shrinks by half. */
function writeBlock(fd, block) {
  const bytes = Buffer.alloc(BLOCK_BYTES);
  randomFillSync(bytes, 0, BLOCK_BYTES / 2);
  writeSync(fd, bytes, 0, BLOCK_BYTES, block * BLOCK_BYTES);
}
