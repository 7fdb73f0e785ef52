/** What every source does, whatever it is. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, realpathSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { Options } from 'execa';
import { afterAll, beforeAll, describe, expect, type TestContext, test } from 'vitest';
import type { BackupOutcome } from '../../src/operations/backup.js';
import { Cli, type ToldError } from '../cli/cli-lab.js';

/** In bytes, all that a test writes to. */
export const SIZE = 4 * 1024 ** 2;

/** A kind of source: a new one for each test, gone when the test is over. */
export interface SourceKind {
  readonly name: string;
  /** Skips the test, and says why, where there can be none. */
  readonly make: (context: TestContext) => Subject | Promise<Subject>;
  /** How a source that is gone is told: a clear sentence, and the exit code. */
  readonly gone: { readonly exitCode: number; readonly message: RegExp };
  /** What a revision is of a source that nothing writes to. */
  readonly consistency: BackupOutcome['consistency'];
  /** Whether a later backup may leave the source out. */
  readonly isRepeatable: boolean;
}

/** A source of `SIZE` bytes of zeros, and what is behind it. */
export interface Subject {
  readonly spec: string;
  /** Further words of `cairn backup`. */
  readonly words?: () => readonly string[];
  /** Further circumstances of the process. */
  readonly options?: () => Options;
  readonly write: (offset: number, length: number, byte: number) => void | Promise<void>;
  readonly resize: (sizeBytes: number) => void | Promise<void>;
  /** What the source holds now. */
  readonly content: () => Buffer | Promise<Buffer>;
  /** Takes it away, and brings it back. */
  readonly vanish: () => void;
  readonly comeBack: () => void;
  /** What backups have left of themselves outside of the repository. */
  readonly left: () => readonly string[] | Promise<readonly string[]>;
}

export function sourceSuite(kind: SourceKind): void {
  describe(`a source of the kind ${kind.name}`, () => {
    const lab = new SuiteLab(kind.name);
    beforeAll(() => lab.begin());
    afterAll(() => lab.end());

    test('gives a revision of what was written, and one that says so where nothing has changed', async (context) => {
      const subject = await kind.make(context);
      await subject.write(100_000, 1_000_000, 1);
      const first = await lab.backup('written', subject);
      expect(first).toMatchObject({ sizeBytes: SIZE, consistency: kind.consistency, unchanged: false });
      expect(await lab.backup('written', subject)).toMatchObject({ unchanged: true, parent: first.revision });
      const { source } = await lab.cli.json<{ source: object }>('show', 'written@latest');
      expect(source).toMatchObject({ spec: subject.spec, kind: kind.name });
      await subject.write(0, 5000, 2);
      await subject.write(2_000_001, 3, 3);
      await subject.write(100_000, 500_000, 0);
      await lab.backup('written', subject);
      await lab.expectWhole('written', subject);
    });

    test('may shrink and grow', async (context) => {
      const subject = await kind.make(context);
      await subject.write(0, SIZE, 7);
      await lab.backup('resized', subject);
      await subject.resize(SIZE - 1_000_960);
      expect(await lab.backup('resized', subject)).toMatchObject({ sizeBytes: SIZE - 1_000_960 });
      await subject.resize(SIZE + 1024 ** 2);
      await subject.write(SIZE + 1000, 1000, 8);
      expect(await lab.backup('resized', subject)).toMatchObject({ sizeBytes: SIZE + 1024 ** 2 });
      await lab.expectWhole('resized', subject);
    });

    test('that is gone is told in one sentence, and nothing is half-made', async (context) => {
      const subject = await kind.make(context);
      await subject.write(0, 1000, 1);
      const { revision } = await lab.backup('gone', subject);
      const left = await subject.left();
      subject.vanish();
      const { exitCode, message, hint } = await lab.failure('gone', subject);
      expect({ exitCode, message }).toEqual({
        exitCode: kind.gone.exitCode,
        message: expect.stringMatching(kind.gone.message),
      });
      expect(message.split('\n')).toHaveLength(1);
      expect(hint).not.toBeNull();
      subject.comeBack();
      expect((await lab.cli.list('gone')).map((row) => row.revision)).toEqual([revision]);
      expect(await subject.left()).toEqual(left);
      expect(await lab.backup('gone', subject)).toMatchObject({ unchanged: true, parent: revision });
    });

    test('is let go of when the backup is ended in the middle', async (context) => {
      const subject = await kind.make(context);
      await subject.write(0, SIZE, 1);
      const { revision } = await lab.backup('ended', subject);
      const left = await subject.left();
      await subject.write(0, SIZE, 2);
      const segments = path.join(lab.cli.repository, 'disks/ended/segments');
      const before = readdirSync(segments).length;
      const running = lab.start('ended', subject, '--read-rate', '1MiB');
      await expect.poll(() => readdirSync(segments).length, { timeout: 60_000 }).toBeGreaterThan(before);
      running.kill('SIGTERM');
      expect((await running).exitCode).toBe(143);
      expect((await lab.cli.list('ended')).map((row) => row.revision)).toEqual([revision]);
      expect(await subject.left()).toEqual(left);
      await lab.backup('ended', subject);
      await lab.expectWhole('ended', subject);
    });

    test('is at least what is required, and need not be named again or is never run by itself', async (context) => {
      const subject = await kind.make(context);
      await subject.write(0, 1000, 1);
      if (kind.consistency === 'live') {
        const refused = await lab.failure('again', subject, '--require', 'snapshot');
        expect(refused).toMatchObject({ code: 'SOURCE_FAILED', exitCode: 1 });
        expect(refused.message).toContain('a snapshot revision is required');
        await lab.backup('again', subject);
      } else await lab.backup('again', subject, '--require', 'snapshot');
      if (kind.isRepeatable) {
        expect(await lab.cli.json('backup', 'again')).toMatchObject({
          source: subject.spec,
          unchanged: true,
        });
      } else {
        const refused = await lab.cli.failure(['backup', 'again']);
        expect(refused).toMatchObject({ code: 'USAGE', exitCode: 2 });
        expect(refused.hint).toContain('--source');
      }
      expect(await lab.cli.list('again')).toHaveLength(kind.isRepeatable ? 2 : 1);
    });
  });
}

