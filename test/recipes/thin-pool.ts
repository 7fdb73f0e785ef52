/** A volume group with a thin pool and one volume in it, on a machine without device mapper: see lvm-stand-in.mjs for what
 *  is not LVM's own. */
import { execFileSync, spawnSync } from 'node:child_process';
import {
  chmodSync,
  closeSync,
  mkdirSync,
  openSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import type { TestContext } from 'vitest';
import { onTestFinished } from 'vitest';
import { attachLoop, MIB, needRoot, sparseFile } from '../block-lab.js';
import { CHUNK, writePoolMetadata } from './pool-metadata.mjs';

const STAND_IN = fileURLToPath(new URL('./lvm-stand-in.mjs', import.meta.url));
const EXTENTS = 2;

/** Skips a test, and says why, where its programs are not. */
export function needThinTools(context: TestContext): void {
  needRoot(context);
  const absent = ['lvs', 'thin_restore', 'thin_delta'].filter(
    (one) => spawnSync('which', [one]).status !== 0,
  );
  if (absent.length === 0) return;
  const reason = `not installed: ${absent.join(', ')}`;
  process.stdout.write(`skipped: ${context.task.name}: ${reason}\n`);
  context.skip(reason);
}

interface State {
  readonly group: string;
  readonly extents: number;
  nextId: number;
  isHeld: boolean;
  readonly mappings: Record<string, Record<string, number>>;
}

export class ThinPool {
  readonly dir: string;
  readonly group = `cairntest${process.pid}`;
  /** For commands of LVM, those of the stand-in among them. */
  readonly env: Readonly<Record<string, string>>;
  #nextData = 1000;

  /** Gone when the test is over. */
  constructor(dir: string) {
    this.dir = dir;
    this.env = {
      LVM_SYSTEM_DIR: dir,
      LVM_SUPPRESS_FD_WARNINGS: '1',
      PATH: `${path.join(dir, 'bin')}:${process.env['PATH']}`,
    };
    this.#wrapPrograms();
    const loop = attachLoop(sparseFile(dir, 'pv', 32 * MIB));
    writeFileSync(path.join(dir, 'lvm.conf'), configuration(loop));
    for (const at of [`/dev/${this.group}`, `/dev/mapper/${this.group}-pool_tmeta`])
      onTestFinished(() => rmSync(at, { recursive: true, force: true }));
    mkdirSync('/dev/mapper', { recursive: true });
    symlinkSync(path.join(dir, 'pool_tmeta'), `/dev/mapper/${this.group}-pool_tmeta`);
    this.lvm('pvcreate', '-y', loop);
    this.lvm('vgcreate', '-s', '1M', this.group, loop);
    this.#makePool();
    mkdirSync(`/dev/${this.group}`);
    writeFileSync(path.join(dir, 'web01'), Buffer.alloc(EXTENTS * MIB));
    this.#store({ group: this.group, extents: EXTENTS, nextId: 2, isHeld: false, mappings: { '1': {} } });
  }

  lvm(program: string, ...args: string[]): string {
    return execFileSync(program, args, {
      env: { ...process.env, ...this.env },
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
    });
  }

  /** Names of all volumes but the first, and their tags. */
  snapshots(): string[] {
    const told = this.lvm('lvs', '--noheadings', '-o', 'lv_name,lv_tags', this.group);
    const lines = told.split('\n').map((line) => line.trim().replace(/ +/, ' '));
    return lines.filter((line) => line !== '' && line !== 'web01' && line !== 'pool');
  }

  /** Fills a chunk of the volume: in a new place where a snapshot has the old one, as the kernel does. */
  write(chunk: number, byte: number): void {
    this.#change(chunk, byte, (state) => {
      const mine = state.mappings['1'] ?? {};
      const isShared = Object.entries(state.mappings).some(
        ([id, other]) => id !== '1' && mine[chunk] !== undefined && other[chunk] === mine[chunk],
      );
      if (mine[chunk] === undefined || isShared) mine[chunk] = this.#nextData++;
    });
  }

  discard(chunk: number): void {
    this.#change(chunk, 0, (state) => delete state.mappings['1']?.[chunk]);
  }

  content(): Buffer {
    return readFileSync(path.join(this.dir, 'web01'));
  }

  /** Whether a snapshot of the pool's metadata was left. */
  isHeld(): boolean {
    return this.#load().isHeld;
  }

  /** As another program would. */
  hold(isHeld: boolean): void {
    this.#store({ ...this.#load(), isHeld });
  }

  #change(chunk: number, byte: number, map: (state: State) => void): void {
    const fd = openSync(path.join(this.dir, 'web01'), 'r+');
    writeSync(fd, Buffer.alloc(CHUNK, byte), 0, CHUNK, chunk * CHUNK);
    closeSync(fd);
    const state = this.#load();
    map(state);
    this.#store(state);
  }

  #load(): State {
    return JSON.parse(readFileSync(path.join(this.dir, 'state.json'), 'utf8'));
  }

  #store(state: State): void {
    writeFileSync(path.join(this.dir, 'state.json'), JSON.stringify(state));
    writePoolMetadata(this.dir, state);
  }

  /** CRASH is `<program>:<before|after>`: there all of the hook's process group is killed, once. */
  #wrapPrograms(): void {
    const bin = path.join(this.dir, 'bin');
    mkdirSync(bin);
    for (const program of ['lvcreate', 'lvremove', 'lvrename', 'lvchange', 'dmsetup']) {
      const real =
        program === 'lvchange' ? '/sbin/lvchange' : `${process.execPath} ${STAND_IN} ${this.dir} ${program}`;
      const script = `#!/bin/sh
[ "$CRASH" != ${program}:before ] || kill -9 0
${real} "$@" || exit
[ "$CRASH" != ${program}:after ] || kill -9 0
`;
      writeFileSync(path.join(bin, program), script);
      chmodSync(path.join(bin, program), 0o755);
    }
  }

  #makePool(): void {
    const file = path.join(this.dir, 'group.txt');
    this.lvm('vgcfgbackup', '-f', file, this.group);
    const text = readFileSync(file, 'utf8').trimEnd();
    writeFileSync(file, `${text.slice(0, text.lastIndexOf('}'))}${VOLUMES}\n}\n`);
    this.lvm('vgcfgrestore', '-y', '--force', '-f', file, this.group);
  }
}

