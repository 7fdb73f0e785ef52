/** What the workloads of the mount read: the same image served by each engine and, beside them, the file of the
 *  trivial file system. All are mounted at the same time and read in turn; the kernel gives all the same readahead. */
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { backedUp, CAIRN, cairn } from './lab.js';
import { leaveOut, run } from './measure.js';

const TRIVIAL_MS_MAX = 5_000;

/** Mounts a repository once for each engine and calls `measure` with { engine: path of the mount }. An engine that
 *  cannot mount is left out. Unmounts whatever happens. */
export async function withEngines(lab, measure, repository = lab.repository) {
  const mounts = {};
  try {
    for (const engine of lab.engines) {
      const directory = join(lab.directory, `mount-${engine}`);
      mkdirSync(directory, { recursive: true });
      try {
        cairn(lab, ['mount', '--engine', engine, directory], repository);
        mounts[engine] = directory;
      } catch (error) {
        leaveOut(`engine ${engine}`, error.message);
      }
    }
    return await measure(mounts);
  } finally {
    for (const directory of Object.values(mounts)) unmount(directory);
  }
}

/** As `withEngines` for the lab's disk: `measure` gets { engine: path of disk.img, trivial: path }, without
 *  `trivial` where that cannot be built. */
export async function withImages(lab, measure) {
  const revision = backedUp(lab);
  return await withEngines(lab, async (mounts) => {
    const images = Object.fromEntries(
      Object.entries(mounts).map(([engine, at]) => [engine, join(at, 'bench', revision, 'disk.img')]),
    );
    const trivial = await startTrivial(lab, Object.values(mounts)[0]);
    try {
      return await measure(trivial === null ? images : { ...images, trivial: trivial.path });
    } finally {
      if (trivial !== null) run('umount', [trivial.directory]);
    }
  });
}

/** Unmounts; a mount that is still in use is taken away by force, so that it is no burden to what comes next. */
export function unmount(directory) {
  try {
    run(process.execPath, [CAIRN, 'umount', directory]);
  } catch (error) {
    process.stderr.write(`${error.message}\n`);
    run(process.execPath, [CAIRN, 'umount', '--force', directory]);
  }
}

/** Brings the segments of the lab's disk into the page cache, so that decoding is measured and not the disk of the
 *  machine. Costs little when they are there already. */
export function warmStore(lab) {
  run('sh', ['-c', 'cat "$0"/disks/bench/segments/*.seg >/dev/null', lab.repository]);
}

async function startTrivial(lab, ours) {
  const directory = join(lab.directory, 'trivial');
  const program = join(lab.directory, 'trivial-fuse');
  const source = new URL('./trivial-fuse.c', import.meta.url).pathname;
  mkdirSync(directory, { recursive: true });
  try {
    if (!existsSync(program)) {
      const build = 'cc -O2 "$0" $(pkg-config fuse3 --cflags --libs) -o "$1"';
      run('sh', ['-c', build, source, program]);
    }
  } catch {
    leaveOut('the trivial FUSE file system', 'it needs cc, pkg-config and libfuse3-dev');
    return null;
  }
  const server = spawn(program, [directory, String(lab.sizeBytes)], { stdio: 'ignore' });
  const path = join(directory, 'disk.img');
  const deadline = Date.now() + TRIVIAL_MS_MAX;
  while (!existsSync(path)) {
    if (server.exitCode !== null || Date.now() > deadline) {
      server.kill();
      leaveOut('the trivial FUSE file system', 'it does not start');
      return null;
    }
    await wait(20);
  }
  if (ours !== undefined) copyReadahead(ours, directory);
  return { path, directory };
}

/** Gives the mount `to` the readahead that the mount `from` has, which needs root. */
function copyReadahead(from, to) {
  try {
    writeFileSync(readaheadOf(to), readFileSync(readaheadOf(from)));
  } catch (error) {
    process.stderr.write(`the readahead of the trivial file system is the kernel's own: ${error.message}\n`);
  }
}

function readaheadOf(mountpoint) {
  const line = readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .findLast((each) => each.split(' ')[4] === mountpoint);
  return `/sys/class/bdi/${line?.split(' ')[2]}/read_ahead_kb`;
}
