/** What lies in the tree, under which names, and who may do what with it. */
import { chmod, type FileHandle, mkdir, open, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { EngineName } from '../../../src/mount/engine/engine.js';
import { useLab } from '../lab-fixture.js';
import { makeLvmDisk, renameVolume } from '../lvm-disk.js';
import { run } from '../mount-lab.js';
import { KIB, MIB, pattern } from '../pattern.js';
import { probe } from '../probe.js';

export function listingSuite(engine: EngineName): void {
  describe(`the tree of ${engine}`, () => {
    const lab = useLab();

    it('is as laid down, with the owner, modes, times and sizes of a private tree', async () => {
      await writeFile(lab().source(), '');
      await run('truncate', ['-s', '8M', lab().source()]);
      await run('sh', [
        '-c',
        `echo 'start=2048, size=4096, name="root fs"' | sfdisk -q -X gpt "$0"`,
        lab().source(),
      ]);
      await run('mke2fs', ['-q', '-t', 'ext4', '-E', 'offset=1048576', lab().source(), '2M']);
      const revision = await lab().backUp();
      await lab().mount(engine);
      const day = `${revision.slice(0, 4)}-${revision.slice(4, 6)}-${revision.slice(6, 8)}`;
      const listing = await run('find', [lab().mountpoint, '-mindepth', '1', '-printf', '%M %U:%G %P %l\n']);
      const owner = `${process.getuid?.()}:${process.getgid?.()}`;
      const lines = listing.trimEnd().split('\n');
      expect(lines.map((line) => line.trimEnd()).sort()).toEqual(
        [
          `-r-------- ${owner} README.txt`,
          `dr-x------ ${owner} web01`,
          `dr-x------ ${owner} web01/${revision}`,
          `dr-x------ ${owner} web01/${revision}/by-number`,
          `lrwxrwxrwx ${owner} web01/${revision}/by-number/1.img ../partitions/1-root%20fs.ext4.img`,
          `-r-------- ${owner} web01/${revision}/disk.img`,
          `-r-------- ${owner} web01/${revision}/partition-table.sfdisk`,
          `dr-x------ ${owner} web01/${revision}/partitions`,
          `-r-------- ${owner} web01/${revision}/partitions/1-root%20fs.ext4.img`,
          `-r-------- ${owner} web01/${revision}/revision.json`,
          `dr-x------ ${owner} web01/by-date`,
          `dr-x------ ${owner} web01/by-date/${day}`,
          `lrwxrwxrwx ${owner} web01/by-date/${day}/${revision} ../../${revision}`,
          `dr-x------ ${owner} web01/by-tag`,
          `dr-x------ ${owner} web01/by-tag/manual`,
          `lrwxrwxrwx ${owner} web01/by-tag/manual/${revision} ../../${revision}`,
          `lrwxrwxrwx ${owner} web01/by-tag/manual/latest ../../${revision}`,
          `lrwxrwxrwx ${owner} web01/latest ${revision}`,
        ].sort(),
      );
      const json = JSON.parse(await readFile(lab().inside('latest', 'revision.json'), 'utf8'));
      expect(json).toMatchObject({ revision, tags: ['manual'], trust: 'trusted', sizeBytes: 8 * MIB });
      const found = await stat(lab().inside('latest'));
      expect(found.mtime.getTime()).toBe(Date.parse(json.startedAt));
      expect(found.size).toBe(8 * MIB);
    });

    it('names from guests are plain names', async () => {
      const names = ['../../etc/passwd', 'new\nline', '..', 'größe ☃', 'dup', 'dup', '%41', '-rf *'];
      await run('truncate', ['-s', `${names.length + 4}M`, lab().source()]);
      await run('sgdisk', [
        ...names.flatMap((name, index) => ['-n', `${index + 1}:0:+1M`, '-c', `${index + 1}:${name}`]),
        lab().source(),
      ]);
      await run('mke2fs', [
        '-q',
        '-F',
        '-t',
        'ext4',
        '-L',
        'a/../b',
        '-E',
        `offset=${MIB}`,
        lab().source(),
        '1M',
      ]);
      await lab().backUp();
      await lab().mount(engine);
      expect((await readdir(lab().inside('latest', 'partitions'))).sort()).toEqual([
        '1-..%2F..%2Fetc%2Fpasswd.ext4.img',
        '2-new%0Aline.img',
        '3-%2E%2E.img',
        '4-gr%C3%B6%C3%9Fe%20%E2%98%83.img',
        '5-dup.img',
        '6-dup.img',
        '7-%2541.img',
        '8--rf%20%2A.img',
      ]);
    });

    it('names of volumes from guests are plain names, too; what LVM would not read is told', async () => {
      await makeLvmDisk(lab().source());
      await renameVolume(lab().source(), 'other', '..-..');
      const odd = await lab().backUp();
      await renameVolume(lab().source(), '..-..', '../..');
      const hostile = await lab().backUp();
      await lab().mount(engine);
      expect((await readdir(lab().inside(odd, 'volumes'))).sort()).toEqual([
        'guest--vg-..--...img',
        'guest--vg-a--striped.img',
        'guest--vg-split.img',
      ]);
      expect(await readdir(lab().inside(hostile, ''))).not.toContain('volumes');
      const json = JSON.parse(await readFile(lab().inside(hostile, 'revision.json'), 'utf8'));
      expect(json.problems.join()).toMatch(/LVM metadata .* is not understood/);
      expect((await lab().log()).filter((line) => line['revision'] === hostile)).toHaveLength(1);
    });

    it('every call that would write is answered EROFS', async () => {
      await lab().addRevision('web01', pattern(4096, 6));
      await lab().mount(engine);
      const link = join(lab().mountpoint, 'web01/latest');
      const answers = await probe(['writes', lab().inside('latest', ''), lab().inside('latest'), link]);
      expect(answers.length).toBeGreaterThan(30);
      expect(answers.filter((answer) => !answer.endsWith(' EROFS'))).toEqual([]);
    });

    it('a thousand revisions list, each once, with the inode numbers that stat shows; all are open at once', async () => {
      const revisions = await lab().addManyRevisions(1000);
      await lab().mount(engine);
      const disk = join(lab().mountpoint, 'web01');
      const names = await readdir(disk);
      expect(names.filter((name) => !/^(latest|by-)/.test(name)).sort()).toEqual(revisions);
      const listed = (await run('ls', ['-i', '-1', '-U', disk])).trimEnd().split('\n');
      const numbers = new Map(
        listed.map((line) => {
          const [number = '', name = ''] = line.trim().split(' ');
          return [name, number];
        }),
      );
      expect(new Set(numbers.values()).size).toBe(names.length);
      for (const name of [...revisions.slice(-3), ...revisions.slice(0, 3), 'by-tag']) {
        expect(String((await stat(join(disk, name))).ino)).toBe(numbers.get(name));
      }
      expect((await readdir(join(disk, 'by-tag/manual'))).length).toBe(1001);
      const files: FileHandle[] = [];
      for (const revision of revisions) files.push(await open(lab().inside(revision)));
      for (const file of files) expect((await file.read(Buffer.alloc(9), 0, 9, 0)).bytesRead).toBe(4);
      for (const file of files) await file.close();
    });

    it('what cannot be a name is not there', async () => {
      await lab().addRevision('web01', 'content');
      await lab().mount(engine);
      const names = [Buffer.of(0xff, 0xfe), Buffer.from('a'.repeat(256)), Buffer.from('web01/latest/\x01')];
      for (const name of names) {
        const path = Buffer.concat([Buffer.from(`${lab().mountpoint}/`), name]);
        await expect(stat(path)).rejects.toMatchObject({ code: 'ENOENT' });
      }
    });

    it('a filter of disks hides the others', async () => {
      for (const disk of ['web01', 'db02']) await lab().addRevision(disk, 'content');
      await lab().mount(engine, { disks: ['db02'] });
      expect(await readdir(lab().mountpoint)).toEqual(['README.txt', 'db02']);
      await expect(stat(join(lab().mountpoint, 'web01'))).rejects.toMatchObject({ code: 'ENOENT' });
    });

    it('a group may read when it is told to, and owns the nodes', async () => {
      await lab().addRevision('web01', 'content');
      await chmod(lab().directory, 0o711);
      await lab().mount(engine, { group: '12345' });
      const image = lab().inside('latest');
      expect(await run('stat', ['-L', '--format=%a %g', lab().mountpoint, image])).toBe(
        '550 12345\n440 12345\n',
      );
      const asMember = ['--reuid', '65534', '--regid', '12345', '--clear-groups', 'cat', image];
      await expect(run('setpriv', asMember)).resolves.toBe('content');
      const asOther = ['--reuid', '65534', '--regid', '65534', '--clear-groups', 'cat', image];
      await expect(run('setpriv', asOther)).rejects.toThrow(/Permission denied/);
    });

    it('nobody else is let in where that is not asked for', async () => {
      await lab().addRevision('web01', 'content');
      await chmod(lab().directory, 0o711);
      await lab().mount(engine);
      const asOther = ['--reuid', '65534', '--regid', '0', '--clear-groups', 'ls', lab().mountpoint];
      await expect(run('setpriv', asOther)).rejects.toThrow(/Permission denied/);
    });

    it('a repository that nobody may write to mounts as well', async () => {
      await lab().addRevision('web01', pattern(300 * KIB, 24));
      const readOnly = join(lab().directory, 'read-only');
      await mkdir(readOnly);
      await run('mount', ['--bind', '-o', 'ro', lab().repository, readOnly]);
      try {
        await lab().mount(engine, { repository: readOnly });
        await run('cmp', [lab().inside('latest'), lab().source()]);
      } finally {
        await run('umount', ['-l', readOnly]);
      }
    });
  });
}
