/** Backups of disks D and D′ by Cairn and its peers, beside what the machine can do. Whole processes, the source in
 *  the page cache, everything synced when the clock stops, an empty store or one that holds D alone. */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { dataOf, disksOf } from '../lab.js';
import { has, leaveOut } from '../measure.js';
import { peersThatRun } from '../peers/all.js';
import { cairn } from '../peers/cairn.js';
import { peerRow } from '../peers/rows.js';
import {
  emptyStore,
  failStore,
  keepStore,
  saveStore,
  shownImage,
  store,
  storeOfDisk,
  warm,
} from '../peers/stores.js';
import { inTurnWithin, timedDurably } from '../timed.js';

/** The whole of D into an empty store. */
export async function peersBackup(lab, rounds) {
  const image = shownImage(lab, disksOf(lab).disk);
  const data = dataOf({ ...lab, disk: image.path });
  const backups = [cairn, ...peersThatRun()].map((tool) => [
    tool.name,
    () => {
      try {
        const at = emptyStore(lab, tool);
        warm(image.path);
        const outcome = store(tool, at, image, 'first');
        keepStore(lab, tool, outcome);
        return outcome;
      } catch (error) {
        failStore(lab, tool, error);
        throw error;
      }
    },
  ]);
  const copy = join(lab.directory, 'copy.img');
  const copied = (words) => () => {
    rmSync(copy, { force: true });
    warm(image.path);
    return timedDurably({ words }, lab.directory);
  };
  const results = await inTurnWithin(rounds, {
    ...Object.fromEntries(backups),
    ...compressing(lab, data),
    cp: copied(['cp', '--sparse=always', image.path, copy]),
    dd: copied(['dd', `if=${image.path}`, `of=${copy}`, 'bs=1M', 'conv=sparse', 'status=none']),
    'qemu-img raw':
      has('qemu-img') && copied(['qemu-img', 'convert', '-O', 'raw', '-m', '16', '-W', image.path, copy]),
  });
  for (const path of [copy, data.path]) rmSync(path, { force: true });
  return [
    peerRow(results, {
      name: 'full backup of D',
      timesOursMin: 2,
      limits: {
        zstd: { name: 'zstd -1 on all cores, of the allocated bytes', target: 1.3 },
        cp: { name: 'cp --sparse=always' },
        dd: { name: 'dd conv=sparse' },
        'qemu-img raw': { name: 'qemu-img convert to raw' },
      },
      extra: { allocatedBytes: data.bytes },
    }),
  ];
}

/** D′ into a store that holds D, all of it read; and then the same again, nothing changed. */
export async function peersNext(lab, rounds) {
  const { disk, changed } = disksOf(lab);
  if (changed === null) {
    leaveOut('the next backup', 'the changed disk needs root');
    return [];
  }
  const tools = [cairn, ...peersThatRun()].filter(({ name, isFullEachTime }) => {
    if (isFullEachTime) leaveOut(name, 'its next backup is a full one');
    return !isFullEachTime;
  });
  const saved = savedStores(lab, tools, shownImage(lab, disk));
  const image = shownImage(lab, changed);
  const data = dataOf({ ...lab, disk: changed });
  const backups = Object.entries(saved).map(([name, { tool, at, reset }]) => [
    name,
    () => {
      reset();
      warm(at);
      warm(image.path);
      const next = store(tool, at, image, 'second');
      const again = store(tool, at, image, 'third');
      lab.tools.set(name, { ...lab.tools.get(name), second: next });
      return { ...next, again };
    },
  ]);
  const results = await inTurnWithin(rounds, { ...Object.fromEntries(backups), ...hashing(lab, data) });
  for (const { done } of Object.values(saved)) done();
  rmSync(data.path);
  const common = {
    timesOursMin: 5,
    limits: { b3sum: { name: 'b3sum of the allocated bytes', target: 1.5 } },
  };
  const extra = { allocatedBytes: data.bytes };
  return [
    peerRow(results, { ...common, name: 'next backup, D′ over D, all read', extra }),
    peerRow(results, {
      ...common,
      name: 'the same again, nothing changed, all read',
      samplesOf: ({ seconds, again }) => again?.seconds ?? seconds,
      extra,
    }),
  ];
}

/** A store of D for each tool that can make one. */
function savedStores(lab, tools, image) {
  const saved = {};
  for (const tool of tools) {
    try {
      saved[tool.name] = { tool, at: storeOfDisk(lab, tool, image), ...saveStore(lab, tool) };
    } catch (error) {
      leaveOut(tool.name, error.message);
    }
  }
  return saved;
}

function compressing(lab, { path }) {
  if (!has('zstd')) return {};
  const words = ['sh', '-c', 'zstd -1 -T0 -q -c "$0" >/dev/null', path];
  return { zstd: () => timedDurably({ words }, lab.directory) };
}

function hashing(lab, { path }) {
  if (!has('b3sum')) return {};
  return { b3sum: () => timedDurably({ words: ['b3sum', path] }, lab.directory) };
}
