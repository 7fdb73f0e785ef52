/** Restores of D by Cairn and its peers, to a new file and to a blank loop device, beside copying the raw image there.
 *  What is read is in the page cache; everything is synced when the clock stops; the result is compared once. */
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { disksOf } from '../lab.js';
import { leaveOut, run } from '../measure.js';
import { peersThatRun } from '../peers/all.js';
import { cairn } from '../peers/cairn.js';
import { peerRow } from '../peers/rows.js';
import { shownImage, storeOfDisk, warm } from '../peers/stores.js';
import { inTurnWithin, timedDurably } from '../timed.js';

export async function peersRestore(lab, rounds) {
  const image = shownImage(lab, disksOf(lab).disk);
  const rows = [await toFile(lab, rounds, image)];
  if (process.geteuid?.() === 0) rows.push(await toDevice(lab, rounds, image));
  else leaveOut('restoring to a loop device', 'it needs root');
  return rows;
}

async function toFile(lab, rounds, image) {
  const directory = join(lab.directory, 'restored');
  const path = join(directory, image.name);
  const restore = (tool, at) => {
    rmSync(directory, { recursive: true, force: true });
    mkdirSync(directory);
    return timedDurably(tool.restoreToFile(at, 'first', directory, image), lab.directory);
  };
  const results = await inTurnWithin(rounds, {
    ...restoring(lab, image, path, 'restoreToFile', restore),
    cp: () => {
      rmSync(directory, { recursive: true, force: true });
      mkdirSync(directory);
      warm(image.path);
      return timedDurably({ words: ['cp', '--sparse=always', image.path, path] }, lab.directory);
    },
  });
  rmSync(directory, { recursive: true, force: true });
  return peerRow(results, {
    name: 'restore of D to a file',
    limits: { cp: { name: 'cp --sparse=always of the raw image', target: 1.2 } },
  });
}

async function toDevice(lab, rounds, image) {
  const backing = join(lab.directory, 'restored-device.img');
  run('truncate', ['-s', String(lab.sizeBytes), backing]);
  const device = run('losetup', ['--find', '--show', backing]).trim();
  const onto = (command) => {
    run('sh', ['-c', 'blkdiscard -f "$0" && blockdev --flushbufs "$0"', device]);
    return timedDurably(command.to === undefined ? command : piped(command), lab.directory);
  };
  const restore = (tool, at) => onto(tool.restoreToDevice(at, 'first', image, device));
  const results = await inTurnWithin(rounds, {
    ...restoring(lab, image, device, 'restoreToDevice', restore),
    dd: () => {
      warm(image.path);
      return onto({ words: ['dd', `if=${image.path}`, `of=${device}`, ...DD] });
    },
  });
  run('losetup', ['-d', device]);
  rmSync(backing);
  return peerRow(results, {
    name: 'restore of D to a blank loop device',
    limits: { dd: { name: 'dd conv=sparse,fsync of the raw image', target: 1.2 } },
  });
}

const DD = ['bs=1M', 'conv=sparse,fsync,notrunc', 'status=none'];

/** A tool that only writes to its standard output has dd put that on the device. */
function piped({ to, words, ...command }) {
  const script = `set -o pipefail; "$@" | dd of="$0" iflag=fullblock ${DD.join(' ')}`;
  return { ...command, words: ['bash', '-c', script, to, ...words] };
}

/** Tools that have `method` and a store to restore from. What the first round wrote is compared with the image. */
function restoring(lab, image, target, method, restore) {
  const able = [cairn, ...peersThatRun()].filter((tool) => {
    if (tool[method] === undefined) leaveOut(tool.name, `it has no ${method}`);
    return tool[method] !== undefined;
  });
  const subjects = able.map((tool) => [
    tool.name,
    (round) => {
      const at = storeOfDisk(lab, tool, image);
      warm(at);
      const outcome = restore(tool, at);
      if (round === 0) run('cmp', [image.path, target]);
      return outcome;
    },
  ]);
  return Object.fromEntries(subjects);
}
