/** Where the peers' programs are: benchmarks/.peers/bin, where peers/install puts them, before the system's. */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';

const HERE = new URL('../.peers/', import.meta.url).pathname;

/** Called once before any peer is looked for. */
export function preferInstalled() {
  process.env.PATH = `${HERE}bin:${process.env.PATH}`;
}

/** The Python that peers/install made for a peer. */
export function pythonOf(name) {
  return `${HERE}${name}/bin/python`;
}

/** The version that a program tells of itself, or null where it is not there or does not start. */
export function versionOf(program, words, pattern = /(\d+(?:\.\d+)+\S*)/) {
  const done = spawnSync(program, words, { encoding: 'utf8', timeout: 60_000 });
  if (done.status !== 0) return null;
  return pattern.exec(`${done.stdout}${done.stderr}`)?.[1] ?? null;
}

/** Why peers/install could not install a program. */
export function whyLeftOut(name) {
  const path = `${HERE}left-out/${name}`;
  if (!existsSync(path)) return 'it is not installed; benchmarks/peers/install does that';
  return readFileSync(path, 'utf8').trim();
}
