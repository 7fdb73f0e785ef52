/** `include:` of the configuration: further files, so that a program can write one for each disk. */
import { readdirSync } from 'node:fs';
import path from 'node:path';
import { visible } from '../base/visible.js';
import type { Document, Entry } from './document.js';
import { readText } from './values.js';

/** The files that the patterns name, in the order of the patterns and then of their names. A pattern may have `*` in its
 *  last part, which matches no leading dot; a directory that is not there has no files, but a file that is named in full
 *  must be there. Relative ones are meant from the directory of `file`.
 *  @throws {CairnError} CONFIG_INVALID */
export function includedFiles(document: Document, entry: Entry, file: string): string[] {
  const entries = typeof entry.value === 'string' ? [entry] : document.items(entry);
  return [...new Set(entries.flatMap((one) => matching(one, path.dirname(file))))];
}

function matching(entry: Entry, base: string): string[] {
  const pattern = path.resolve(base, readText(entry));
  const [dir, name] = [path.dirname(pattern), path.basename(pattern)];
  if (dir.includes('*'))
    return entry.fail('“*” may stand in the name of the files only, not of a directory.');
  if (!name.includes('*')) return [pattern];
  const expression = new RegExp(`^${name.split('*').map(escaped).join('.*')}$`);
  try {
    const names = readdirSync(dir).filter(
      (candidate) => expression.test(candidate) && !/^\./.test(candidate),
    );
    return names.sort().map((match) => path.join(dir, match));
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') return [];
    return entry.fail(`${visible(dir)} cannot be read (${code}).`);
  }
}

function escaped(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
}
