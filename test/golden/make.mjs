#!/usr/bin/env node
// Makes the golden repository of the format that this version writes: test/golden/format-<n>/repository, and beside it
// what reading it must give. It was run once for each format; it is kept so that one can see how, and do it again for
// the next. A golden repository that is there is never made anew, since it is what that version wrote.
//
// Sources and file systems are the same each time; ids, times and stored sizes are not. Needs b3sum, mke2fs and sfdisk.
//
// usage: test/golden/make.mjs <new directory, as in test/golden/format-2>
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';

const here = path.dirname(fileURLToPath(import.meta.url));
const root = path.join(here, '../..');
const { lockDisk, writeState } = await import(path.join(root, 'dist/native/index.js'));

const target = path.resolve(process.argv[2] ?? '');
const [repository, expected] = [path.join(target, 'repository'), path.join(target, 'expected')];
// Manifests name their sources, so these have a name that means nothing.
const sources = '/tmp/cairn-golden';
const KIB = 1024;

const run = (command, args, input) =>
  execFileSync(command, args, {
    input,
    stdio: ['pipe', 'pipe', 'inherit'],
    env: { ...process.env, ...STILL },
  });
const cairn = (...args) =>
  run(process.execPath, [path.join(root, 'bin/cairn.js'), '-r', repository, ...args]);
const json = (...args) => JSON.parse(cairn('--json', ...args));
const inDisk = (disk, ...names) => path.join(repository, 'disks', disk, ...names);
const STILL = {
  E2FSPROGS_FAKE_TIME: '1800000000',
  SOURCE_DATE_EPOCH: '1800000000',
  TZ: 'UTC',
  CAIRN_CONFIG: '',
};

/** Bytes that do not shrink, the same for each name. */
function noise(name, length) {
  const parts = Array.from({ length: Math.ceil(length / 32) }, (_, number) =>
    createHash('sha256').update(`${name} ${number}`).digest(),
  );
  return Buffer.concat(parts).subarray(0, length);
}

function backup(disk, bytes, ...tags) {
  const file = path.join(sources, `${disk}.img`);
  writeFileSync(file, bytes);
  return json('backup', disk, '--source', file, ...tags.flatMap((tag) => ['--tag', tag])).revision;
}

/** How disks are made from here on. */
function makeDisksWith(blockSizeBytes, compression) {
  const header = path.join(repository, 'cairn.json');
  const text = JSON.parse(readFileSync(header, 'utf8'));
  writeFileSync(
    header,
    `${JSON.stringify({ ...text, defaults: { blockSizeBytes, compression } }, null, 2)}\n`,
  );
}

/** A GPT with an ext4 in its one partition, in which the files change. */
function serverImage(round) {
  const [disk, files, partition] = ['disk', 'files', 'partition'].map((name) => path.join(sources, name));
  rmSync(files, { recursive: true, force: true });
  mkdirSync(path.join(files, 'etc'), { recursive: true });
  writeFileSync(path.join(files, 'etc/hostname'), `server ${round}\n`);
  writeFileSync(path.join(files, 'data'), noise(`server ${round}`, 5000));
  for (const [file, size] of [
    [disk, 4096 * KIB],
    [partition, 2048 * KIB],
  ]) {
    writeFileSync(file, '');
    truncateSync(file, size);
  }
  const id = 'c0ffee00-0000-4000-8000-000000000001';
  run(
    'sfdisk',
    ['-q', disk],
    `label: gpt\nlabel-id: ${id}\nstart=1MiB, size=2MiB, type=L, uuid=${id}, name="root"\n`,
  );
  const extended = `lazy_itable_init=0,lazy_journal_init=0,hash_seed=${id},root_owner=0:0`;
  run('mke2fs', [
    '-q',
    '-t',
    'ext4',
    '-O',
    '^has_journal',
    '-L',
    'ROOT',
    '-U',
    id,
    '-E',
    extended,
    '-d',
    files,
    partition,
  ]);
  const image = readFileSync(disk);
  readFileSync(partition).copy(image, 1024 * KIB);
  return image;
}

