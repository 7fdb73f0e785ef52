/** Backups that are told what has changed, as a snapshot helper would. */
import { closeSync, openSync, readFileSync, truncateSync, writeFileSync, writeSync } from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';
import { type Cli, makeCli } from './cli-lab.js';

const MIB = 1024 * 1024;

interface Lab {
  readonly cli: Cli;
  readonly image: string;
  /** The id of the revision that is there. */
  readonly first: string;
}

async function makeLab(): Promise<Lab> {
  const cli = await makeCli();
  const image = path.join(cli.dir, 'disk.img');
  writeFileSync(image, Buffer.alloc(8 * MIB, 1));
  const { revision } = await cli.backup('vm1', image);
  return { cli, image, first: revision };
}

function overwrite(file: string, offset: number, bytes: Buffer): void {
  const fd = openSync(file, 'r+');
  writeSync(fd, bytes, 0, bytes.length, offset);
  closeSync(fd);
}

function tell(
  cli: Cli,
  from: string,
  extents: readonly (readonly [offset: number, length: number])[],
): string {
  const file = path.join(cli.dir, 'changes.json');
  const told = { from, extents: extents.map(([offset, length]) => ({ offset, length })) };
  writeFileSync(file, JSON.stringify(told));
  return file;
}

async function restored({ cli }: Lab): Promise<Buffer> {
  const target = path.join(cli.dir, 'restored.img');
  await cli.ok('restore', 'vm1', target, '--overwrite', '--yes');
  return readFileSync(target);
}

test('what was told to have changed is read alone, and the revision is whole', async () => {
  const lab = await makeLab();
  overwrite(lab.image, 5 * MIB + 7, Buffer.from('changed'));
  const told = tell(lab.cli, lab.first, [[5 * MIB + 7, 7]]);
  const taken = await lab.cli.backup('vm1', lab.image, '--changed-extents', told);
  expect(taken).toMatchObject({ method: 'diff', reason: null, readBytes: 65536, sizeBytes: 8 * MIB });
  expect((await restored(lab)).equals(readFileSync(lab.image))).toBe(true);
  const full = await lab.cli.backup('vm1', lab.image);
  expect(full).toMatchObject({ method: 'full', unchanged: true });
});

test('a disk that grew or shrank is whole as well', async () => {
  const lab = await makeLab();
  truncateSync(lab.image, 3 * MIB + 1000);
  const shrunk = await lab.cli.backup('vm1', lab.image, '--changed-extents', tell(lab.cli, lab.first, []));
  expect(shrunk.method).toBe('diff');
  expect((await restored(lab)).equals(readFileSync(lab.image))).toBe(true);
  truncateSync(lab.image, 6 * MIB);
  overwrite(lab.image, 6 * MIB - 3, Buffer.from('end'));
  await lab.cli.backup('vm1', lab.image, '--changed-extents', tell(lab.cli, shrunk.revision, []));
  expect((await restored(lab)).equals(readFileSync(lab.image))).toBe(true);
});

test('changes since another revision make everything be read, and that is said', async () => {
  const lab = await makeLab();
  overwrite(lab.image, 0, Buffer.from('more'));
  const second = await lab.cli.backup('vm1', lab.image);
  const stale = await lab.cli.backup('vm1', lab.image, '--changed-extents', tell(lab.cli, lab.first, []));
  expect(stale).toMatchObject({ method: 'full', reason: expect.stringContaining(second.revision) });
  await lab.cli.ok('trust', `vm1@${stale.revision}`, 'distrusted');
  const distrusted = await lab.cli.backup(
    'vm1',
    lab.image,
    '--changed-extents',
    tell(lab.cli, stale.revision, []),
  );
  expect(distrusted).toMatchObject({ method: 'full', reason: expect.stringContaining('is distrusted') });
  const fresh = await lab.cli.backup(
    'new',
    lab.image,
    '--changed-extents',
    tell(lab.cli, stale.revision, []),
  );
  expect(fresh).toMatchObject({ method: 'full', reason: 'the disk has no revision yet' });
});

