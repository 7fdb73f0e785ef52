/** Command lines that a message offers to be copied. */
import { visible } from './visible.js';

/** One word of a command line that a shell reads back as it is. */
export function quoted(word: string): string {
  return /^[A-Za-z0-9_@%+=:,./-]+$/.test(word) ? word : `'${visible(word, 1000).replaceAll("'", `'\\''`)}'`;
}
