/** A repository with very many revisions, for measuring what their number costs and nothing else. One real backup
 *  of a small disk is made; every other revision is its manifest under another id, sequence and time, with a checksum
 *  of its own (see docs/format.md), with the same state, and every other disk a copy of the first. So all revisions show the same image,
 *  every file is valid, and no block was stored for any of them. The catalog is made by cairn as it is for any
 *  repository that was copied here.
 *
 *  b3sum computes the checksums. */
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { run } from './measure.js';

const TEXT_CONTEXT = 'cairn 2026-11-20 text file v1';
const HOURS_BETWEEN = 3;
const FIRST = Date.UTC(2026, 0, 1);
/** Files that one command is given. */
const BATCH = 500;

/** What the disk with this index is called. */
export function diskName(index) {
  return `disk-${String(index).padStart(3, '0')}`;
}

/** Makes disk `bench` of `repository`, which has one revision, into `disks` disks `disk-000` … of `revisions` each,
 *  and gives the name of the first and its newest revision. */
export function forge(repository, disks, revisions) {
  const first = join(repository, 'disks', diskName(0));
  renameSync(join(repository, 'disks', 'bench'), first);
  const directory = join(first, 'revisions');
  const [original, ...others] = readdirSync(directory).filter((name) => !name.endsWith('.state.json'));
  if (original === undefined || others.length > 0) throw new Error('there must be one revision to copy');
  const manifest = JSON.parse(readFileSync(join(directory, original), 'utf8'));
  // It says nothing that is of one revision alone.
  const state = readFileSync(join(directory, original.replace(/\.json$/, '.state.json')));
  rmSync(directory, { recursive: true });
  mkdirSync(directory, { mode: 0o700 });
  const ids = Array.from({ length: revisions }, (_, index) => writeRevision(directory, manifest, index));
  for (const id of ids) writeFileSync(join(directory, `${id}.state.json`), state, { mode: 0o600 });
  seal(directory, ids);
  for (let disk = 1; disk < disks; disk += 1) {
    run('cp', ['-a', first, join(repository, 'disks', diskName(disk))]);
  }
  return { disk: diskName(0), revision: ids.at(-1) };
}

/** Writes the manifest without its checksum, up to the line where that comes. Gives the id. */
function writeRevision(directory, { checksum: _, ...manifest }, index) {
  const time = new Date(FIRST + index * HOURS_BETWEEN * 3_600_000);
  const revision = `${time.toISOString().replace(/[-:]|\.\d+/g, '')}-0000`;
  const changed = { ...manifest, revision, sequence: index + 1, startedAt: time, finishedAt: time };
  const text = JSON.stringify(changed, null, 2).replace(/\n\}$/, ',\n');
  writeFileSync(join(directory, `${revision}.json`), text, { mode: 0o600 });
  return revision;
}

/** Appends what the digest of the text before it says. */
function seal(directory, ids) {
  for (let at = 0; at < ids.length; at += BATCH) {
    const paths = ids.slice(at, at + BATCH).map((id) => join(directory, `${id}.json`));
    const digests = run('b3sum', ['--derive-key', TEXT_CONTEXT, '--no-names', ...paths])
      .trim()
      .split('\n');
    for (const [index, path] of paths.entries()) {
      writeFileSync(path, `  "checksum": "${digests[index]}"\n}\n`, { flag: 'a' });
    }
  }
}
