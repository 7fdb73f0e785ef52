/** The main job from nothing to a restored disk, with the real program on a real disk, in a directory that is gone
 *  afterwards. Every comparison is made by cmp; the first that fails ends the demo. */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { CairnError } from '../../base/errors.js';
import { type Abilities, findAbilities } from './abilities.js';
import { DemoDisk } from './disk.js';
import { Ledger } from './ledger.js';
import { Shell } from './shell.js';
import { showMounted } from './show-mounted.js';
import { changeDisk, compareAgain, makeDisk, restoreDisk, takeRevision } from './story.js';
import { UndoStack } from './undo.js';

/** What every part of the story has at hand. */
export interface Stage {
  readonly shell: Shell;
  readonly undo: UndoStack;
  readonly ledger: Ledger;
  readonly disk: DemoDisk;
  readonly abilities: Abilities;
  /** The demo's own directory. */
  readonly dir: string;
  /** Says what comes next. */
  chapter(title: string): void;
  say(text: string): void;
}

/** Tools without which there is no disk to begin with. */
const TOOLS = ['sfdisk', 'mkfs.vfat', 'mmd', 'mcopy', 'mkfs.ext4', 'dd', 'cmp'];

/** @throws {CairnError} when a step or a comparison fails; whatever happens, nothing is left behind */
export async function runDemo(tell: (text: string) => void, signal: AbortSignal): Promise<Ledger> {
  const abilities = findAbilities();
  const missing = TOOLS.filter((tool) => !abilities.hasCommand(tool));
  if (missing.length > 0) {
    throw new CairnError('NOT_PERMITTED', `The demo needs ${missing.join(', ')} to make a disk.`, {
      hint: 'bin/setup installs them, or names the Debian packages.',
    });
  }
  const undo = new UndoStack();
  const dir = mkdtempSync(path.join(tmpdir(), 'cairn-demo-'));
  undo.push(`remove ${dir}`, async () => rmSync(dir, { recursive: true, force: true }));
  try {
    const stage = makeStage({ dir, undo, abilities, tell, signal });
    await tellStory(stage);
    return stage.ledger;
  } finally {
    tell('\nCleaning up.\n');
    for (const failure of await undo.unwind()) tell(`  could not undo ${failure}\n`);
  }
}

interface StageParts {
  readonly dir: string;
  readonly undo: UndoStack;
  readonly abilities: Abilities;
  readonly tell: (text: string) => void;
  readonly signal: AbortSignal;
}

function makeStage({ dir, undo, abilities, tell, signal }: StageParts): Stage {
  const repository = path.join(dir, 'repository');
  for (const name of ['root', 'data', 'mnt', 'old']) mkdirSync(path.join(dir, name));
  const env = { CAIRN_REPOSITORY: repository, CAIRN_CONFIG: '' };
  const shell = new Shell({ dir, env, print: tell, signal });
  return {
    dir,
    undo,
    abilities,
    shell,
    ledger: new Ledger(),
    disk: new DemoDisk(dir, shell, undo),
    chapter: (title) => tell(`\n${title}\n`),
    say: (text) => tell(`${text.replace(/^/gm, '    ')}\n`),
  };
}

async function tellStory(stage: Stage): Promise<void> {
  stage.say(`Everything happens in ${stage.dir}, which is gone at the end.`);
  const source = await makeDisk(stage);
  await stage.shell.cairn(['init']);
  const first = await takeRevision(stage, source, 'first backup');
  const before = await changeDisk(stage);
  const second = await takeRevision(stage, source, 'backup after the change');
  await takeRevision(stage, source, 'backup of an unchanged disk');
  await showMounted(stage, { first, second, before, source });
  await restoreDisk(stage, { first, before });
  await compareAgain(stage);
}
