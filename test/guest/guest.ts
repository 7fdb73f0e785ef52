/** A real machine under QEMU, and the disk that it starts from: a GPT with an ext4 root that holds busybox and a shell
 *  on the serial console. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, cpSync, mkdirSync, writeFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import path from 'node:path';
import { onTestFinished } from 'vitest';
import { run } from '../block-lab.js';
import { until } from '../mount/mount-lab.js';
import { BUSYBOX, type GuestKernel } from './kernel.js';

const MIB = 1024 ** 2;
/** A guest without hardware help on a machine that does other things, too. */
const PATIENCE_MS = 60_000;

/** Reads commands from the console, line by line, and says how each ended. */
const GUEST_INIT = `#!/bin/busybox sh
busybox mount -t devtmpfs dev /dev
busybox mount -t proc proc /proc
exec </dev/ttyS0 >/dev/ttyS0 2>&1
busybox stty -echo
if [ -x /bin/qemu-ga ]; then
  busybox mount -t tmpfs run /run
  /bin/qemu-ga -m virtio-serial -p /dev/vport*p1 -t /run >/run/agent.log 2>&1 </dev/null &
fi
echo x >>/starts
echo "guest up: Linux $(busybox uname -r), start $(busybox wc -l </starts), $(busybox cat /name)"
while read -r line; do eval "$line"; echo "ended: $?"; done
`;

/** A disk of 64 MiB from which a guest starts that says `name`, and runs `agent` where it is given. */
export function makeGuestDisk(dir: string, name: string, agent?: string): string {
  const [tree, root, disk] = ['guest-tree', 'guest-root', 'guest-disk'].map((each) =>
    path.join(dir, each),
  ) as [string, string, string];
  for (const each of ['bin', 'dev', 'proc', 'run']) mkdirSync(path.join(tree, each), { recursive: true });
  cpSync(BUSYBOX, path.join(tree, 'bin/busybox'), { dereference: true });
  if (agent !== undefined) installProgram(agent, tree);
  writeFileSync(path.join(tree, 'name'), `${name}\n`);
  writeFileSync(path.join(tree, 'init'), GUEST_INIT);
  chmodSync(path.join(tree, 'init'), 0o755);
  run('mke2fs', '-q', '-t', 'ext4', '-d', tree, root, '62M');
  run('truncate', '-s', '64M', disk);
  run('sh', '-c', `echo 'label: gpt\nstart=${MIB / 512}, type=L, name="root"' | sfdisk -q "$0"`, disk);
  run('dd', `if=${root}`, `of=${disk}`, 'bs=1M', 'seek=1', 'conv=notrunc,sparse', 'status=none');
  return disk;
}

/** Copies a program into a tree, with the libraries that it needs. */
function installProgram(program: string, tree: string): void {
  cpSync(program, path.join(tree, 'bin', path.basename(program)));
  for (const [, library = ''] of run('ldd', program).matchAll(/(?:=> |^\s*)(\/\S+)/gm)) {
    mkdirSync(path.join(tree, path.dirname(library)), { recursive: true });
    cpSync(library, path.join(tree, library), { dereference: true });
  }
}

export class Guest {
  readonly #process: ChildProcess;
  readonly #qmpPath: string;
  #qmp: Socket | null = null;
  #answers = '';
  /** All that came over the serial console. */
  console = '';