/** One repository for all tests of a kind: each has a disk of its own. */
class SuiteLab {
  readonly #name: string;
  #cli: Cli | null = null;

  constructor(name: string) {
    this.#name = name;
  }

  get cli(): Cli {
    if (this.#cli === null) throw new Error('the suite has not begun');
    return this.#cli;
  }

  async begin(): Promise<void> {
    this.#cli = new Cli(realpathSync(mkdtempSync(path.join(tmpdir(), `cairn-source-${this.#name}-`))));
    await this.#cli.ok('init');
  }

  end(): void {
    if (this.#cli !== null) rmSync(this.#cli.dir, { recursive: true, force: true });
  }

  start(disk: string, { spec, words, options }: Subject, ...more: string[]) {
    const args = ['backup', disk, '--source', spec, ...(words?.() ?? []), ...more, '--json'];
    return this.cli.start(args, options?.());
  }

  async backup(disk: string, subject: Subject, ...more: string[]): Promise<BackupOutcome> {
    const { exitCode, stdout, stderr } = await this.start(disk, subject, ...more);
    if (exitCode !== 0) throw new Error(`the backup ended with ${exitCode}: ${stdout}${stderr}`);
    return JSON.parse(String(stdout));
  }

  async failure(
    disk: string,
    subject: Subject,
    ...more: string[]
  ): Promise<ToldError & { exitCode?: number }> {
    const { exitCode, stdout } = await this.start(disk, subject, ...more);
    return { ...JSON.parse(String(stdout)).error, exitCode };
  }

  /** The newest revision is what the source holds now. */
  async expectWhole(disk: string, subject: Subject): Promise<void> {
    const file = path.join(this.cli.dir, 'restored.img');
    await this.cli.ok('restore', disk, file);
    const [restored, content] = [readFileSync(file), await subject.content()];
    rmSync(file);
    expect(restored.length).toBe(content.length);
    expect(restored.equals(content)).toBe(true);
  }
}

/** Processes with this in their command line. */
export function processesOf(text: string): string[] {
  const all = execFileSync('ps', ['-eo', 'args='], { encoding: 'utf8' }).split('\n');
  return all.filter((line) => line.includes(text));
}
