/** promtool, which judges metrics and rules as Prometheus would. Where none is installed, apt fetches Debian's package,
 *  and the program alone is kept in the user's cache: an installed package would start a server. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync } from 'node:fs';
import { homedir } from 'node:os';
import path from 'node:path';
import type { TestContext } from 'vitest';

export interface Verdict {
  readonly status: number | null;
  /** Both of its streams. */
  readonly said: string;
}

/** Lists may be missing, or older than what the mirror has. */
const FETCH = `
  apt-get download -q prometheus || { apt-get update -q; apt-get download -q prometheus; }
  dpkg-deb --fsys-tarfile ./*.deb | tar -x ./usr/bin/promtool
  ./usr/bin/promtool --version`;
const FETCH_MS_MAX = 90_000;

/** Skips a test, and says why, where there is none to be had.
 *  @returns runs it with these arguments, in `cwd`, and with this as its input */
export function needPromtool(context: TestContext) {
  const program = programOrReason();
  if ('reason' in program) {
    process.stdout.write(`skipped: ${context.task.name}: ${program.reason}\n`);
    return context.skip(program.reason);
  }
  return (args: readonly string[], input = ''): Verdict => {
    const { status, stdout, stderr, error } = spawnSync(program.file, args, { input, encoding: 'utf8' });
    if (error !== undefined) throw error;
    return { status, said: `${stdout}${stderr}` };
  };
}

function programOrReason(): { file: string } | { reason: string } {
  if (spawnSync('promtool', ['--version']).status === 0) return { file: 'promtool' };
  const cache = path.join(process.env['XDG_CACHE_HOME'] ?? path.join(homedir(), '.cache'), 'cairn-test');
  const file = path.join(cache, 'promtool');
  if (existsSync(file)) return { file };
  mkdirSync(cache, { recursive: true });
  const work = mkdtempSync(path.join(cache, 'fetching-'));
  try {
    const fetched = spawnSync('bash', ['-o', 'pipefail', '-ec', FETCH], {
      cwd: work,
      encoding: 'utf8',
      timeout: FETCH_MS_MAX,
    });
    if (fetched.status !== 0)
      return { reason: `no promtool could be fetched by apt: ${fetched.stderr.trim()}` };
    // Replaces what another run may have put there meanwhile.
    renameSync(path.join(work, 'usr/bin/promtool'), file);
    return { file };
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}
