/** The chapters of the demo that make, change, back up and restore; each shows its commands and notes their cost. */
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { CairnError } from '../../base/errors.js';
import type { Stage } from './demo.js';
import { DATA, LETTER, ROOT } from './disk.js';

export const DISK = 'server';
const MIB = 1024 * 1024;

/** @returns what to back up: a block device, or an image file without root */
export async function makeDisk(stage: Stage): Promise<string> {
  const { disk, abilities, ledger, dir } = stage;
  stage.chapter('A disk like that of a server: GPT, an ESP, ext4 and xfs, real files from this machine');
  const startedMs = performance.now();
  await disk.partition();
  if (abilities.loop) {
    await disk.fillMounted({ root: path.join(dir, 'root'), data: path.join(dir, 'data') });
  } else {
    await disk.fillFromDirectory(dir);
    ledger.skip('the xfs file system on the disk', abilities.loopMissing);
    ledger.skip('reading the disk as a block device', abilities.loopMissing);
  }
  const source = abilities.loop ? await disk.attach() : disk.image;
  ledger.add('make the disk (nothing of Cairn yet)', performance.now() - startedMs);
  return source;
}

/** Takes a revision and notes what it cost.
 *  @returns its expression, `server@<id>` */
export async function takeRevision(stage: Stage, source: string, step: string): Promise<string> {
  stage.chapter(`${step.charAt(0).toUpperCase()}${step.slice(1)}`);
  const { durationMs } = await stage.shell.cairn(['backup', DISK, '--source', source]);
  const { revision, storedBytes } = await newest(stage);
  stage.ledger.add(step, durationMs, storedBytes);
  return `${DISK}@${revision}`;
}

interface ListedRevision {
  readonly revision: string;
  readonly storedBytes: number;
}

async function newest(stage: Stage): Promise<ListedRevision> {
  const { stdout } = await stage.shell.cairn(['list', DISK, '--json'], { silent: true });
  const row = (JSON.parse(stdout) as ListedRevision[]).at(-1);
  if (row === undefined)
    throw new CairnError('INTERNAL', 'The backup that was just made is not in the listing.');
  return row;
}

/** Changes the disk as a day of work would: a package comes, logs grow, a file goes, freed space is discarded.
 *  @returns a copy of the disk as it was before */
export async function changeDisk(stage: Stage): Promise<string> {
  const { disk, abilities, shell, dir } = stage;
  stage.chapter('A day later: new files, a deleted letter, freed space discarded');
  const before = path.join(dir, 'before.img');
  await shell.run('cp', ['--sparse=always', disk.image, before]);
  if (abilities.loop) {
    const root = path.join(dir, 'root');
    await disk.whileMounted(ROOT, root, async () => {
      await shell.run('rm', [path.join(root, LETTER)]);
      await shell.run('rm', ['-rf', path.join(root, 'perl')]);
      await shell.run('cp', ['-a', '/usr/lib/os-release', path.join(root, 'home/ada/')]);
      writeFileSync(path.join(root, 'home/ada/log.txt'), 'a line of a log\n'.repeat(MIB / 16));
      await shell.run('fstrim', ['-v', root]);
    });
    const data = path.join(dir, 'data');
    await disk.whileMounted(DATA, data, () => shell.run('cp', ['-a', '/usr/share/common-licenses', data]));
  } else {
    const file = path.join(dir, 'log.txt');
    writeFileSync(file, 'a line of a log\n'.repeat(MIB / 16));
    const image = `${disk.image}?offset=${ROOT.offsetBytes}`;
    await shell.run('debugfs', ['-w', '-R', `rm /${LETTER}`, image], { hideOutput: true });
    await shell.run('debugfs', ['-w', '-R', `write ${file} /home/ada/log.txt`, image], { hideOutput: true });
    stage.ledger.skip('discarding freed space', abilities.loopMissing);
  }
  return before;
}

/** Restores the older revision to a file and, with root, the newest to a block device. */
export async function restoreDisk(
  stage: Stage,
  { first, before }: { first: string; before: string },
): Promise<void> {
  const { shell, ledger, abilities, disk, dir } = stage;
  stage.chapter('Restoring: the older revision to a file, the newest to a device');
  const file = path.join(dir, 'restored.img');
  const toFile = await shell.cairn(['restore', first, file]);
  ledger.add('restore to a file', toFile.durationMs);
  await shell.run('cmp', [file, before]);
  stage.say('identical');
  if (!abilities.loop) {
    ledger.skip('restoring to a block device', abilities.loopMissing);
    return;
  }
  const blank = path.join(dir, 'blank.img');
  await shell.run('truncate', ['-r', disk.image, blank]);
  const device = await disk.attachFile(blank);
  const toDevice = await shell.cairn(['restore', `${DISK}@latest`, device]);
  ledger.add('restore to a block device', toDevice.durationMs);
  await shell.run('cmp', [device, disk.image]);
  stage.say('identical');
}

/** The catalog is a cache: without it, everything is found again. */
export async function compareAgain(stage: Stage): Promise<void> {
  const { shell, ledger, dir } = stage;
  stage.chapter('The catalog is lost, and made again from what the repository itself holds');
  const listing = ['list', '--json'];
  const before = await shell.cairn(listing, { silent: true });
  await shell.run('rm', ['-rf', path.join(dir, 'repository/catalog')]);
  const { durationMs } = await shell.cairn(['catalog', 'rebuild']);
  ledger.add('rebuild the catalog', durationMs);
  const after = await shell.cairn(listing, { silent: true });
  if (after.stdout !== before.stdout) {
    throw new CairnError('CORRUPT', 'The listing differs after the catalog was rebuilt.');
  }
  await shell.cairn(['list']);
}
