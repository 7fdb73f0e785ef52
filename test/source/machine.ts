/** A machine of QEMU without a guest: its disks are written through its own devices, by way of a monitor of the test’s. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { onTestFinished } from 'vitest';
import type { Message } from '../../src/source/qemu/line-socket.js';
import { Qmp } from '../../src/source/qemu/qmp.js';
import { run } from '../block-lab.js';

export interface MachineOptions {
  /** More arguments of QEMU. */
  readonly args?: readonly string[];
  /** Images by the name of their node; their devices are `<node>-dev`. */
  readonly images: Readonly<Record<string, string>>;
}

export class Machine {
  /** The monitor for Cairn. */
  readonly socket: string;
  readonly #dir: string;
  readonly #options: MachineOptions;
  #process: ChildProcess | null = null;
  #control: Qmp | null = null;

  /** Killed when the test is over. */
  constructor(dir: string, options: MachineOptions) {
    this.#dir = dir;
    this.#options = options;
    this.socket = path.join(dir, 'vm.qmp');
    onTestFinished(() => this.kill());
  }

  spec(disk: string, options = 'agent=none'): string {
    return `qemu:${this.socket}/${disk}${options === '' ? '' : `?${options}`}`;
  }

  async start(): Promise<void> {
    const control = path.join(this.#dir, 'control.qmp');
    const disks = Object.entries(this.#options.images).flatMap(([node, file]) => [
      ...['-blockdev', `driver=file,filename=${file},node-name=${node}-file,discard=unmap`],
      ...['-blockdev', `driver=${formatOf(file)},file=${node}-file,node-name=${node},discard=unmap`],
      ...['-device', `virtio-blk-pci,drive=${node},id=${node}-dev`],
    ]);
    const monitors = [this.socket, control].flatMap((socket) => [
      '-qmp',
      `unix:${socket},server=on,wait=off`,
    ]);
    const machine = ['-accel', 'tcg', '-M', 'pc', '-m', '16', '-nodefaults', '-no-user-config'];
    const args = [...machine, '-display', 'none', '-name', 'vm1', ...monitors, ...disks];
    const child = spawn('qemu-system-x86_64', [...args, ...(this.#options.args ?? [])], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    this.#process = child;
    let said = '';
    child.stderr?.on('data', (text) => {
      said += text;
    });
    while (this.#control === null) {
      if (child.exitCode !== null) throw new Error(`QEMU has ended: ${said}`);
      this.#control = existsSync(control) ? await Qmp.connect(control, 5_000).catch(() => null) : null;
      await sleep(10);
    }
  }

  /** As by pulling the plug. */
  async kill(): Promise<void> {
    this.#control?.close();
    this.#control = null;
    const child = this.#process;
    if (child === null || child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, 'exit');
    child.kill('SIGKILL');
    await ended;
  }

  /** In good order. */
  async quit(): Promise<void> {
    const ended = this.#process === null ? null : once(this.#process, 'exit');
    await this.execute('quit').catch(() => {});
    await ended;
    this.#control?.close();
    this.#control = null;
  }

  async execute(command: string, parameters: object = {}): Promise<unknown> {
    if (this.#control === null) throw new Error('the machine does not run');
    return await this.#control.execute(command, parameters);
  }

  /** What the guest does to a disk, as qemu-io takes it. */
  async io(node: string, command: string): Promise<void> {
    const device = `/machine/peripheral/${node}-dev/virtio-backend`;
    const said = await this.execute('human-monitor-command', {
      'command-line': `qemu-io -d ${device} "${command}"`,
    });
    if (said !== '') throw new Error(`“${command}”: ${String(said)}`);
  }

  /** Bytes are written as the pattern’s number. */
  write(node: string, pattern: number, offset: number, length: number): Promise<void> {
    return this.io(node, `write -P ${pattern} ${offset} ${length}`);
  }

  async nodes(): Promise<readonly Message[]> {
    return (await this.execute('query-named-block-nodes', { flat: true })) as Message[];
  }

  /** Names of the bitmaps of a node. */
  async bitmaps(node: string): Promise<string[]> {
    const found = (await this.nodes()).find((each) => each['node-name'] === node);
    return ((found?.['dirty-bitmaps'] ?? []) as Message[])
      .map(({ name }) => String(name ?? ''))
      .filter(Boolean);
  }

  /** Everything that Cairn has made there, bitmaps aside; and any other job, or a server, which is stopped. */
  async traces(): Promise<string[]> {
    const ours = (await this.nodes())
      .map((node) => String(node['node-name']))
      .filter((name) => name.startsWith('cairn-'));
    const jobs = (await this.execute('query-jobs')) as Message[];
    const exports = (await this.execute('query-block-exports')) as Message[];
    const server = await this.execute('nbd-server-stop').then(
      () => ['an NBD server'],
      () => [],
    );
    return [...ours, ...[...jobs, ...exports].map(({ id }) => String(id)), ...server];
  }

  /** The bytes of a disk, as the guest reads them, in a file. */
  async bytes(node: string): Promise<string> {
    const file = path.join(this.#dir, `${node}-${process.hrtime.bigint()}.raw`);
    await this.io(node, 'flush');
    const image = this.#options.images[node] ?? '';
    run('qemu-img', 'convert', '-U', '-f', formatOf(image), '-O', 'raw', image, file);
    return file;
  }
}

export function makeImage(file: string, size: string): string {
  run('qemu-img', 'create', '-q', '-f', formatOf(file), file, size);
  return file;
}

function formatOf(file: string): string {
  return file.endsWith('.qcow2') ? 'qcow2' : 'raw';
}