/** zstd, a partition, tags of a schedule, one revision protected. */
function makeServer() {
  makeDisksWith(64 * KIB, 'zstd');
  const all = [1, 2, 3, 4].map((round) =>
    backup('server', serverImage(round), ...(round < 4 ? ['daily'] : ['daily', 'manual'])),
  );
  cairn('protect', `server@${all[1]}`);
  cairn('tag', `server@${all[1]}`, 'add', 'golden');
}

/** lz4, a length of odd bytes, one revision distrusted, one removed and not yet collected. */
function makeMail() {
  makeDisksWith(64 * KIB, 'lz4');
  const text = Buffer.from('All of this shrinks. '.repeat(40_000)).subarray(0, 700_001);
  const image = (round) => Buffer.concat([noise(`mail ${round}`, 3000), text.subarray(3000)]);
  const all = [1, 2, 3].map((round) => backup('mail', image(round), 'hourly'));
  distrust('mail', all[1]);
  cairn('remove', `mail@${all[0]}`);
}

/** Blocks of 4 KiB, a map of two levels; a revision was removed and collected, which left marks.json, a list of condemned
 *  records, a segment that was written anew; a list of damaged records. */
function makeDatabase() {
  makeDisksWith(4 * KIB, 'zstd');
  const image = Buffer.alloc(1600 * KIB);
  const put = (block, name) => {
    image.fill(0, block * 4096, (block + 1) * 4096);
    noise(name, 1500).copy(image, block * 4096);
  };
  for (let block = 0; block < 400; block += block < 24 ? 1 : 70) put(block, `database ${block}`);
  const all = [backup('database', image, 'manual')];
  for (const round of [1, 2, 3]) {
    put(24 + round * 70, `database change ${round}`);
    image.fill(0, round * 4096, (round + 1) * 4096);
    all.push(backup('database', image, 'manual'));
  }
  cairn('remove', `database@${all[0]}`);
  cairn('collect', 'database');
  const body = `${JSON.stringify({ format: 1, segments: [{ segment: 1, ordinals: [0] }] }, null, 2).slice(0, -2)},\n`;
  const checksum = String(
    run('b3sum', ['--no-names', '--derive-key', 'cairn 2026-11-20 text file v1'], body),
  ).trim();
  writeFileSync(inDisk('database', 'damaged'), `${body}  "checksum": "${checksum}"\n}\n`);
}

/** No command does that yet. */
function distrust(disk, revision) {
  const lock = lockDisk(inDisk(disk), 'make.mjs');
  const { tags } = json('show', `${disk}@${revision}`);
  writeState(inDisk(disk), revision, { tags, trust: 'distrusted', protected: false }, lock);
  lock.release();
}

/** Who made it, and where, is nobody's business. */
function forgetWhere() {
  for (const disk of readdirSync(path.join(repository, 'disks'))) {
    const log = inDisk(disk, 'log.jsonl');
    const lines = readFileSync(log, 'utf8')
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line));
    // Looking at what came of it is no part of it.
    const told = lines
      .filter(({ operation }) => operation !== 'restore')
      .map((line) => JSON.stringify({ ...line, by: 'root@golden', process: 1 }));
    writeFileSync(log, `${told.join('\n')}\n`);
    // Only a hint, and mostly zeros; one is kept.
    if (disk !== 'database') rmSync(inDisk(disk, 'dedup'));
  }
  rmSync(path.join(repository, 'catalog'), { recursive: true });
}

function writeExpected() {
  const rows = json('list');
  const [shown, digests] = [{}, {}];
  for (const { disk, revision } of rows) {
    const name = `${disk}@${revision}`;
    shown[name] = json('show', name);
    const restored = path.join(sources, 'restored');
    cairn('restore', name, restored, '--overwrite');
    digests[name] = createHash('sha256').update(readFileSync(restored)).digest('hex');
  }
  mkdirSync(expected);
  for (const [name, value] of Object.entries({ list: rows, show: shown, sha256: digests })) {
    writeFileSync(path.join(expected, `${name}.json`), `${JSON.stringify(value, null, 2)}\n`);
  }
}

mkdirSync(target);
mkdirSync(sources);
try {
  cairn('init');
  makeServer();
  makeMail();
  makeDatabase();
  writeExpected();
  forgetWhere();
} finally {
  rmSync(sources, { recursive: true });
}
