/** The chapter in which every revision is a file: listing, comparing, and getting one deleted file back. */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { CairnError } from '../../base/errors.js';
import { isRevisionId } from '../../base/ids.js';
import type { Stage } from './demo.js';
import { LETTER, LETTER_TEXT, ROOT } from './disk.js';
import { DISK } from './story.js';
import { treePicture } from './tree.js';

export interface Revisions {
  readonly first: string;
  readonly second: string;
  /** The disk as it was at the first. */
  readonly before: string;
  /** The disk as it is now, and was at the second. */
  readonly source: string;
}

export async function showMounted(stage: Stage, revisions: Revisions): Promise<void> {
  const { shell, ledger, abilities, undo, dir } = stage;
  if (!abilities.fuse) {
    ledger.skip('mounting, and everything that is seen there', abilities.fuseMissing);
    return;
  }
  stage.chapter('Every revision as a file');
  const mountpoint = path.join(dir, 'mnt');
  const { durationMs } = await shell.cairn(['mount', mountpoint]);
  const unmount = undo.push(`cairn umount ${mountpoint}`, () => shell.undoCairn(['umount', mountpoint]));
  ledger.add('mount', durationMs);
  // One revision is enough to see what is in each.
  const opened = revisions.second.slice(DISK.length + 1);
  stage.say(treePicture(mountpoint, (name) => isRevisionId(name) && name !== opened));
  await compareImages(stage, mountpoint, revisions);
  await findLetter(stage, mountpoint, revisions.first);
  await unmount();
}

async function compareImages(
  { shell, ledger, abilities, ...stage }: Stage,
  mountpoint: string,
  revisions: Revisions,
): Promise<void> {
  stage.chapter('The images are the disk, byte for byte');
  const [first, second] = [revisions.first, revisions.second].map((revision) => inside(mountpoint, revision));
  const older = await shell.run('cmp', [path.join(first ?? '', 'disk.img'), revisions.before]);
  stage.say('identical');
  const newer = await shell.run('cmp', [path.join(second ?? '', 'disk.img'), revisions.source]);
  stage.say('identical');
  ledger.add('compare both images with the disk', older.durationMs + newer.durationMs);
  await shell.run('e2fsck', ['-fn', path.join(second ?? '', 'by-number/2.img')]);
  if (abilities.loop) {
    await shell.run('xfs_repair', ['-n', path.join(second ?? '', 'by-number/3.img')], { hideOutput: true });
  }
}

/** The letter was deleted after the first revision. */
async function findLetter(stage: Stage, mountpoint: string, revision: string): Promise<void> {
  const { shell, ledger, abilities, dir } = stage;
  stage.chapter('The letter that was deleted since is in the older revision');
  if (abilities.loop) {
    const old = path.join(dir, 'old');
    const { durationMs } = await shell.cairn(['files', revision, old, '--partition', String(ROOT.number)]);
    const unmount = stage.undo.push(`cairn files --umount ${old}`, () =>
      shell.undoCairn(['files', '--umount', old]),
    );
    ledger.add('look into a partition of the older revision', durationMs);
    const letter = path.join(old, LETTER);
    await shell.run('cat', [letter]);
    expectLetter(readFileSync(letter, 'utf8'));
    await unmount();
    return;
  }
  ledger.skip('mounting a file system of the older revision', abilities.loopMissing);
  const image = path.join(inside(mountpoint, revision), `by-number/${ROOT.number}.img`);
  const { stdout, durationMs } = await shell.run('debugfs', ['-R', `cat /${LETTER}`, image]);
  ledger.add('look into a partition of the older revision', durationMs);
  expectLetter(stdout);
}

function expectLetter(text: string): void {
  if (text !== LETTER_TEXT)
    throw new CairnError('CORRUPT', 'The letter in the older revision is not what was written.');
}

function inside(mountpoint: string, revision: string): string {
  return path.join(mountpoint, DISK, revision.slice(DISK.length + 1));
}
