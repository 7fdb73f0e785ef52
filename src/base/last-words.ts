/** What a program said before it ended, fit for a sentence. */
import { visible } from './visible.js';

const LINES_MAX = 3;
/** Lines that libraries of Ceph log, as in “2026-11-26T08:03:32.388+0000 7feffa4b46c0 -1 librbd: …”. */
const LOGGED = /^\d{4}-\d\d-\d\dT\S+ [0-9a-f]+ +-?\d+ /;

/** The last lines of what it wrote to stderr; what is meant for a log only where there is nothing else. */
export function lastWords(stderr: string, lineLengthMax: number): string {
  const lines = stderr
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '');
  const spoken = lines.filter((line) => !LOGGED.test(line));
  const shown = (spoken.length === 0 ? lines : spoken).slice(-LINES_MAX);
  return shown.map((line) => visible(line, lineLengthMax)).join(' | ');
}
