/** Rounds of killing the program: a random command is killed at a random moment, all that was ever reported must be
 *  there and nothing by half, and the next command on the same disk must succeed without any help. */
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import type { BackupOutcome } from '../../src/operations/backup.js';
import { readJournal } from '../../src/repository/journal.js';
import type { Cli } from '../cli/cli-lab.js';
import type { Random } from '../mount/random.js';
import { type Attempt, anAttempt, backup, CONFIGURATION, collect, DISK_NAMES } from './attempt.js';
import { ChangingImage } from './changing-image.js';
import { ExpectedDisk } from './expected-disk.js';
import { Judge } from './judge.js';
import { diskDirectory, look, sealedOfNobody, segmentsOf } from './look.js';
import { Moments } from './moments.js';
import { type Breach, PromiseBroken } from './promise-broken.js';
import { type Moment, type Report, type Run, runAt } from './run-at.js';
import { requireSuccess, requireTidy } from './tidy.js';

/** What was done and seen. */
export type Counts = Record<Breach, number> & {
  rounds: number;
  /** Commands that the signal met running. */
  kills: number;
  /** Of those, the ones that had begun to change the repository. */
  killsAtWork: number;
  /** Those at work, by the command. */
  killsByCommand: Record<string, number>;
  /** Commands that reported success. */
  completed: number;
  revisionsReported: number;
  /** Whole revisions of backups that were killed before they reported. */
  revisionsUnreported: number;
  /** Sealed segments of backups that were killed which the next one took over. */
  segmentsAdopted: number;
  /** Revisions that were read whole and were right. */
  readBack: number;
  /** Times that everything was read and looked at. */
  audits: number;
  msPerRound: number;
};

const DISKS = 3;
const READ_EACH_ROUND = 3;
const AUDIT_EVERY = 50;
/** Bytes of records, indexes and files that stand for a block in the map, at the most. */
const MAP_BYTES_PER_BLOCK = 200;
const MAP_BYTES = 8192;
const BLOCK_BYTES_MIN = 4096;

export class Rounds {
  readonly counts: Counts = {
    rounds: 0,
    kills: 0,
    killsAtWork: 0,
    killsByCommand: {},
    completed: 0,
    revisionsReported: 0,
    revisionsUnreported: 0,
    segmentsAdopted: 0,
    readBack: 0,
    audits: 0,
    msPerRound: 0,
    revisionsLost: 0,
    revisionsHalf: 0,
    removalsUndone: 0,
    other: 0,
  };
  readonly #disks: ExpectedDisk[];
  readonly #judge: Judge;
  readonly #moments: Moments;
  readonly #config: string;

  /** `sources` is a directory for the images that are backed up. */
  constructor(
    readonly cli: Cli,
    readonly random: Random,
    sources: string,
  ) {
    this.#disks = DISK_NAMES.slice(0, DISKS).map(
      (name) => new ExpectedDisk(name, new ChangingImage(path.join(sources, `${name}.img`), random)),
    );
    this.#judge = new Judge(cli.repository, this.#disks);
    this.#moments = new Moments(random);
    this.#config = path.join(sources, 'cairn.yaml');
    writeFileSync(this.#config, CONFIGURATION);
  }

  /** `onAudit` is called each time that everything was found right.
   *  @throws {PromiseBroken} */
  async run(rounds: number, onAudit: () => void = () => {}): Promise<void> {
    const startMs = performance.now();
    try {
      while (this.counts.rounds < rounds) {
        this.counts.rounds += 1;
        await this.#round();
        if (this.counts.rounds % AUDIT_EVERY > 0 && this.counts.rounds < rounds) continue;
        await this.#audit();
        onAudit();
      }
    } catch (error) {
      this.counts[error instanceof PromiseBroken ? error.breach : 'other'] += 1;
      throw error;
    } finally {
      this.counts.readBack = this.#judge.readBack;
      this.counts.revisionsUnreported = this.#judge.unreported;
      this.counts.msPerRound = Math.round((performance.now() - startMs) / this.counts.rounds);
    }
  }

