/** Problems that came, and that went, as messages: all of one look in one. Pure. */
import { formatDuration } from '../../base/units.js';
import type { Problem } from '../problems.js';
import type { NotificationEvent } from './message.js';
import type { ToldProblem } from './told.js';

const LISTED_MAX = 100;
const FACTS_MAX = 500;

/** @param problems one or more of the same severity */
export function cameEvent(problems: readonly Problem[], all: readonly Problem[]): NotificationEvent {
  const isCritical = problems.some(({ severity }) => severity === 'critical');
  const kind = isCritical ? 'failure' : 'warning';
  const others = all.length - problems.length;
  const text = [
    isCritical ? 'This needs somebody now:' : 'This should be looked at:',
    '',
    ...listed(problems.map(sentence)),
    '',
    others === 0
      ? 'Nothing else is wrong.'
      : `${others === 1 ? 'One other problem is' : `${others} other problems are`} there.`,
    'See “cairn check” and “cairn status”.',
  ].join('\n');
  return { kind, key: 'problems', subject: subject(kind, problems), text, facts: factsOf(problems, all) };
}

/** @param gone what is over; @param eased what was critical and is a warning now; not both empty */
export function wentEvent(
  gone: readonly ToldProblem[],
  eased: readonly Problem[],
  all: readonly Problem[],
  nowMs: number,
): NotificationEvent {
  const text = [
    ...(gone.length === 0 ? [] : ['This is over:', '', ...listed(gone.map((one) => lasted(one, nowMs))), '']),
    ...(eased.length === 0 ? [] : ['This is not critical any more:', '', ...listed(eased.map(sentence)), '']),
    all.length === 0
      ? 'All is well.'
      : `${all.length === 1 ? 'One problem is' : `${all.length} problems are`} left.`,
  ].join('\n');
  const named = subject(gone.length === 0 ? 'eased' : 'over', [...gone, ...eased]);
  const facts = { ...factsOf([...gone, ...eased], all), gone: gone.length, eased: eased.length };
  return { kind: 'recovery', key: 'problems', subject: named, text, facts };
}

/** `vm1: the newest good revision is 3 h old.` */
export function sentence({ disk, text }: Problem): string {
  return `${disk === null ? '' : `${disk}: `}${text}.`;
}

/** As many as a person reads, each as an item. */
export function listed(sentences: readonly string[]): string[] {
  const rest = sentences.length - LISTED_MAX;
  const items = sentences.slice(0, LISTED_MAX).map((one) => `- ${one}`);
  return rest > 0 ? [...items, `- and ${rest} more.`] : items;
}

function lasted(problem: ToldProblem, nowMs: number): string {
  const lastedMs = Math.max(0, nowMs - Date.parse(problem.toldAt));
  return `${sentence(problem).replace(/\.$/, '')} (told ${formatDuration(lastedMs)} ago).`;
}

function subject(word: string, problems: readonly Problem[]): string {
  const [first] = problems;
  if (problems.length === 1 && first !== undefined) return `${word}: ${sentence(first).replace(/\.$/, '')}`;
  const disks = [...new Set(problems.map(({ disk }) => disk ?? 'the repository'))];
  const named = disks.length > 4 ? [...disks.slice(0, 3), `${disks.length - 3} more`] : disks;
  return `${word}: ${problems.length} problems of ${named.join(', ')}`;
}

function factsOf(problems: readonly Problem[], all: readonly Problem[]): object {
  const listedProblems = problems.slice(0, FACTS_MAX).map(({ key, severity, disk, text }) => ({
    key,
    severity,
    disk,
    text,
  }));
  return { problems: listedProblems, problemsCount: problems.length, problemsNow: all.length };
}
