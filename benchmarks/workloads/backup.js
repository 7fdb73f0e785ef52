/** Backups, each beside its limit: what the machine can do for that work with nothing else in the way. */
import { backup, CAIRN, change, dataOf, freshRepository } from '../lab.js';
import { has, inTurn, peakBytesOf, secondsOf } from '../measure.js';
import { rowsOf } from '../report.js';

const SECONDS = { unit: 's', better: 'lower' };

/** Full backup into an empty repository; the limit compresses the same data with the same codec on all cores. */
export async function full(lab, rounds) {
  const data = dataOf(lab);
  const last = {};
  const samples = await inTurn(rounds, {
    cairn: () => {
      freshRepository(lab);
      const { seconds, result } = backup(lab);
      last.result = result;
      return seconds;
    },
    zstd: has('zstd') && (() => secondsOf('sh', ['-c', `zstd -1 -T0 -q -c ${data.path} >/dev/null`]).seconds),
  });
  freshRepository(lab);
  const command = [CAIRN, '-r', lab.repository, 'backup', 'bench', '--source', lab.disk];
  const peakBytes = peakBytesOf(process.execPath, command);
  return rowsOf(['cairn'], samples, {
    name: 'full backup',
    ...SECONDS,
    limits: { zstd: { name: 'zstd -1 -T0 of the allocated bytes', target: 1.3 } },
    extra: { dataBytes: data.bytes, storedBytes: last.result.storedBytes, peakBytes },
  });
}

/** Backup of an unchanged disk; the limit hashes the allocated bytes on all cores. */
export async function unchanged(lab, rounds) {
  const data = dataOf(lab);
  freshRepository(lab);
  backup(lab);
  const last = {};
  const samples = await inTurn(rounds, {
    cairn: () => {
      const { seconds, result } = backup(lab);
      last.result = result;
      return seconds;
    },
    b3sum: hashing(data),
  });
  const { readBytes, storedBytes } = last.result;
  return rowsOf(['cairn'], samples, {
    name: 'backup, nothing changed',
    ...SECONDS,
    limits: HASHED,
    extra: { readBytes, storedBytes },
  });
}

/** Backup after one percent changed, all of the disk read; the limit is as before. */
export async function changed(lab, rounds) {
  const data = dataOf(lab);
  freshRepository(lab);
  backup(lab);
  const shares = [];
  const samples = await inTurn(rounds, {
    cairn: (round) => {
      change(lab, data.bytes, 0.01, round);
      const { seconds, result } = backup(lab);
      shares.push({ changedBytes: result.changedBytes, storedBytes: result.storedBytes });
      return seconds;
    },
    b3sum: hashing(data),
  });
  return rowsOf(['cairn'], samples, {
    name: 'backup, 1 % changed',
    ...SECONDS,
    limits: HASHED,
    extra: { dataBytes: data.bytes, shares },
  });
}

const HASHED = { b3sum: { name: 'b3sum of the allocated bytes', target: 1.5 } };

function hashing(data) {
  return has('b3sum') && (() => secondsOf('b3sum', [data.path]).seconds);
}