  async #round(): Promise<void> {
    const disk = this.random.pick(this.#disks);
    if (this.random.below(4) > 0) disk.source.change();
    const killed = this.#attempt(disk);
    const sealedBefore = sealedOfNobody(this.cli.repository, disk);
    const run = await this.#kill(killed);
    await this.#judge.settle(killed, run.report);
    await this.#readSome();
    const sealed = sealedOfNobody(this.cli.repository, disk).filter(
      (segment) => !sealedBefore.includes(segment),
    );
    const isBackupAgain = killed.args[0] === 'backup' && this.random.below(2) === 0;
    if (!isBackupAgain) disk.source.change();
    const next = isBackupAgain ? backup(this.random, disk) : this.#attempt(disk);
    const { report } = await this.#complete(next);
    this.#countAdopted(next, sealed, isBackupAgain, report);
  }

  #attempt(disk: ExpectedDisk): Attempt {
    const used = this.#disks.map(({ name }) => name);
    return anAttempt(
      this.random,
      disk,
      DISK_NAMES.filter((name) => !used.includes(name)),
    );
  }

  async #kill(attempt: Attempt): Promise<Run> {
    const kind = attempt.args[0] ?? '';
    const run = await this.#cairn(attempt.args, this.#moments.draw(kind));
    // What it has printed counts, whatever became of it afterwards.
    if (!run.killed || run.report !== null) this.#require(run, attempt);
    this.counts.kills += run.killed ? 1 : 0;
    if (run.killed && run.changes > 0) {
      this.counts.killsAtWork += 1;
      this.counts.killsByCommand[kind] = (this.counts.killsByCommand[kind] ?? 0) + 1;
    }
    return run;
  }

  /** What a backup that was killed has `sealed` is there to stay after the next. It holds all blocks that were new, so
   *  nothing but the map is stored where the source is the same. */
  #countAdopted(
    { disk, args }: Attempt,
    sealed: readonly number[],
    isSame: boolean,
    report: Report | null,
  ): void {
    const segments = segmentsOf(this.cli.repository, disk.name);
    const adopted = sealed.filter((segment) => segments.includes(segment));
    if (args[0] !== 'backup' || adopted.length === 0) return;
    this.counts.segmentsAdopted += adopted.length;
    const { storedBytes, sizeBytes } = report as unknown as BackupOutcome;
    if (isSame && storedBytes > MAP_BYTES + (sizeBytes / BLOCK_BYTES_MIN) * MAP_BYTES_PER_BLOCK)
      throw new PromiseBroken('other', `${storedBytes} bytes of ${disk.name} were stored twice`);
  }

  async #complete(attempt: Attempt): Promise<Run> {
    const run = await this.#cairn(attempt.args, null);
    this.#require(run, attempt);
    this.#moments.learn(attempt.args[0] ?? '', run);
    await this.#judge.settle(attempt, run.report);
    return run;
  }

  #require(run: Run, { args }: Attempt): void {
    requireSuccess(run, args);
    this.counts.completed += 1;
    if (args[0] === 'backup') this.counts.revisionsReported += 1;
  }

  #cairn(args: readonly string[], moment: Moment | null): Promise<Run> {
    return runAt(this.cli, [...args, '--config', this.#config], moment);
  }

  async #readSome(): Promise<void> {
    for (let left = READ_EACH_ROUND; left > 0; left--) {
      const disk = this.random.pick(this.#disks);
      if (disk.revisions.size === 0) continue;
      const [id, { digest }] = this.random.pick([...disk.revisions]);
      await this.#judge.readWhole(disk, id, digest, 'revisionsLost');
    }
  }

  /** After one backup and one collect of each disk, everything is read, and nothing is there without a use. */
  async #audit(): Promise<void> {
    this.counts.audits += 1;
    for (const disk of this.#disks) {
      await this.#complete(backup(this.random, disk));
      await this.#complete(collect(disk));
      for (const [id, { digest }] of disk.revisions)
        await this.#judge.readWhole(disk, id, digest, 'revisionsLost');
    }
    await requireTidy(this.cli, this.#disks);
    for (const { name } of this.#disks) {
      const { unreadable } = readJournal(diskDirectory(this.cli.repository, name));
      if (unreadable > 0) throw new PromiseBroken('other', `the log of ${name} has torn lines`);
    }
    const before = await look(this.cli.repository);
    await this.cli.ok('catalog', 'rebuild');
    const after = await look(this.cli.repository);
    if (JSON.stringify(before) !== JSON.stringify(after))
      throw new PromiseBroken('other', 'the catalog lists something else once it is rebuilt');
  }
}
