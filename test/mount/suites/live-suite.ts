/** The repository changes while it is mounted: what is new appears, what is gone vanishes, in two seconds, however
 *  much the kernel remembers; who reads what is gone reads on. */
import { spawn } from 'node:child_process';
import { copyFile, open, readdir, readFile, readlink, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { EngineName } from '../../../src/mount/engine/engine.js';
import { useLab } from '../lab-fixture.js';
import { run, until } from '../mount-lab.js';
import { KIB, MIB, pattern } from '../pattern.js';
import { probePath } from '../probe.js';

/** What the mount promises. */
const SHOWN_MS_MAX = 2_000;

export function liveSuite(engine: EngineName): void {
  describe(`changes seen through ${engine}`, () => {
    const lab = useLab();
    const disk = () => join(lab().mountpoint, 'web01');
    const soon = (condition: () => Promise<boolean>) => until(condition, SHOWN_MS_MAX);
    const exists = (path: string) =>
      stat(path).then(
        () => true,
        () => false,
      );
    const latest = () => readlink(join(disk(), 'latest'));

    /** Lets the kernel learn all that it can remember of the tree: names, attributes, what is not there. */
    async function warm(...missing: string[]): Promise<void> {
      await run('find', [lab().mountpoint, '-ls']);
      for (const name of missing) expect(await exists(join(lab().mountpoint, name))).toBe(false);
    }

    it('a new revision appears, and latest points to it', async () => {
      const first = await lab().addRevision('web01', 'first');
      await lab().mount(engine);
      await warm();
      expect(await latest()).toBe(first);
      const second = await lab().addRevision('web01', 'second');
      await soon(async () => (await latest()) === second);
      await soon(async () => (await readdir(disk())).includes(second));
      expect(await readFile(lab().inside('latest'), 'utf8')).toBe('second');
      expect(await readdir(join(disk(), 'by-tag/manual'))).toEqual(expect.arrayContaining([first, second]));
      expect(await readFile(lab().inside(first), 'utf8')).toBe('first');
    });

    it('a removed revision vanishes, wherever it is shown', async () => {
      const first = await lab().addRevision('web01', 'first');
      const second = await lab().addRevision('web01', 'second');
      await lab().mount(engine);
      await warm();
      await lab().removeRevision('web01', second);
      await soon(async () => (await latest()) === first);
      await soon(async () => !(await exists(lab().inside(second))));
      expect(await readFile(lab().inside('latest'), 'utf8')).toBe('first');
      const listing = await run('find', [lab().mountpoint]);
      expect(listing).not.toContain(second);
      await expect(readFile(lab().inside(second))).rejects.toMatchObject({ code: 'ENOENT' });
    });

    it('tags, trust and protection show in revision.json, by-tag and latest', async () => {
      const first = await lab().addRevision('web01', 'first');
      const second = await lab().addRevision('web01', 'second');
      await lab().mount(engine);
      await warm('web01/by-tag/monthly');
      // Right after a change the kernel may know the old length only, and cut the new text.
      const json = async () => {
        let found: unknown;
        await soon(async () => {
          const text = await readFile(lab().inside(second, 'revision.json'), 'utf8');
          if (text.endsWith('}\n')) found = JSON.parse(text);
          return found !== undefined;
        });
        return found as { protected: boolean; trust: string };
      };
      expect(await json()).toMatchObject({ tags: ['manual'], protected: false, trust: 'trusted' });
      await lab().setState('web01', second, { tags: ['monthly', 'weekly'], protected: true });
      await soon(async () => (await json()).protected);
      expect(await json()).toMatchObject({ tags: ['monthly', 'weekly'], protected: true });
      await soon(async () => exists(join(disk(), 'by-tag/monthly', second)));
      expect((await readdir(join(disk(), 'by-tag'))).sort()).toEqual(['manual', 'monthly', 'weekly']);
      expect(await readdir(join(disk(), 'by-tag/manual'))).not.toContain(second);
      await lab().setState('web01', second, { trust: 'distrusted' });
      await soon(async () => (await latest()) === first);
      await soon(async () => (await json()).trust === 'distrusted');
      expect(await json()).toMatchObject({ trust: 'distrusted', tags: ['manual'], protected: false });
    });

    it('a new disk appears, and a disk that is moved away vanishes', async () => {
      await lab().addRevision('web01', 'content');
      await lab().mount(engine);
      await warm('db02');
      await lab().addRevision('db02', 'another');
      await soon(async () => (await readdir(lab().mountpoint)).includes('db02'));
      expect(await readFile(lab().inside('latest', 'disk.img', 'db02'), 'utf8')).toBe('another');
      await run('mv', [lab().diskDir('db02'), join(lab().directory, 'elsewhere')]);
      await soon(async () => !(await exists(join(lab().mountpoint, 'db02'))));
      expect(await readdir(lab().mountpoint)).not.toContain('db02');
    });

    it('a disk that is renamed moves, and its open files read on', async () => {
      const content = pattern(3 * MIB, 7);
      await lab().addRevision('web01', content);
      await lab().mount(engine);
      await using file = await open(lab().inside('latest'));
      await file.read(Buffer.alloc(1), 0, 1, 0);
      await run('mv', [lab().diskDir(), lab().diskDir('web02')]);
      await soon(async () => exists(join(lab().mountpoint, 'web02/latest/disk.img')));
      await soon(async () => !(await exists(disk())));
      expect((await file.readFile()).equals(content)).toBe(true);
      expect((await readFile(lab().inside('latest', 'disk.img', 'web02'))).equals(content)).toBe(true);
    });

    it('an open file of a removed revision reads on, and pins it until it is closed', async () => {
      const content = pattern(600 * KIB, 8);
      const first = await lab().addRevision('web01', content);
      const second = await lab().addRevision('web01', 'second');
      await lab().mount(engine);
      await warm();
      const manifest = join(lab().directory, 'manifest');
      const file = await open(lab().inside(first));
      const other = await open(lab().inside(second));
      await file.read(Buffer.alloc(1), 0, 1, 0);
      // The directory entry goes when the revision is removed; its lock is that of the file.
      await run('ln', [join(lab().diskDir(), 'revisions', `${first}.json`), manifest]);
      const isPinned = () =>
        run('flock', ['--nonblock', '--exclusive', manifest, 'true']).then(
          () => false,
          () => true,
        );
      expect(await isPinned()).toBe(true);
      await lab().removeRevision('web01', first);
      await soon(async () => !(await exists(lab().inside(first))));
      expect((await file.stat()).size).toBe(content.length);
      expect((await file.readFile()).equals(content)).toBe(true);
      expect(await isPinned()).toBe(true);
      await file.close();
      await until(async () => !(await isPinned()));
      await other.close();
    });

    it('inode numbers stay while a revision is there, and never name anything else', async () => {
      const first = await lab().addRevision('web01', 'first');
      await lab().addRevision('web01', 'second');
      await lab().mount(engine);
      const numbers = async (path: string) =>
        (await run('find', [path, '-printf', '%i %P\n'])).trimEnd().split('\n').sort();
      const before = await numbers(join(disk(), first));
      const third = await lab().addRevision('web01', 'third');
      await soon(async () => exists(lab().inside(third)));
      expect(await numbers(join(disk(), first))).toEqual(before);

      const kept = join(lab().directory, 'kept');
      const manifest = join(lab().diskDir(), 'revisions', `${first}.json`);
      await copyFile(manifest, kept);
      await lab().removeRevision('web01', first);
      await soon(async () => !(await exists(lab().inside(first))));
      const fourth = await lab().addRevision('web01', 'fourth');
      await soon(async () => exists(lab().inside(fourth)));
      const inode = (line: string) => line.split(' ')[0];
      const used = new Set(before.map(inode));
      for (const line of await numbers(join(disk(), fourth))) expect(used).not.toContain(inode(line));
      await copyFile(kept, manifest);
      await soon(async () => exists(lab().inside(first)));
      expect(await readFile(lab().inside(first), 'utf8')).toBe('first');
      const all = (await numbers(lab().mountpoint)).map(inode);
      expect(new Set(all).size).toBe(all.length);
    });

    it('a listing of a thousand names, interrupted by changes, shows what stays exactly once', async () => {
      const revisions = await lab().addManyRevisions(1000);
      await lab().mount(engine);
      await run('ls', [disk()]);
      const reader = spawn(await probePath(), ['list', disk()]);
      const lines = linesOf(reader.stdout);
      const names: string[] = [];
      const removed = [5, 300, 700, 990].map((index) => revisions[index] ?? '');
      const gone = [...removed];
      const readBatch = async () => {
        for (;;) {
          const { value: line } = await lines.next();
          if (line === undefined || line === 'end') return false;
          if (line === 'more') return true;
          names.push(line.split(' ')[2] ?? '');
        }
      };
      while (await readBatch()) {
        const leaving = gone.shift();
        if (leaving !== undefined) {
          await lab().removeRevision('web01', leaving);
          const coming = await lab().backUp();
          await soon(async () => !(await exists(join(disk(), leaving))));
          await soon(async () => exists(join(disk(), coming)));
        }
        reader.stdin.write('\n');
      }
      expect(new Set(names).size).toBe(names.length);
      const stayed = revisions.filter((revision) => !removed.includes(revision));
      expect(stayed.filter((revision) => !names.includes(revision))).toEqual([]);
      const now = await readdir(disk());
      expect(now.filter((name) => !/^(latest|by-)/.test(name))).toHaveLength(1000);
      expect(removed.filter((revision) => now.includes(revision))).toEqual([]);
    });
  });
}

async function* linesOf(stream: AsyncIterable<Buffer>): AsyncGenerator<string> {
  let rest = '';
  for await (const chunk of stream) {
    const lines = (rest + String(chunk)).split('\n');
    rest = lines.pop() ?? '';
    yield* lines;
  }
}
