/** The version of this program, from its own package.json: the file lies at the same place seen from src and dist. */
import { readFileSync } from 'node:fs';

export const VERSION: string = readVersion();

function readVersion(): string {
  const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8');
  const parsed: unknown = JSON.parse(text);
  const version = (parsed as { version?: unknown }).version;
  if (typeof version !== 'string') throw new Error('package.json names no version');
  return version;
}
