/** A job as a `cairn` command of its own: whatever the schedule does a person can do by hand, and a command that crashes
 *  harms no other. */
import type { JobProgress } from '../native/index.js';
import { type Child, type Ended, startChild } from '../operations/child.js';
import type { ToldError } from './facts.js';
import type { Job } from './plan.js';
import type { JobEnd } from './scheduler.js';

export interface JobOutcome {
  readonly end: JobEnd;
  /** Why it is not `done`. */
  readonly error: ToldError | null;
  /** The JSON document that the command printed. */
  readonly document: Readonly<Record<string, unknown>> | null;
}

/** A command that was begun. */
export interface RunningCommand {
  readonly ended: Promise<JobOutcome>;
  /** Asks it to end; it cleans up first. Idempotent. */
  readonly stop: () => void;
}

/** Starts what a job means; tests bring their own. */
export type StartCommand = (
  words: readonly string[],
  onProgress: (progress: JobProgress) => void,
) => RunningCommand;

const [DAMAGED, LOCKED] = [5, 4];
const CANCELLED = [130, 143];

/** `program` is what is started with the words of the command behind it. */
export function commandStarter(program: () => readonly string[]): StartCommand {
  return (words, onProgress) => {
    const child: Child = startChild([...program(), ...words], 'ignore', onProgress);
    return { ended: child.ended.then((ended) => outcomeOf(words[0] ?? '', ended)), stop: child.stop };
  };
}

/** The words of the command that does a job. `scrubShare` is how much of a disk a scrub reads. */
export function wordsOf({ kind, disk, tags }: Job, scrubShare: number): string[] {
  switch (kind) {
    case 'backup':
      return ['backup', disk, ...tags.flatMap((tag) => ['--tag', tag])];
    case 'prune':
      return ['prune', disk, '--no-collect'];
    case 'collect':
      return ['collect', disk];
    case 'scrub':
      return ['scrub', disk, ...(scrubShare < 1 ? ['--sample', `${scrubShare * 100}%`] : [])];
  }
}

function outcomeOf(command: string, { exitCode, signal, document, said }: Ended): JobOutcome {
  const told = (end: JobEnd, error: ToldError | null): JobOutcome => ({ end, error, document });
  // A scrub that found damage has done its work; a backup that its own comparison does not trust has not.
  if (exitCode === 0 || (exitCode === DAMAGED && command === 'scrub')) return told('done', null);
  const error = errorOf(document) ?? { code: 'INTERNAL', message: endedBy(exitCode, signal, said) };
  if (exitCode === LOCKED) return told('busy', error);
  if (exitCode !== null && CANCELLED.includes(exitCode)) return told('cancelled', error);
  if (exitCode === DAMAGED && document !== null && !('error' in document))
    return told('failed', {
      code: 'CORRUPT',
      message: 'The revision differs from its source, so it is distrusted.',
    });
  return told('failed', error);
}

function errorOf(document: Ended['document']): ToldError | null {
  const error = document?.['error'] as Partial<Record<keyof ToldError, unknown>> | undefined;
  if (typeof error?.code !== 'string' || typeof error.message !== 'string') return null;
  return { code: error.code, message: error.message };
}

function endedBy(exitCode: number | null, signal: NodeJS.Signals | null, said: string): string {
  const how = signal === null ? `ended with ${exitCode ?? 'nothing'}` : `was ended by ${signal}`;
  return `The command ${how}${said.trim() === '' ? '' : `: ${said.trim()}`}.`;
}
