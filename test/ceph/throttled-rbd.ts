/** An environment in which `rbd import-diff` is sent what it reads slowly, so that something can be done to it in the
 *  middle. All else, and what it makes of it, is the real program’s. */
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { expect } from 'vitest';

export interface Throttled {
  readonly env: NodeJS.ProcessEnv;
  /** Resolves when some of the data was applied, and most was not. */
  readonly inTheMiddle: () => Promise<void>;
}

export function throttledRbd(dir: string, real: string): Throttled {
  const [bin, mark] = [path.join(dir, 'bin'), path.join(dir, 'began')];
  mkdirSync(bin, { recursive: true });
  const script = `#!${process.execPath}
const { spawn } = require('node:child_process');
const { setTimeout: sleep } = require('node:timers/promises');
const args = process.argv.slice(2);
const isSlow = args[0] === 'import-diff';
const child = spawn(${JSON.stringify(real)}, args, { stdio: [isSlow ? 'pipe' : 'ignore', 'inherit', 'inherit'] });
child.on('exit', (status) => process.exit(status ?? 1));
child.stdin?.on('error', () => {});
async function forward() {
  let bytes = 0;
  for await (const chunk of process.stdin) {
    child.stdin.write(chunk);
    bytes += chunk.length;
    if (bytes > 2 ** 21) require('node:fs').writeFileSync(${JSON.stringify(mark)}, '');
    await sleep(20);
  }
  child.stdin.end();
}
if (isSlow) void forward();
`;
  writeFileSync(path.join(bin, 'rbd'), script, { mode: 0o755 });
  return {
    env: { PATH: `${bin}:${process.env['PATH']}` },
    inTheMiddle: () => expect.poll(() => existsSync(mark), { timeout: 30_000 }).toBe(true),
  };
}
