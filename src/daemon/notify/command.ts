/** A message for a command of the administrator's: the document of webhooks on its standard input. It has accepted the
 *  message when it ends with 0. */
import { spawn } from 'node:child_process';
import type { CommandRoute } from '../../config/notifications.js';
import { type Message, programDocument } from './message.js';

/** Enough for its last words. */
const ERRORS_KEPT = 4_096;
const LAST_WORDS_MS = 200;

/** After its signal the command is killed, with all that it started.
 *  @returns why it did not accept the message, null where it did */
export function sendToCommand(
  { command }: CommandRoute,
  message: Message,
  signal: AbortSignal,
): Promise<string | null> {
  const env = { ...process.env, CAIRN_KIND: message.kind, CAIRN_SUBJECT: message.subject };
  const child = spawn('/bin/sh', ['-c', command], { env, detached: true, stdio: ['pipe', 'ignore', 'pipe'] });
  let said = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    said = `${said}${text}`.slice(-ERRORS_KEPT);
  });
  // It may end without reading.
  child.stdin.on('error', () => {});
  child.stdin.end(programDocument(message));
  const kill = () => killGroup(child.pid);
  signal.addEventListener('abort', kill, { once: true });
  return new Promise((resolve) => {
    const end = (error: string | null) => {
      signal.removeEventListener('abort', kill);
      child.stderr.destroy();
      resolve(error);
    };
    child.on('error', ({ code }: NodeJS.ErrnoException) => end(`the command cannot be started (${code})`));
    child.on('exit', (code, by) => {
      if (code === 0) return end(null);
      // Not just `close`: something that it left in the background may hold its output open.
      const timer = setTimeout(() => end(endingOf(code, by, said)), LAST_WORDS_MS);
      child.on('close', () => {
        clearTimeout(timer);
        end(endingOf(code, by, said));
      });
    });
  });
}

function endingOf(code: number | null, by: NodeJS.Signals | null, said: string): string {
  const last = said.trim().split('\n').at(-1) ?? '';
  const what = code === null ? `the command was ended by ${by}` : `the command ended with ${code}`;
  return last === '' ? what : `${what}: ${last}`;
}

function killGroup(pid: number | undefined): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, 'SIGKILL');
  } catch {
    // All of it has ended.
  }
}
