/** Asking the person at the terminal. */
import { createInterface } from 'node:readline/promises';

/** One line as it was typed; undefined where nobody sits at the terminal, so that unattended runs never wait. The
 *  question goes to stderr, as everything that is not the result.
 *  @throws AbortError when the signal is given while it waits */
export async function askLine(question: string, signal: AbortSignal): Promise<string | undefined> {
  if (process.stdin.isTTY !== true) return undefined;
  const lines = createInterface({ input: process.stdin, output: process.stderr });
  // In raw mode the terminal sends no signal; readline tells instead.
  lines.once('SIGINT', () => process.kill(process.pid, 'SIGINT'));
  try {
    return (await lines.question(question, { signal })).trim();
  } finally {
    lines.close();
  }
}
