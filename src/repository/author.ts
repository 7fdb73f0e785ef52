/** Who writes a line into a log. */
import { hostname, userInfo } from 'node:os';
import { VERSION } from '../base/version.js';

export interface Author {
  /** `user@host`, and behind it who called sudo. */
  readonly by: string;
  readonly process: number;
  readonly version: string;
}

export function author(): Author {
  const { SUDO_USER: sudo } = process.env;
  const behind = sudo === undefined || sudo === '' ? '' : ` (${sudo})`;
  return { by: `${userName()}@${hostname()}${behind}`, process: process.pid, version: VERSION };
}

function userName(): string {
  try {
    return userInfo().username;
  } catch {
    // Containers run under ids that no passwd names.
    return String(process.getuid?.() ?? 'unknown');
  }
}
