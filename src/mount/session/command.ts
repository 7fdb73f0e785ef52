/** Runs a system program without a shell, with a limit of time that holds even for a process that cannot be
 *  killed because the kernel keeps it waiting for a file system that does not answer. */
import { spawn } from 'node:child_process';

/** Where losetup and mount helpers are, which not every user's PATH names. */
const SYSTEM_PATH = '/usr/sbin:/usr/bin:/sbin:/bin';

const OUTPUT_CHARS_MAX = 65_536;

export interface CommandResult {
  /** The exit status; null where it was killed, ran out of time or could not be started. */
  readonly status: number | null;
  readonly outcome: 'exited' | 'timed-out' | 'not-found';
  readonly stdout: string;
  readonly stderr: string;
}

/** Never rejects for what the program does. Its messages are in English, whatever the locale. `inherited` is a
 *  descriptor of this process that the program gets as its number 3. */
export function runCommand(
  file: string,
  args: readonly string[],
  timeoutMs = 10_000,
  inherited: number | 'ignore' = 'ignore',
): Promise<CommandResult> {
  return new Promise((resolve) => {
    const child = spawn(file, args, {
      cwd: '/',
      stdio: ['ignore', 'pipe', 'pipe', inherited],
      env: { ...process.env, LC_ALL: 'C', PATH: `${process.env['PATH'] ?? ''}:${SYSTEM_PATH}` },
    });
    const output = { stdout: '', stderr: '' };
    for (const stream of ['stdout', 'stderr'] as const) {
      child[stream]?.setEncoding('utf8').on('data', (chunk: string) => {
        if (output[stream].length < OUTPUT_CHARS_MAX) output[stream] += chunk;
      });
    }
    const finish = (outcome: CommandResult['outcome'], status: number | null) => {
      clearTimeout(timer);
      resolve({ outcome, status, ...output });
    };
    const timer = setTimeout(() => {
      child.kill('SIGKILL');
      child.stdout?.destroy();
      child.stderr?.destroy();
      child.unref();
      finish('timed-out', null);
    }, timeoutMs);
    child.on('error', () => finish('not-found', null));
    child.on('close', (status) => finish('exited', status));
  });
}
