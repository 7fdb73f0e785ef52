/** Anything that can be thrown, as the one sentence, the way out and the exit code that a user gets. */
import { CommanderError } from 'commander';
import { CairnError, type ErrorCode, EXIT_CODES } from '../base/errors.js';
import { visible } from '../base/visible.js';

export interface Failure {
  readonly code: ErrorCode;
  readonly message: string;
  readonly hint: string | null;
  readonly exitCode: number;
  /** Set for a fault of the program itself: the stack that a bug report wants. */
  readonly stack?: string | undefined;
}

/** `helpCommand` is what a user should type to read about the command that was called wrongly. */
export function failureOf(thrown: unknown, helpCommand: string): Failure {
  if (thrown instanceof CommanderError) return usageFailure(thrown, helpCommand);
  if (thrown instanceof CairnError) {
    const { code, message, hint } = thrown;
    return { code, message: sentence(message), hint: hint ?? null, exitCode: EXIT_CODES[code] };
  }
  if ((thrown as NodeJS.ErrnoException | null)?.syscall === 'uv_cwd') return lostDirectory();
  return {
    code: 'INTERNAL',
    message: `Something went wrong that should not: ${thrown instanceof Error ? thrown.message : String(thrown)}`,
    hint: 'This is a fault in Cairn; a report with what follows helps.',
    exitCode: EXIT_CODES.INTERNAL,
    stack: thrown instanceof Error ? thrown.stack : undefined,
  };
}

function lostDirectory(): Failure {
  return {
    code: 'USAGE',
    message: 'The working directory does not exist any more.',
    hint: 'Change to one that does; relative paths are meant from there.',
    exitCode: EXIT_CODES.USAGE,
  };
}

/** Commander writes `error: unknown command 'lst'\n(Did you mean list?)`; here that becomes a sentence and a hint. */
function usageFailure(error: CommanderError, helpCommand: string): Failure {
  const [first = '', ...rest] = error.message.split('\n');
  const help = `See “${helpCommand}”.`;
  const suggestion = /^\((.*)\)$/.exec(rest.join(' ').trim())?.[1];
  return {
    code: 'USAGE',
    message: error.code === 'commander.help' ? 'A command is missing.' : usageSentence(first),
    hint: suggestion === undefined ? help : `${suggestion} ${help}`,
    exitCode: EXIT_CODES.USAGE,
  };
}

function usageSentence(text: string): string {
  return sentence(visible(text.replace(/^error: /, '').replace(/'([^']*)'/g, '“$1”'), 300));
}

/** With a capital and a full stop, whoever wrote it. Names at the beginning stay as they are. */
function sentence(text: string): string {
  const capital = /^[a-z]+ /.test(text) ? text.charAt(0).toUpperCase() + text.slice(1) : text;
  return /[.?!]$/.test(capital) ? capital : `${capital}.`;
}
