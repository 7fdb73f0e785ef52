/** What help says beyond what commander knows: examples for each command, groups, and the exit codes. */
import type { Command } from 'commander';
import { EXIT_CODE_MEANINGS } from './exit-codes.js';

export interface Example {
  readonly command: string;
  readonly says: string;
}

/** The order in which help shows them. */
export const GROUPS = {
  taking: 'Taking revisions:',
  running: 'Running by itself:',
  looking: 'Looking at them:',
  restoring: 'Getting data back:',
  keeping: 'Keeping order:',
  program: 'The program itself:',
} as const;

const examplesByCommand = new WeakMap<Command, readonly Example[]>();

/** Gives a command its examples, for help and the man page alike. */
export function addExamples(command: Command, ...examples: readonly [string, string][]): void {
  const list = examples.map(([text, says]) => ({ command: text, says }));
  examplesByCommand.set(command, list);
  const lines = list.map((example) => `  $ ${example.command}\n      ${example.says}`);
  command.addHelpText('after', `\n${list.length === 1 ? 'Example' : 'Examples'}:\n${lines.join('\n')}`);
}

export function examplesOf(command: Command): readonly Example[] {
  return examplesByCommand.get(command) ?? [];
}

/** What ends every help. */
export function closingHelp(command: Command): string {
  const lines = EXIT_CODE_MEANINGS.map(({ code, meaning }) => `  ${String(code).padStart(3)}  ${meaning}`);
  const more = command.parent === null ? '' : '\nOptions for every command: see “cairn --help”.\n';
  return `${more}\nExit codes:\n${lines.join('\n')}`;
}
