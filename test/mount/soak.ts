/** A mount under everything at once, for as long as one likes: readers of every kind, each byte compared with its
 *  source; revisions that come and go; a second mount that comes and goes. Memory, threads and descriptors of the
 *  server are sampled throughout. */
import { mkdir, open, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { EngineName } from '../../src/mount/engine/engine.js';
import { unmount } from '../../src/mount/session/unmount.js';
import { makeLvmDisk, VOLUMES, windowOf } from './lvm-disk.js';
import { type MountLab, run, until } from './mount-lab.js';
import { MIB, patchwork } from './pattern.js';
import { readSame } from './probe.js';
import { Random } from './random.js';

/** One look at the server. */
export interface Sample {
  readonly atSeconds: number;
  readonly rssMib: number;
  /** What of it is the process's own; the rest is mapped from files, which the kernel takes back when it likes. */
  readonly ownMib: number;
  readonly threads: number;
  readonly descriptors: number;
}

export interface SoakReport {
  readonly samples: readonly Sample[];
  /** How often each kind of work was done, all of it right. */
  readonly done: Readonly<Record<string, number>>;
}

const LANES = 4;
const CHURN_REVISIONS_MAX = 25;
const JOB_MS_MAX = 120_000;

/** A little of everything that a reader may do. Resolves when what it read was right, and rejects otherwise. */
type Work = () => Promise<unknown>;

/** Mounts, works for `seconds`, and unmounts. Rejects as soon as one read is wrong or fails. */
export async function soak(
  lab: MountLab,
  engine: EngineName,
  seconds: number,
  seed: number,
): Promise<SoakReport> {
  await prepare(lab);
  await lab.mount(engine);
  const { server } = await lab.session();
  const endMs = performance.now() + seconds * 1000;
  const isOver = () => performance.now() > endMs;
  const done: Record<string, number> = {};
  const samples: Sample[] = [];
  const count = async (name: string, work: Work) => {
    await work();
    done[name] = (done[name] ?? 0) + 1;
  };
  const readers = Object.entries(readersOf(lab));
  const lane = async (random: Random) => {
    while (!isOver()) await count(...random.pick(readers));
  };
  const churn = new Churn(lab);
  const repeat = async (name: string, work: Work) => {
    while (!isOver()) await count(name, work);
  };
  const sampler = async () => {
    const beginMs = performance.now();
    for (; !isOver(); await sleep(1000)) samples.push(await sampleOf(server.pid, beginMs));
  };
  await Promise.all([
    ...Array.from({ length: LANES }, (_, index) => lane(new Random(seed + index))),
    repeat('revision added, read, and an old one removed', () => churn.turn()),
    repeat('second mount and unmount', () => secondMount(lab, engine)),
    sampler(),
  ]);
  await unmount({ mountpoint: lab.mountpoint });
  return { samples, done };
}

/** A disk of noise, text and holes, one with volumes, and one that fio wrote. */
async function prepare(lab: MountLab): Promise<void> {
  await lab.addRevision('web01', patchwork(96 * MIB, 1), { sizeBytes: 400 * MIB + 777 });
  const content = await makeLvmDisk(lab.source('lvm'));
  await writeFile(join(lab.directory, 'striped'), windowOf(content, VOLUMES['a-striped'] ?? []));
  await lab.backUp('lvm');
  await fio(lab.source('fio'), '--rw=write', '--do_verify=0');
  await lab.backUp('fio');
  await mkdir(join(lab.directory, 'second'));
}

function readersOf(lab: MountLab): Record<string, Work> {
  const whole = lab.inside('latest');
  const source = lab.source();
  const patterned = lab.inside('latest', 'disk.img', 'fio');
  const striped = lab.inside('latest', 'volumes/guest--vg-a--striped.img', 'lvm');
  const timed = ['--readonly', '--time_based', '--runtime=5'];
  return {
    'random places, buffered': () => readSame(whole, source, { mode: 'buffered', rounds: 300 }),
    'random places, direct': () => readSame(whole, source, { mode: 'direct', rounds: 300 }),
    'random places, mapped': () => readSame(whole, source, { mode: 'mmap', rounds: 300 }),
    'striped volume': () => readSame(striped, join(lab.directory, 'striped'), { mode: 'direct' }),
    'whole image': () => run('cmp', [whole, source], JOB_MS_MAX),
    'sparse copy': async () => {
      const copy = join(lab.directory, `copy-${performance.now()}`);
      await run('cp', ['--sparse=always', whole, copy], JOB_MS_MAX);
      await run('cmp', [copy, source], JOB_MS_MAX);
      await run('rm', [copy]);
    },
    'fio, in order': () => fio(patterned, '--rw=read', ...timed),
    'fio, anywhere, direct, 16 deep': () =>
      fio(patterned, '--rw=randread', '--ioengine=libaio', '--iodepth=16', '--direct=1', ...timed),
    'fio, anywhere, mapped': () => fio(patterned, '--rw=randread', '--ioengine=mmap', ...timed),
    'names and attributes': () => run('find', [join(lab.mountpoint, 'web01'), '-ls']),
  };
}

async function fio(file: string, ...args: string[]): Promise<void> {
  const verify = ['--verify=crc32c', '--verify_interval=4096', '--verify_fatal=1', '--verify_state_save=0'];
  const all = ['--name=soak', `--filename=${file}`, '--size=64m', '--bs=64k', ...verify, ...args];
  await run('fio', all, JOB_MS_MAX);
}

/** A disk that changes all the time: each revision is read back whole as soon as it shows. */
class Churn {
  readonly #revisions: string[] = [];
  readonly #random = new Random(3);

  constructor(readonly lab: MountLab) {}

  async turn(): Promise<void> {
    const { lab } = this;
    const source = lab.source('churn');
    if (this.#revisions.length === 0) await writeFile(source, patchwork(24 * MIB, 2));
    const file = await open(source, 'r+');
    await file.write(
      patchwork(300_000, this.#random.below(2 ** 31)),
      0,
      300_000,
      this.#random.below(23 * MIB),
    );
    await file.close();
    const revision = await lab.backUp('churn');
    this.#revisions.push(revision);
    const image = lab.inside(revision, 'disk.img', 'churn');
    await until(() => isThere(image));
    await run('cmp', [image, source], JOB_MS_MAX);
    if (this.#revisions.length <= CHURN_REVISIONS_MAX) return;
    const [oldest = ''] = this.#revisions.splice(this.#random.below(CHURN_REVISIONS_MAX), 1);
    await lab.removeRevision('churn', oldest);
    await until(async () => !(await isThere(lab.inside(oldest, 'disk.img', 'churn'))));
  }
}

async function isThere(path: string): Promise<boolean> {
  return (await run('sh', ['-c', 'test -e "$0" && echo yes || echo no', path])) === 'yes\n';
}

async function secondMount(lab: MountLab, engine: EngineName): Promise<void> {
  const mountpoint = join(lab.directory, 'second');
  await lab.mount(engine, { mountpoint });
  await run('cmp', ['--bytes', String(8 * MIB), join(mountpoint, 'fio/latest/disk.img'), lab.source('fio')]);
  await unmount({ mountpoint });
  await sleep(1000);
}

async function sampleOf(pid: number, beginMs: number): Promise<Sample> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  const field = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(status)?.[1]);
  return {
    atSeconds: Math.round((performance.now() - beginMs) / 1000),
    rssMib: Math.round(field('VmRSS') / 1024),
    ownMib: Math.round(field('RssAnon') / 1024),
    threads: field('Threads'),
    descriptors: (await readdir(`/proc/${pid}/fd`)).length,
  };
}
