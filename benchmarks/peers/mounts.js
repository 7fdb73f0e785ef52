/** Peers' mounts of the lab's disk. */
import { spawn, spawnSync } from 'node:child_process';
import { closeSync, mkdirSync, openSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { peakBytesWithChildren } from '../measure.js';

const MOUNT_MS_MAX = 60_000;

/** Mounts the tool's store and gives { path, peakBytes, close } when the image is there. */
export async function mountOf(lab, tool, at, image) {
  const directory = join(lab.directory, `mount-${tool.name}`);
  mkdirSync(directory, { recursive: true });
  const { words, env, cwd, path, isFileMountpoint } = tool.mount(at, 'first', image, directory);
  if (isFileMountpoint) closeSync(openSync(path, 'w'));
  const server = spawn(words[0], words.slice(1), {
    cwd,
    env: { ...process.env, ...env },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  lab.servers.add(server);
  let said = '';
  server.stderr.on('data', (text) => {
    said += text;
  });
  const close = async () => {
    spawnSync('umount', [isFileMountpoint ? path : directory]);
    if (isFileMountpoint) server.kill('SIGTERM');
    for (let waited = 0; server.exitCode === null && server.signalCode === null; waited += 50) {
      await wait(50);
      if (waited === 10_000) server.kill('SIGKILL');
    }
    lab.servers.delete(server);
  };
  for (let waited = 0; sizeOf(path) !== lab.sizeBytes; waited += 100) {
    if (server.exitCode !== null || waited > MOUNT_MS_MAX) {
      await close();
      throw new Error(`${tool.name} does not mount: ${said.trim().split('\n').at(-1)}`);
    }
    await wait(100);
  }
  return { path, peakBytes: () => peakBytesWithChildren(server.pid), close };
}

function sizeOf(path) {
  try {
    return statSync(path).size;
  } catch {
    return null;
  }
}
