/** The power is cut while the program works, on real file systems: snapshots of the image that holds the file system are
 *  taken under it, mounted afterwards, and what was reported before each of them must be there.
 *
 *  FICLONE writes out what is pending for the file and is atomic for it, so a snapshot holds all that the file system had
 *  written to its device by then, and nothing else: a cut of a device without a volatile write cache. What the file
 *  system itself had in memory alone is lost, and the test never syncs it. What a device's cache loses, keeps or tears is
 *  the matter of native/core/tests/crash.
 *
 *  Promises 6, 7, 8, 23, 24 and 25 of docs/semantics.md, where the power goes. */
import { constants } from 'node:fs';
import { copyFile, mkdir, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, test } from 'vitest';
import { needRoot, sparseFile } from '../block-lab.js';
import { Cli } from '../cli/cli-lab.js';
import { Random, runSeed } from '../mount/random.js';
import { tempDir } from '../temp-dir.js';
import { type Attempt, anAttempt, backup, CONFIGURATION, collect, DISK_NAMES } from './attempt.js';
import { ChangingImage } from './changing-image.js';
import { ExpectedDisk } from './expected-disk.js';
import { FILE_SYSTEM_BYTES, type FileSystemName, format, mountNew, whileMounted } from './file-systems.js';
import { Judge } from './judge.js';
import { Moments } from './moments.js';
import { type Deed, type Moment, runAt } from './run-at.js';
import { requireSuccess, requireTidy } from './tidy.js';

const SNAPSHOTS = Number(process.env['CAIRN_POWER_CUTS'] ?? 6);
/** Enough that removing and collecting have something to do. */
const REVISIONS_BEFORE = 4;
const NAMES = DISK_NAMES.slice(1);

/** What was known when the power was cut. */
interface Cut {
  readonly image: string;
  readonly disk: ExpectedDisk;
  /** What was under way. */
  readonly attempt: Attempt;
}

class Plug {
  readonly cuts: Cut[] = [];
  readonly #moments: Moments;
  readonly #random: Random;
  readonly #config: string;
  readonly #image: string;

  /** `image` holds the file system, on one that can clone it. */
  constructor(image: string, random: Random, config: string) {
    this.#image = image;
    this.#random = random;
    this.#config = config;
    this.#moments = new Moments(random);
  }

  /** Works on a disk of the repository in `dir`, and takes snapshots of the image meanwhile. */
  async work(dir: string, disk: ExpectedDisk): Promise<void> {
    const cli = new Cli(dir, path.join(dir, 'repository'));
    await cli.ok('init');
    const judge = new Judge(cli.repository, [disk]);
    while (disk.revisions.size < REVISIONS_BEFORE) await this.#run(cli, judge, backup(this.#random, disk));
    for (let step = 0; this.cuts.length < SNAPSHOTS; step++) {
      disk.source.change();
      const names = NAMES.filter((name) => name !== disk.name);
      const attempt = step % 3 === 2 ? collect(disk) : anAttempt(this.#random, disk, names);
      const known = disk.copy();
      await this.#run(cli, judge, attempt, this.#moments.draw(attempt.args[0] ?? ''), async () => {
        const image = `${this.#image}.${this.cuts.length}`;
        await copyFile(this.#image, image, constants.COPYFILE_FICLONE_FORCE);
        this.cuts.push({ image, disk: known, attempt: { ...attempt, disk: known } });
      });
    }
  }

  /** What a machine finds that starts again after a cut. */
  async startAgain(dir: string, { disk, attempt }: Cut): Promise<void> {
    const cli = new Cli(dir, path.join(dir, 'repository'));
    const judge = new Judge(cli.repository, [disk]);
    await judge.settle(attempt, null);
    for (const [id, { digest }] of disk.revisions) await judge.readWhole(disk, id, digest, 'revisionsLost');
    await this.#run(cli, judge, backup(this.#random, disk));
    await this.#run(cli, judge, collect(disk));
    await requireTidy(cli, [disk]);
    for (const [id, { digest }] of disk.revisions) await judge.readWhole(disk, id, digest, 'revisionsLost');
  }

  async #run(
    cli: Cli,
    judge: Judge,
    attempt: Attempt,
    moment: Moment | null = null,
    deed?: Deed,
  ): Promise<void> {
    const run = await runAt(cli, [...attempt.args, '--config', this.#config], moment, deed);
    requireSuccess(run, attempt.args);
    this.#moments.learn(attempt.args[0] ?? '', run);
    await judge.settle(attempt, run.report);
  }
}

test.for<[FileSystemName, FileSystemName]>([
  ['ext4', 'xfs'],
  ['xfs', 'btrfs'],
  ['btrfs', 'xfs'],
])(
  '%s in a file on %s: what was reported before the power was cut is there, and work goes on',
  { timeout: 60_000 + SNAPSHOTS * 60_000 },
  async ([inner, outer], context) => {
    needRoot(context);
    const dir = tempDir();
    const seed = runSeed();
    const random = new Random(seed);
    const config = path.join(dir, 'cairn.yaml');
    await writeFile(config, CONFIGURATION);
    const image = sparseFile(mountNew(outer, dir, 4 * FILE_SYSTEM_BYTES), 'inner', FILE_SYSTEM_BYTES);
    format(inner, image);
    await mkdir(path.join(dir, 'sources'));
    const source = new ChangingImage(path.join(dir, 'sources', 'disk.img'), random);
    const plug = new Plug(image, random, config);
    try {
      await whileMounted(image, (at) => plug.work(at, new ExpectedDisk(DISK_NAMES[0], source)));
      for (const cut of plug.cuts) {
        await whileMounted(cut.image, (at) => plug.startAgain(at, cut));
        await rm(cut.image);
      }
    } catch (error) {
      throw new Error(`seed ${seed}, ${inner} on ${outer}`, { cause: error });
    }
    expect(plug.cuts).toHaveLength(SNAPSHOTS);
  },
);