test('tracking that lies is found: the revision is distrusted, and the next one reads everything', async () => {
  const lab = await makeLab();
  writeFileSync(lab.image, Buffer.alloc(8 * MIB, 2));
  const told = tell(lab.cli, lab.first, [[0, 4096]]);
  const { exitCode, stdout } = await lab.cli.run([
    'backup',
    'vm1',
    '--source',
    lab.image,
    '--changed-extents',
    told,
    '--json',
  ]);
  const taken = JSON.parse(stdout);
  expect(taken.comparison.verdict).toBe('failed');
  expect(exitCode).toBe(5);
  const next = await lab.cli.backup('vm1', lab.image, '--changed-extents', tell(lab.cli, taken.revision, []));
  expect(next).toMatchObject({ method: 'full', reason: expect.stringContaining('is distrusted') });
  expect((await restored(lab)).equals(readFileSync(lab.image))).toBe(true);
});

test('everything is read now and then, and tells whether what was told was true', async () => {
  const lab = await makeLab();
  const { cli, image, first } = lab;
  overwrite(image, 3 * MIB, Buffer.from('told'));
  const truth = tell(cli, first, [[3 * MIB, 4]]);
  const checked = await cli.backup('vm1', image, '--changed-extents', truth, '--full');
  expect(checked).toMatchObject({ method: 'full', reason: expect.stringContaining('now and then') });
  const diff = await cli.backup('vm1', image, '--changed-extents', tell(cli, checked.revision, []));
  overwrite(image, 4 * MIB + 5, Buffer.from('told'));
  overwrite(image, 7 * MIB, Buffer.from('untold'));
  const lie = tell(cli, diff.revision, [[4 * MIB, 100]]);
  const caught = await cli.backup('vm1', image, '--changed-extents', lie, '--full');
  expect(caught).toMatchObject({ method: 'full', comparison: { verdict: 'passed' } });
  expect(caught.warnings.join()).toContain(`64 KiB differ from vm1@${diff.revision}`);
  expect(caught.warnings.join()).toContain(`the first at offset ${7 * MIB}:`);
  const trust = (await cli.list('vm1')).map((row) => row.trust);
  expect(trust).toEqual(['trusted', 'trusted', 'distrusted', 'trusted']);
  expect((await restored(lab)).equals(readFileSync(image))).toBe(true);
  expect(await cli.ok('status')).toContain(
    'vm1: the last backup read everything: what is told of changes is checked now and then',
  );
});

test.each([
  ['{', /is no JSON object/],
  ['[]', /is no JSON object/],
  ['{"from":"x","extents":[]}', /“from” is not the id/],
  ['{"from":"20261126T000000Z-0000"}', /“extents” is not a list/],
  ['{"from":"20261126T000000Z-0000","extents":[{"offset":-1,"length":1}]}', /extent 1 has no “offset”/],
  ['{"from":"20261126T000000Z-0000","extents":[{"offset":0,"length":1},5]}', /extent 2 has no “offset”/],
])('%j is refused', async (text, message) => {
  const { cli, image } = await makeLab();
  const file = path.join(cli.dir, 'changes.json');
  writeFileSync(file, text);
  const failure = await cli.failure(['backup', 'vm1', '--source', image, '--changed-extents', file]);
  expect(failure).toMatchObject({ exitCode: 2, code: 'USAGE', message: expect.stringMatching(message) });
});

test('a stream takes no changes, and a file of them must be there', async () => {
  const { cli, first } = await makeLab();
  const told = tell(cli, first, []);
  const stream = await cli.failure(['backup', 'vm1', '--source', 'exec:echo x', '--changed-extents', told]);
  expect(stream).toMatchObject({ exitCode: 2, message: expect.stringContaining('file or block device') });
  expect(await cli.failure(['backup', 'vm1', '--changed-extents', '/nonexistent.json'])).toMatchObject({
    exitCode: 2,
  });
});