function configuration(loop: string): string {
  return `devices { filter = [ "a|^${loop}$|", "r|.*|" ] }
global { activation = 0 }
backup { backup = 0 archive = 0 }
`;
}

function volume(name: string, letter: string, status: string, extents: number, segment: string): string {
  const [six, four] = [letter.repeat(6), letter.repeat(4)];
  return `
\t\t${name} {
\t\t\tid = "${[six, four, four, four, four, four, six].join('-')}"
\t\t\tstatus = [${status}]
\t\t\tflags = []
\t\t\tsegment_count = 1
\t\t\tsegment1 {
\t\t\t\tstart_extent = 0
\t\t\t\textent_count = ${extents}
\t\t\t\t${segment.replaceAll('; ', '\n\t\t\t\t')}
\t\t\t}
\t\t}`;
}

const SEEN = '"READ", "WRITE", "VISIBLE"';
const HIDDEN = '"READ", "WRITE"';
const linear = (extent: number) => `type = "striped"; stripe_count = 1; stripes = ["pv0", ${extent}]`;
const VOLUMES = `
\tlogical_volumes {${volume(
  'pool',
  'a',
  SEEN,
  16,
  `type = "thin-pool"; metadata = "pool_tmeta"; pool = "pool_tdata"; transaction_id = 0; chunk_size = ${CHUNK / 512}; discards = "passdown"; zero_new_blocks = 1`,
)}${volume('web01', 'b', SEEN, EXTENTS, 'type = "thin"; thin_pool = "pool"; transaction_id = 0; device_id = 1')}${volume(
  'pool_tmeta',
  'c',
  HIDDEN,
  4,
  linear(0),
)}${volume('pool_tdata', 'd', HIDDEN, 16, linear(4))}${volume('lvol0_pmspare', 'e', HIDDEN, 4, linear(20))}
\t}
`;
