/** Restores to a file and to block devices, beside what copies the raw image there; differential ones beside reading the
 *  target once; and those of huge images with little in them. Both sides have synced when they end, and begin with what
 *  they read in the page cache and a target that holds nothing, or nothing in the cache. */
import { spawnSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { addZram, backedUp, backup, CAIRN, change, dataOf, freshRepository } from '../lab.js';
import { dropPagesOf, inTurn, leaveOut, peakBytesOf, run, secondsOf } from '../measure.js';
import { warmStore } from '../mounted.js';
import { rowsOf } from '../report.js';
import { DATA_BYTES, makeEmpty, spread, TIB } from '../sparse-images.js';

const SECONDS = { unit: 's', better: 'lower' };
const SHARE = 0.01;

/** The whole disk to a new file and to blank devices. */
export async function restoreFull(lab, rounds) {
  backedUp(lab);
  const rows = [];
  for (const target of targetsOf(lab)) {
    const { last, samples } = await copiesInTurn(lab, rounds, target);
    target.blank();
    const peakBytes = peakBytesOf(process.execPath, wordsOf(lab, target.path));
    requireSame(lab, target.path);
    rows.push(
      ...rowsOf(['cairn'], samples, {
        name: `restore to ${target.name}`,
        ...SECONDS,
        limits: {
          cp: { name: 'cp --sparse=always, sync', target: 1.2 },
          sparse: { name: 'dd conv=sparse,fsync onto a blank target', target: 1.2 },
          dd: { name: 'dd conv=fsync, zeros and all', target: 1.2 },
        },
        extra: { ...last, peakBytes },
      }),
    );
    target.blank();
  }
  return rows;
}

/** One percent of the target was written since; the limit reads the target once. */
export async function restoreDifferential(lab, rounds) {
  backedUp(lab);
  const { path: dataPath, bytes: dataBytes } = dataOf(lab);
  rmSync(dataPath);
  const rows = [];
  for (const target of targetsOf(lab)) {
    target.blank();
    run(process.execPath, wordsOf(lab, target.path));
    const last = {};
    const samples = await inTurn(rounds, {
      cairn: (round) => {
        change({ ...lab, disk: target.path }, dataBytes, SHARE, round);
        const words = wordsOf(lab, target.path, '--differential', '--overwrite', ...target.code());
        forget(lab, target.path);
        const { seconds, stdout } = secondsOf(process.execPath, words);
        Object.assign(last, JSON.parse(stdout));
        return seconds;
      },
      read: () => {
        forget(lab, target.path);
        return secondsOf('sh', ['-c', 'cat "$0" >/dev/null', target.path]).seconds;
      },
    });
    requireSame(lab, target.path);
    rows.push(
      ...rowsOf(['cairn'], samples, {
        name: `differential restore of 1 % to ${target.name}`,
        ...SECONDS,
        limits: { read: { name: 'cat of the target, its pages dropped', target: 1.2 } },
        extra: { ...countersOf(last), changedBytes: Math.round(dataBytes * SHARE) },
      }),
    );
    target.blank();
  }
  return rows;
}

/** What the size is must not be felt: 1 TiB with 1 GiB of data beside the same data in a dense file, and 8 TiB of
 *  nothing. */
export async function restoreSparse(lab, rounds) {
  const files = Object.fromEntries(
    ['huge', 'empty', 'copy', 'repository'].map((name) => [name, join(lab.directory, `sparse-${name}`)]),
  );
  const dense = dataOf(lab, DATA_BYTES).path;
  spread(dense, files.huge);
  makeEmpty(files.empty, 8 * TIB);
  const at = { ...lab, repository: files.repository };
  const restored = () => {
    const { seconds } = secondsOf(process.execPath, wordsOf(at, files.copy));
    rmSync(files.copy);
    return seconds;
  };
  const copied = () => {
    const { seconds } = secondsOf('sh', ['-c', COPY, files.huge, files.copy]);
    rmSync(files.copy);
    return seconds;
  };
  const of = async (source, subjects) => {
    freshRepository(lab, at.repository);
    backup(lab, source, at.repository);
    return await inTurn(rounds, subjects);
  };
  const denseSamples = await of(dense, { dense: restored });
  const hugeSamples = await of(files.huge, { cairn: restored, cp: copied });
  const emptySamples = await of(files.empty, { cairn: restored });
  for (const path of [...Object.values(files), dense]) rmSync(path, { recursive: true, force: true });
  return [
    ...rowsOf(
      ['cairn'],
      { ...hugeSamples, ...denseSamples },
      {
        name: 'restore of 1 TiB with 1 GiB of data to a file',
        ...SECONDS,
        limits: {
          dense: { name: 'restore of the same data without holes', target: 2 },
          cp: { name: 'cp --sparse=auto of the source, sync' },
        },
      },
    ),
    ...rowsOf(['cairn'], emptySamples, {
      name: 'restore of 8 TiB empty to a file',
      ...SECONDS,
      target: 1,
    }),
  ];
}

/** Looks at every byte only where the source has data: 1 TiB of zeros would take hours. */
const COPY = 'cp --sparse=auto "$0" "$1" && sync "$1"';

async function copiesInTurn(lab, rounds, target) {
  const last = {};
  const timed = (command, words) => () => {
    target.blank();
    warmStore(lab);
    run('sh', ['-c', 'cat "$0" >/dev/null; sync', lab.disk]);
    return secondsOf(command, words);
  };
  const ours = timed(process.execPath, wordsOf(lab, target.path));
  const dd = (conversion) =>
    timed('dd', [`if=${lab.disk}`, `of=${target.path}`, 'bs=1M', `conv=${conversion}`, 'status=none']);
  const copy = timed('sh', ['-c', 'cp --sparse=always "$0" "$1" && sync "$1"', lab.disk, target.path]);
  const subjects = {
    cp: target.isDevice ? null : copy,
    sparse: dd('sparse,fsync,notrunc'),
    // Where the medium is the machine's own disk, writing all zeros to it takes minutes and measures only that.
    dd: target.isInMemory ? dd('fsync,notrunc') : null,
  };
  const seconds = Object.entries(subjects)
    .filter(([, run]) => run !== null)
    .map(([name, run]) => [name, () => run().seconds]);
  const samples = await inTurn(rounds, {
    cairn: () => {
      const { seconds: took, stdout } = ours();
      Object.assign(last, countersOf(JSON.parse(stdout)));
      return took;
    },
    ...Object.fromEntries(seconds),
  });
  return { last, samples };
}

function wordsOf(lab, target, ...options) {
  return [CAIRN, '-r', lab.repository, '--json', 'restore', 'bench@latest', target, ...options];
}

function countersOf({ writtenBytes, skippedBytes, discardedBytes, comparedBytes }) {
  return { writtenBytes, skippedBytes, discardedBytes, comparedBytes };
}

/** A file, and where devices can be made one in memory and a loop device over a file. */
function targetsOf(lab) {
  const path = join(lab.directory, 'restored.img');
  const file = {
    name: 'a file',
    path,
    isDevice: false,
    blank: () => rmSync(path, { force: true }),
    code: () => [],
  };
  if (process.geteuid?.() !== 0) {
    leaveOut('restoring to devices', 'they need root');
    return [file];
  }
  const zram = addZram(lab, lab.sizeBytes);
  if (zram === null) leaveOut('a zram device', 'none can be made here');
  return [
    file,
    ...(zram === null ? [] : [{ ...deviceOf(lab, 'a zram device', zram), isInMemory: true }]),
    deviceOf(lab, 'a loop device', loopDevice(lab)),
  ];
}

function deviceOf(lab, name, path) {
  return {
    name,
    path,
    isDevice: true,
    blank: () => run('sh', ['-c', 'blkdiscard -f "$0" && blockdev --flushbufs "$0"', path]),
    code: () => ['--expect', codeOf(lab, path)],
  };
}

function loopDevice(lab) {
  const backing = join(lab.directory, 'restored-loop.img');
  run('truncate', ['-s', String(lab.sizeBytes), backing]);
  return run('losetup', ['--find', '--show', backing]).trim();
}

/** What a refusal asks for, which tells that somebody looked at what is there. */
function codeOf(lab, device) {
  const { stdout } = spawnSync(process.execPath, wordsOf(lab, device), { encoding: 'utf8' });
  const code = /--expect (\S+?)(?:["”.]|$)/.exec(JSON.parse(stdout).error?.hint ?? '')?.[1];
  if (code === undefined) throw new Error(`no code for ${device}: ${stdout}`);
  return code;
}

/** The target comes from its medium, and what the repository holds is at hand. */
function forget(lab, target) {
  run('sh', ['-c', 'sync "$0"; sync', target]);
  dropPagesOf(target);
  warmStore(lab);
}

function requireSame(lab, target) {
  run('cmp', [lab.disk, target]);
}
