/** What tools keep of the lab's disks: one directory for each tool, in which its repository lies. */
import { linkSync, mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { run } from '../measure.js';
import { timedDurably } from '../timed.js';

/** A disk under the path that every backup of it reads, in the page cache: { directory, name, path }. */
export function shownImage(lab, disk) {
  const directory = join(lab.directory, 'image');
  const image = { directory, name: 'disk.img', path: join(directory, 'disk.img') };
  mkdirSync(directory, { recursive: true });
  rmSync(image.path, { force: true });
  linkSync(disk, image.path);
  warm(image.path);
  return image;
}

/** Brings a file, or all files under a directory, into the page cache. */
export function warm(path) {
  run('sh', ['-c', 'find "$0" -type f -exec cat {} + >/dev/null', path]);
}

/** An empty store for `tool`; gives its directory. */
export function emptyStore(lab, tool) {
  const at = storeAt(lab, tool);
  run('rm', ['-rf', at]);
  mkdirSync(join(at, 'repository'), { recursive: true });
  for (const command of tool.initialise(at))
    run(command.words[0], command.words.slice(1), spawnOptions(command));
  return at;
}

/** Stores an image and tells what that took: { seconds, peakBytes, storedBytes, files }, all of them of the whole
 *  store. */
export function store(tool, at, image, revision) {
  const { seconds, peakBytes } = timedDurably(tool.backup(at, image, revision), at);
  return { seconds, peakBytes, ...sizeOf(at) };
}

/** The tool's store with one backup of D, made when there is none yet. Whoever changes it puts it back (`saveStore`).
 *  Throws at once for a tool that could not make it before. */
export function storeOfDisk(lab, tool, image) {
  const known = lab.tools.get(tool.name);
  if (known?.error !== undefined) throw known.error;
  if (known?.first === undefined) {
    try {
      keepStore(lab, tool, store(tool, emptyStore(lab, tool), image, 'first'));
    } catch (error) {
      failStore(lab, tool, error);
      throw error;
    }
  }
  return storeAt(lab, tool);
}

/** Says that the tool cannot store D, so that nobody waits for it again. */
export function failStore(lab, tool, error) {
  lab.tools.set(tool.name, { error });
}

/** Says that the tool's store now holds one backup of D, which took `outcome`. */
export function keepStore(lab, tool, outcome) {
  lab.tools.set(tool.name, { ...lab.tools.get(tool.name), first: outcome });
}

/** Puts the store back to what `save` saw. */
export function saveStore(lab, tool) {
  const at = storeAt(lab, tool);
  const saved = `${at}.saved`;
  run('rm', ['-rf', saved]);
  run('cp', ['-a', '--reflink=auto', at, saved]);
  return {
    reset: () => {
      run('rm', ['-rf', at]);
      run('cp', ['-a', '--reflink=auto', saved, at]);
    },
    done: () => {
      run('rm', ['-rf', at]);
      run('mv', [saved, at]);
    },
  };
}

/** Allocated bytes and number of the files of a store's repository. */
export function sizeOf(at) {
  const path = join(at, 'repository');
  const storedBytes = Number(run('du', ['-s', '--block-size=1', path]).split('\t')[0]);
  const files = Number(run('sh', ['-c', 'find "$0" -type f | wc -l', path]));
  return { storedBytes, files };
}

function storeAt(lab, tool) {
  return join(lab.directory, 'stores', tool.name.replace(/\W+/g, '-'));
}

function spawnOptions({ cwd, env }) {
  return { cwd, env: { ...process.env, ...env } };
}
