/** Runs commands as a user would, and shows each of them. */
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { CairnError } from '../../base/errors.js';

const CAIRN = fileURLToPath(new URL('../../../bin/cairn.js', import.meta.url));

export interface Outcome {
  readonly exitCode: number | null;
  readonly stdout: string;
  readonly durationMs: number;
}

export interface RunOptions {
  /** Not shown: bookkeeping that is not part of the story. */
  readonly silent?: boolean;
  /** Show the command, and not what it printed. */
  readonly hideOutput?: boolean;
  /** Exit codes that are an answer rather than a failure. */
  readonly accept?: readonly number[];
  readonly input?: string;
}

export interface ShellOptions {
  /** The working directory; paths in it are given to commands relative to it, so that lines stay short. */
  readonly dir: string;
  readonly env: NodeJS.ProcessEnv;
  readonly print: (text: string) => void;
  readonly signal: AbortSignal;
}

export class Shell {
  readonly #dir: string;
  readonly #env: NodeJS.ProcessEnv;
  readonly #print: (text: string) => void;
  readonly #signal: AbortSignal;

  constructor({ dir, env, print, signal }: ShellOptions) {
    this.#dir = dir;
    this.#env = { ...process.env, ...env };
    this.#print = print;
    this.#signal = signal;
  }

  /** @throws {CairnError} IO when the command fails; CANCELLED when the demo was interrupted meanwhile */
  async run(command: string, args: readonly string[], options: RunOptions = {}): Promise<Outcome> {
    if (this.#signal.aborted) throw interrupted();
    return this.#start(command, args, command, options);
  }

  /** The program itself, as a process of its own. */
  async cairn(args: readonly string[], options: RunOptions = {}): Promise<Outcome> {
    if (this.#signal.aborted) throw interrupted();
    return this.#start(process.execPath, [CAIRN, ...args], 'cairn', options);
  }

  /** For putting things back, which an interruption must not prevent. */
  async undo(command: string, args: readonly string[]): Promise<void> {
    await this.#start(command, args, command, { silent: true });
  }

  async undoCairn(args: readonly string[]): Promise<void> {
    await this.#start(process.execPath, [CAIRN, ...args], 'cairn', { silent: true });
  }

  async #start(
    file: string,
    args: readonly string[],
    name: string,
    { silent = false, hideOutput = false, accept = [0], input }: RunOptions,
  ): Promise<Outcome> {
    const relative = args.map((arg) => arg.replace(`${this.#dir}/`, ''));
    const shown = [name, ...(file === name ? relative : relative.slice(1))].map(quoted).join(' ');
    if (!silent) this.#print(`  $ ${shown}\n`);
    const startedMs = performance.now();
    const { exitCode, stdout, stderr } = await spawned(file, relative, {
      cwd: this.#dir,
      env: this.#env,
      input: input ?? '',
    });
    const durationMs = performance.now() - startedMs;
    const succeeded = exitCode !== null && accept.includes(exitCode);
    if (!succeeded && this.#signal.aborted) throw interrupted();
    if (!silent && !hideOutput) this.#print(indented(stdout + stderr));
    if (succeeded) return { exitCode, stdout, durationMs };
    const said = (stderr || stdout).trim().split('\n').slice(-5).join('\n');
    throw new CairnError('IO', `“${shown}” failed (exit ${exitCode}): ${said}`);
  }
}

interface Spawned {
  readonly exitCode: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** In a process group of its own, so that an interrupt at the keyboard reaches the demo alone, which then lets the
 *  running step end and puts everything back in order. */
function spawned(
  file: string,
  args: readonly string[],
  { input, ...where }: { cwd: string; env: NodeJS.ProcessEnv; input: string },
): Promise<Spawned> {
  return new Promise((resolve, reject) => {
    const child = spawn(file, args, { ...where, detached: true, stdio: ['pipe', 'pipe', 'pipe'] });
    let stdout = '';
    let stderr = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text;
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
    });
    // A child that does not read its input is no failure of ours.
    child.stdin.on('error', () => {});
    child.stdin.end(input);
    child.on('error', reject);
    child.on('close', (exitCode) => resolve({ exitCode, stdout, stderr }));
  });
}

function interrupted(): CairnError {
  return new CairnError('CANCELLED', 'The demo was interrupted; everything it made is gone again.');
}

function quoted(word: string): string {
  return /^[A-Za-z0-9_@%+=:,./~-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}

function indented(text: string): string {
  return text.trim() === '' ? '' : text.trimEnd().replace(/^/gm, '    ').concat('\n');
}
