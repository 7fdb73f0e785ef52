/** Asking the person at the terminal. */
import { createInterface } from 'node:readline/promises';
import { CairnError } from '../base/errors.js';

export type Ask = (question: string) => Promise<string>;

/** Undefined where nobody sits at a terminal, so that unattended runs never wait. The question goes to stderr, as
 *  everything that is not the result. */
export function asker(signal: AbortSignal): Ask | undefined {
  if (process.stdin.isTTY !== true || process.stderr.isTTY !== true) return undefined;
  return async (question) => {
    const lines = createInterface({ input: process.stdin, output: process.stderr });
    // While readline listens, the terminal's interrupt key reaches only it.
    lines.once('SIGINT', () => process.kill(process.pid, 'SIGINT'));
    try {
      return (await lines.question(question, { signal })).trim();
    } catch (cause) {
      if (signal.aborted) throw new CairnError('CANCELLED', 'Nothing was done.', { cause });
      throw cause;
    } finally {
      lines.close();
    }
  };
}