  /** Killed when the test is over. `disk` is a qcow2 file; its node is `system`, that of the file `overlay`. `more` are
   *  arguments of QEMU. */
  constructor({ kernel, ramdisk }: GuestKernel, dir: string, disk: string, more: readonly string[] = []) {
    this.#qmpPath = path.join(dir, `qmp-${process.hrtime.bigint()}`);
    const drive = `file=${disk},file.node-name=overlay,format=qcow2,node-name=system,if=virtio,werror=stop,rerror=stop`;
    this.#process = spawn(
      'qemu-system-x86_64',
      [
        ...['-accel', 'tcg', '-cpu', 'max', '-m', '256', '-nodefaults', '-no-user-config', '-no-reboot'],
        ...['-display', 'none', '-serial', 'stdio', '-qmp', `unix:${this.#qmpPath},server=on,wait=off`],
        ...['-kernel', kernel, '-initrd', ramdisk, '-append', 'console=ttyS0 quiet panic=-1'],
        ...['-drive', drive],
        ...more,
      ],
      { stdio: ['pipe', 'pipe', 'pipe'] },
    );
    for (const stream of [this.#process.stdout, this.#process.stderr]) {
      stream?.setEncoding('utf8').on('data', (text: string) => {
        this.console += text.replaceAll('\r', '');
      });
    }
    onTestFinished(() => {
      this.#qmp?.destroy();
      this.#process.kill('SIGKILL');
    });
  }

  /** The line that it says when it is up. */
  async up(): Promise<string> {
    await this.#until(() => /guest up: .*\n/.test(this.console));
    return /guest up: .*/.exec(this.console)?.[0] ?? '';
  }

  /** Types a line and does not wait. */
  type(line: string): void {
    this.#process.stdin?.write(`${line}\n`);
  }

  /** What a command printed; it must succeed. */
  async command(line: string): Promise<string> {
    const from = this.console.length;
    this.type(line);
    await this.#until(() => /ended: \d+/.test(this.console.slice(from)));
    const [, printed = '', status] = /^([\s\S]*?)ended: (\d+)/.exec(this.console.slice(from)) ?? [];
    if (status !== '0') throw new Error(`“${line}” failed in the guest: ${this.console.slice(from)}`);
    return printed.trim();
  }

  /** As by pulling the plug. */
  async kill(): Promise<void> {
    const ended = once(this.#process, 'exit');
    this.#process.kill('SIGKILL');
    await ended;
  }

  /** Writes everything back and ends. */
  async shutDown(): Promise<void> {
    const ended = once(this.#process, 'exit');
    this.type('busybox sync; busybox mount -o remount,ro / && busybox reboot -f');
    await ended;
  }

  /** An answer to a QMP command, or what it failed with. */
  async qmp(command: string, parameters: object = {}): Promise<unknown> {
    this.#qmp ??= await this.#greeted();
    const id = String(process.hrtime.bigint());
    this.#qmp.write(`${JSON.stringify({ execute: command, arguments: parameters, id })}\n`);
    const answer = await this.#message((message) => message['id'] === id);
    if ('error' in answer) throw new Error(JSON.stringify(answer['error']));
    return answer['return'];
  }

  /** An event that has come since the first command. */
  async event(name: string): Promise<Record<string, unknown>> {
    this.#qmp ??= await this.#greeted();
    return this.#message((message) => message['event'] === name);
  }

  async #greeted(): Promise<Socket> {
    const socket = connect(this.#qmpPath);
    socket.setEncoding('utf8').on('data', (text: string) => {
      this.#answers += text;
    });
    await once(socket, 'connect');
    socket.write('{"execute":"qmp_capabilities","id":"hello"}\n');
    await this.#message((message) => message['id'] === 'hello');
    return socket;
  }

  async #message(isMeant: (message: Record<string, unknown>) => boolean): Promise<Record<string, unknown>> {
    const find = () => {
      const complete = this.#answers.slice(0, this.#answers.lastIndexOf('\n') + 1);
      const messages = complete.split('\n').filter((line) => line.trim() !== '');
      return messages.map((line) => JSON.parse(line) as Record<string, unknown>).findLast(isMeant);
    };
    await this.#until(() => find() !== undefined);
    return find() ?? {};
  }

  /** Whatever goes wrong, the console tells why. */
  async #until(condition: () => boolean): Promise<void> {
    const hasEnded = () => this.#process.exitCode !== null || this.#process.signalCode !== null;
    try {
      await until(async () => condition() || hasEnded(), PATIENCE_MS);
    } catch (cause) {
      throw new Error(`the guest does not answer: ${this.console}`, { cause });
    }
    if (!condition()) throw new Error(`QEMU has ended: ${this.console}`);
  }
}
