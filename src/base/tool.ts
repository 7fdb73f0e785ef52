/** A program that answers a question or does one thing, within a time. */
import { spawn } from 'node:child_process';
import { CairnError } from './errors.js';
import { lastWords } from './last-words.js';

const STDERR_BYTES_MAX = 8 * 1024;

export interface ToolLimits {
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
  /** Of its standard output. */
  readonly outputBytesMax?: number;
}

export interface ToolEnd {
  /** Null where a signal ended it. */
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly output: string;
  /** The last lines of what it wrote to stderr, fit for a sentence. */
  readonly said: string;
  readonly isLate: boolean;
}

const OUTPUT_BYTES_MAX = 16 * 1024 * 1024;

/** Resolves when it has ended, whatever its exit status; what does not end in time is ended with SIGKILL.
 *  @throws {CairnError} USAGE where the program is not installed; CANCELLED; IO where it says too much */
export async function runTool(
  program: string,
  args: readonly string[],
  { timeoutMs, signal, outputBytesMax = OUTPUT_BYTES_MAX }: ToolLimits,
): Promise<ToolEnd> {
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  const output: Buffer[] = [];
  let [outputBytes, isLate] = [0, false];
  let stderr = Buffer.alloc(0);
  child.stdout.on('data', (chunk: Buffer) => {
    outputBytes += chunk.length;
    if (outputBytes > outputBytesMax) child.kill('SIGKILL');
    else output.push(chunk);
  });
  child.stderr.on('data', (chunk: Buffer) => {
    stderr = Buffer.concat([stderr, chunk]).subarray(-STDERR_BYTES_MAX);
  });
  const late = setTimeout(() => {
    isLate = true;
    child.kill('SIGKILL');
  }, timeoutMs);
  const cancel = () => child.kill('SIGKILL');
  signal?.addEventListener('abort', cancel, { once: true });
  if (signal?.aborted === true) cancel();
  try {
    const end = await new Promise<Pick<ToolEnd, 'status' | 'signal'>>((resolve, reject) => {
      child.once('error', reject);
      child.once('close', (status, name) => resolve({ status, signal: name }));
    });
    if (signal?.aborted === true) throw new CairnError('CANCELLED', 'Cancelled.');
    if (outputBytes > outputBytesMax) throw new CairnError('IO', `${program} said more than can be true.`);
    const said = lastWords(stderr.toString('utf8'), 200);
    return { ...end, output: Buffer.concat(output).toString('utf8'), said, isLate };
  } catch (cause) {
    if (cause instanceof CairnError) throw cause;
    const { code, message } = cause as NodeJS.ErrnoException;
    if (code !== 'ENOENT') throw new CairnError('IO', `${program} could not be run: ${message}.`, { cause });
    throw new CairnError('USAGE', `The program ${program} is needed and is not installed.`, { cause });
  } finally {
    clearTimeout(late);
    signal?.removeEventListener('abort', cancel);
  }
}
