/** A clock that jumps back and forth. Promises 10, 23 and 26 of docs/semantics.md. */
import { randomFillSync } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { execa } from 'execa';
import { expect, test } from 'vitest';
import type { BackupOutcome } from '../../src/operations/backup.js';
import { CAIRN, makeCli } from '../cli/cli-lab.js';

test('revisions keep their order, whatever the clock says', async () => {
  const cli = await makeCli();
  const source = path.join(cli.dir, 'disk.img');
  const taken: BackupOutcome[] = [];
  for (const offset of ['+0d', '-2d', '+3d', '-30d', '+1h']) {
    writeFileSync(source, randomFillSync(Buffer.alloc(200_000)));
    const command = ['-f', offset, process.execPath, CAIRN, 'backup', 'vm1', '--source', source, '--json'];
    const { stdout } = await execa('faketime', command, {
      env: { CAIRN_REPOSITORY: cli.repository, CAIRN_CONFIG: '', TZ: 'UTC' },
      stdin: 'ignore',
    });
    taken.push(JSON.parse(stdout));
  }
  const ids = taken.map(({ revision }) => revision);
  expect([...ids].sort()).toEqual(ids);
  expect(new Set(ids).size).toBe(ids.length);
  expect(taken.map(({ sequence }) => sequence)).toEqual([1, 2, 3, 4, 5]);
  const rows = await cli.list();
  expect(rows.map(({ revision }) => revision)).toEqual(ids);
  // The clock did jump: the times are not in the order of the sequence.
  const times = rows.map(({ createdAt }) => Date.parse(createdAt));
  expect([...times].sort((a, b) => a - b)).not.toEqual(times);
  expect(await cli.json('show', 'vm1@latest')).toMatchObject({ revision: ids.at(-1) });
  await cli.ok('restore', 'vm1', path.join(cli.dir, 'restored.img'));
});
