/** Real block devices for a test: made when asked for, gone when the test is over, however it ends. */
import { execFileSync, spawnSync } from 'node:child_process';
import { readFileSync, truncateSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { onTestFinished, type TestContext } from 'vitest';

export const MIB = 1024 ** 2;

/** Skips a test that makes devices or mounts where that is not allowed, and says so. */
export function needRoot(context: TestContext): void {
  if (process.getuid?.() === 0) return;
  process.stdout.write(`skipped: ${context.task.name}: making devices and mounting needs root\n`);
  context.skip('making devices and mounting needs root');
}

/** Output of a command, without the line end. */
export function run(command: string, ...parameters: string[]): string {
  return execFileSync(command, parameters, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] }).trim();
}

/** A sparse file. */
export function sparseFile(dir: string, name: string, sizeBytes: number): string {
  const file = path.join(dir, name);
  writeFileSync(file, '');
  truncateSync(file, sizeBytes);
  return file;
}

/** A loop device over `file`. */
export function attachLoop(file: string, ...options: string[]): string {
  const device = run('losetup', '-f', '--show', ...options, file);
  onTestFinished(() => {
    spawnSync('losetup', ['-d', device]);
  });
  return device;
}

/** A zram device: 4096-byte sectors, no file behind it. */
export function addZram(sizeBytes: number): string {
  const number = readFileSync('/sys/class/zram-control/hot_add', 'utf8').trim();
  onTestFinished(() => {
    // A program that probes new devices may hold it for a moment.
    for (let attempt = 0; attempt < 50; attempt++) {
      const reset = `echo 1 > /sys/block/zram${number}/reset && echo ${number} > /sys/class/zram-control/hot_remove`;
      if (spawnSync('sh', ['-c', reset]).status === 0) return;
      spawnSync('sleep', ['0.1']);
    }
  });
  writeFileSync(`/sys/block/zram${number}/disksize`, String(sizeBytes));
  return `/dev/zram${number}`;
}

/** Mounts `device` on `dir`. */
export function mountAt(device: string, dir: string, ...options: string[]): void {
  run('mount', ...options, device, dir);
  onTestFinished(() => {
    // A failed test may have left something open in it.
    if (spawnSync('umount', [dir]).status !== 0) spawnSync('umount', ['-l', dir]);
  });
}

/** A GPT with one partition from 1 MiB on, holding nothing. */
export function partition(target: string): void {
  execFileSync('sfdisk', ['-q', target], {
    input: 'label: gpt\nstart=1MiB, type=L, name="root"\n',
    stdio: ['pipe', 'pipe', 'pipe'],
  });
}

/** As `partition`, with an ext4 file system labelled `ROOT` in it. `target` is a file. */
export function partitionWithExt4(target: string): void {
  partition(target);
  run('mke2fs', '-q', '-t', 'ext4', '-L', 'ROOT', '-E', `offset=${MIB}`, target, '16M');
}
