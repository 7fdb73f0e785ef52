/** Huge images with little in them: 1 TiB with 1 GiB of data, and 8 TiB with none. Nothing may cost what the size is. */
import { spawnSync } from 'node:child_process';
import { rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { backup, CAIRN, dataOf, freshRepository } from '../lab.js';
import { inTurn, secondsOf } from '../measure.js';
import { withEngines } from '../mounted.js';
import { rowsOf } from '../report.js';
import { DATA_BYTES, makeEmpty, spread, TIB } from '../sparse-images.js';

/** An engine that does not tell holes lets cp read every zero, which would take hours. */
const COPY_SECONDS_MAX = 20;
/** What timeout(1) takes for no limit. */
const UNLIMITED = 0;
/** The exit status of timeout(1) for what it has stopped. */
const TIMED_OUT = 124;
const SECONDS = { unit: 's', better: 'lower' };

export async function sparse(lab, rounds) {
  const files = {
    dense: dataOf(lab, DATA_BYTES).path,
    huge: join(lab.directory, 'huge.img'),
    empty: join(lab.directory, 'empty.img'),
    copy: join(lab.directory, 'copy.img'),
  };
  spread(files.dense, files.huge);
  makeEmpty(files.empty, 8 * TIB);
  const repository = join(lab.directory, 'sparse-repository');
  const rows = [
    ...(await copies(lab, rounds, repository, files.copy, {
      source: files.huge,
      name: '1 TiB with 1 GiB',
      timesMax: 2,
    })),
    ...(await backups(rounds, lab, repository, files)),
    ...(await copies(lab, rounds, repository, files.copy, {
      source: files.empty,
      name: '8 TiB empty',
      targetSeconds: 1,
    })),
    ...(await empties(rounds, lab, repository, files)),
  ];
  for (const path of [...Object.values(files), repository]) rmSync(path, { recursive: true, force: true });
  return rows;
}

/** cp out of the mount in both manners, beside cp of the source. */
async function copies(lab, rounds, repository, copy, image) {
  const { source } = image;
  freshRepository(lab, repository);
  const { revision } = backup(lab, source, repository).result;
  const measure = async (mounts) => {
    const rows = [];
    for (const sparseness of ['auto', 'always']) {
      const paths = Object.entries(mounts).map(([engine, at]) => [
        engine,
        join(at, 'bench', revision, 'disk.img'),
      ]);
      const all = Object.fromEntries([...paths, ['cp', source]]);
      rows.push(...(await copiesInTurn(lab, rounds, all, copy, sparseness, image)));
    }
    return rows;
  };
  return await withEngines(lab, measure, repository);
}

async function copiesInTurn(lab, rounds, paths, copy, sparseness, { name, timesMax, targetSeconds }) {
  const allocated = {};
  const stopped = new Set();
  const timed = (who, path) => () => {
    // Once is enough: the next time it would not end either.
    if (stopped.has(who)) return COPY_SECONDS_MAX;
    const secondsMax = who === 'cp' ? UNLIMITED : COPY_SECONDS_MAX;
    const { seconds, isStopped } = copied(path, copy, sparseness, secondsMax);
    if (isStopped) stopped.add(who);
    allocated[who] = allocatedBytes(copy);
    rmSync(copy);
    return seconds;
  };
  const subjects = Object.entries(paths).map(([who, path]) => [who, timed(who, path)]);
  const samples = await inTurn(rounds, Object.fromEntries(subjects));
  const engines = lab.engines.filter((engine) => samples[engine] !== undefined);
  return engines.flatMap((engine) =>
    rowsOf([engine], samples, {
      name: `${name}, cp --sparse=${sparseness}`,
      ...SECONDS,
      target: targetSeconds,
      limits: { cp: { name: 'cp of the source', target: timesMax } },
      note: stopped.has(engine)
        ? 'stopped before its end'
        : `copy takes ${inMib(allocated[engine])}, that of the source ${inMib(allocated.cp)}`,
      isStopped: stopped.has(engine),
      extra: {
        allocatedBytes: allocated[engine],
        ofSourceBytes: allocated.cp,
      },
    }),
  );
}

/** Restore of the huge image, which is what the repository holds, beside cp of the source; then its backup, beside
 *  that of a dense file with the same data. */
async function backups(rounds, lab, repository, { dense, huge, copy }) {
  const both = await inTurn(rounds, {
    cairn: () => restored(repository, copy),
    cp: () => {
      const { seconds } = copied(huge, copy, 'auto', UNLIMITED);
      rmSync(copy);
      return seconds;
    },
  });
  const taken = (source) => () => {
    freshRepository(lab, repository);
    return backup(lab, source, repository).seconds;
  };
  return [
    ...rowsOf(['cairn'], both, {
      name: '1 TiB with 1 GiB, restore',
      ...SECONDS,
      limits: { cp: { name: 'cp of the source', target: 2 } },
    }),
    ...rowsOf(['cairn'], await inTurn(rounds, { dense: taken(dense), cairn: taken(huge) }), {
      name: '1 TiB with 1 GiB, full backup',
      ...SECONDS,
      limits: { dense: { name: 'full backup of 1 GiB', target: 2 } },
    }),
  ];
}

/** Backup and restore of nothing at all; whole processes. */
async function empties(rounds, lab, repository, { empty, copy }) {
  const samples = await inTurn(rounds, {
    backup: () => {
      freshRepository(lab, repository);
      return backup(lab, empty, repository).seconds;
    },
    restore: () => restored(repository, copy),
  });
  return rowsOf(['backup', 'restore'], samples, { name: '8 TiB empty', ...SECONDS, target: 1 });
}

function restored(repository, copy) {
  const words = [CAIRN, '-r', repository, 'restore', 'bench@latest', copy];
  const { seconds } = secondsOf(process.execPath, words);
  rmSync(copy);
  return seconds;
}

/** Seconds of cp, which is stopped after `secondsMax`. */
function copied(source, target, sparseness, secondsMax) {
  const begun = process.hrtime.bigint();
  const words = [String(secondsMax), 'cp', `--sparse=${sparseness}`, source, target];
  const { status, stderr } = spawnSync('timeout', words, { encoding: 'utf8' });
  const seconds = Number(process.hrtime.bigint() - begun) / 1e9;
  if (status !== 0 && status !== TIMED_OUT) throw new Error(`cp ${source}: ${stderr}`);
  return { seconds, isStopped: status === TIMED_OUT };
}

function allocatedBytes(path) {
  return statSync(path).blocks * 512;
}

function inMib(bytes) {
  return `${Math.round(bytes / 2 ** 20)} MiB`;
}
