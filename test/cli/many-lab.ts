/** Plans of `cairn restore-many` for tests: many small disks in one repository, and what a run left behind. */
import { randomFillSync } from 'node:crypto';
import {
  closeSync,
  existsSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { onTestFinished } from 'vitest';
import { type Lab, makeLab } from '../operations/lab.js';
import { Cli } from './cli-lab.js';

/** A line of a state file. */
export interface StateLine {
  readonly event: string;
  readonly target?: string;
  readonly key?: string;
}

/** What `restore-many --json` tells of one restore. */
export interface ToldRestore {
  readonly target: string;
  readonly disk: string | null;
  readonly revision: string | null;
  readonly state: string;
  readonly doneEarlier: boolean;
  readonly error: { code: string; message: string; hint: string | null } | null;
}

export interface ToldRun {
  readonly restores: readonly ToldRestore[];
  readonly done: number;
  readonly damaged: number;
  readonly failed: number;
}

export class ManyLab {
  readonly lab: Lab;
  readonly cli: Cli;
  readonly plan: string;

  constructor(lab: Lab) {
    this.lab = lab;
    this.cli = new Cli(lab.dir, lab.repo.dir);
    this.plan = path.join(lab.dir, 'plan.yaml');
  }

  get dir(): string {
    return this.lab.dir;
  }

  image(disk: string): string {
    return path.join(this.dir, `${disk}.img`);
  }

  target(disk: string): string {
    return path.join(this.dir, `${disk}.restored`);
  }

  /** Backs up a disk of random bytes. */
  async disk(name: string, sizeBytes: number): Promise<void> {
    await this.lab.backup(name, { source: this.lab.randomFile(`${name}.img`, sizeBytes) });
  }

  /** Writes the plan: `parallel`, and a line for each restore. */
  write(parallel: number, restores: readonly string[], more = ''): void {
    const lines = restores.map((restore) => `  - {${restore}}`);
    writeFileSync(this.plan, [`parallel: ${parallel}`, more, 'restores:', ...lines, ''].join('\n'));
  }

  /** A line of the plan: the disk to its own target. */
  line(disk: string, more = ''): string {
    return `revision: ${disk}@latest, target: ${this.target(disk)}${more === '' ? '' : `, ${more}`}`;
  }

  start(...args: string[]) {
    const run = this.cli.start(['restore-many', this.plan, ...args]);
    onTestFinished(() => {
      run.kill('SIGKILL');
    });
    return run;
  }

  async run(...args: string[]): Promise<{ exitCode: number | undefined; told: ToldRun; stderr: string }> {
    const { exitCode, stdout, stderr } = await this.cli.run(['restore-many', this.plan, '--json', ...args]);
    return { exitCode, told: JSON.parse(stdout), stderr };
  }

  /** What the state file tells, oldest first. */
  states(event: string): StateLine[] {
    const file = `${this.plan}.state`;
    if (!existsSync(file)) return [];
    const lines = readFileSync(file, 'utf8').split('\n').slice(0, -1);
    return lines.map((line) => JSON.parse(line) as StateLine).filter((line) => line.event === event);
  }

  /** Targets in the order in which they were begun. */
  begun(): string[] {
    return this.states('began').map(({ target = '' }) => path.basename(target, '.restored'));
  }

  async until(condition: () => boolean): Promise<void> {
    while (!condition()) await sleep(10);
  }

  /** Damages a stored block of a disk, and takes its source, in which a copy of the block would be found, elsewhere.
   *  @returns where the source is now */
  damage(disk: string): string {
    const segments = path.join(this.lab.repo.diskDir(disk), 'segments');
    const [name = ''] = readdirSync(segments);
    const file = path.join(segments, name);
    scribble(file, readFileSync(file).length >> 1);
    const away = `${this.image(disk)}.away`;
    renameSync(this.image(disk), away);
    return away;
  }
}

export async function makeManyLab(): Promise<ManyLab> {
  return new ManyLab(await makeLab());
}

/** Random bytes somewhere in a file or device. */
function scribble(file: string, at: number, sizeBytes = 512): void {
  const fd = openSync(file, 'r+');
  writeSync(fd, randomFillSync(Buffer.alloc(sizeBytes)), 0, sizeBytes, at);
  closeSync(fd);
}
