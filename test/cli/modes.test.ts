/** What is made is its owner's alone, whatever the umask says. */
import { lstatSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';
import { run } from '../block-lab.js';
import { tempDir } from '../temp-dir.js';
import { CAIRN } from './cli-lab.js';

/** The one thing that is made to be run; the directories above it keep others out. */
const PROGRAM = /^rescue\/cairn-rescue-\w+$/;

/** Everything in a repository that is not 0700 for a directory and 0600 for a file. */
function tooOpen(dir: string): string[] {
  const names = ['', ...readdirSync(dir, { recursive: true, encoding: 'utf8' })];
  return names.flatMap((name) => {
    const stats = lstatSync(path.join(dir, name));
    const mode = stats.mode & 0o7777;
    const ofFile = PROGRAM.test(name) ? 0o755 : 0o600;
    return mode === (stats.isDirectory() ? 0o700 : ofFile) ? [] : [`${name}: ${mode.toString(8)}`];
  });
}

test.each(['000', '022', '077'])('with a umask of %s', (umask) => {
  const dir = tempDir();
  const repository = path.join(dir, 'new/repository');
  mkdirSync(path.dirname(repository));
  const image = path.join(dir, 'disk.img');
  const config = path.join(dir, 'cairn.yaml');
  writeFileSync(config, 'schedules:\n  all: {daily: {every: 1s, keep: 1}}\ndisks:\n  web: {schedule: all}\n');
  const cairn = (...args: string[]) => {
    const command = `umask ${umask}; exec "$0" "$@"`;
    run('sh', '-c', command, process.execPath, CAIRN, '-q', '-r', repository, '-c', config, ...args);
    expect(tooOpen(repository), args.join(' ')).toEqual([]);
  };
  cairn('init');
  for (const round of [1, 2, 3]) {
    writeFileSync(image, Buffer.alloc(300_000, `round ${round}`));
    cairn('backup', 'web', '--source', image, '--tag', 'daily');
  }
  cairn('protect', 'web@latest');
  cairn('tag', 'web@latest~1', 'add', 'seen');
  cairn('remove', 'web@latest~2');
  cairn('collect');
  cairn('tag', 'web@latest~1', 'remove', 'seen');
  cairn('prune');
  cairn('catalog', 'rebuild');
  cairn('disk', 'rename', 'web', 'server');
  cairn('restore', 'server', path.join(dir, 'restored.img'));
  const made = readdirSync(repository, { recursive: true, encoding: 'utf8' });
  for (const name of ['catalog/data.mdb', 'disks/server/marks.json', 'disks/server/log.jsonl', 'README.txt'])
    expect(made).toContain(name);
});
