/** Which tags leave the revisions of a disk, and which revisions then go. Pure: from rows, a schedule and a time to a
 *  decision for each row, with reasons.
 *
 *  A tag of the disk's present schedule leaves a revision only when as many trusted ones as it keeps are newer and have
 *  the tag, and the revision is older than `keep` × `every`. Other tags never leave: `manual` by its meaning, tags of an
 *  earlier schedule because nobody knows any more how long they were meant to last. A revision without tags goes,
 *  unless it is protected or the disk's last good one. Distrusted revisions never count towards `keep`. What is newer
 *  goes by the order in which they were taken, so a wrong clock takes nothing from the newest that a tag keeps. */
import { secondOfId } from '../base/ids.js';
import type { RevisionRow } from '../base/revision-row.js';
import type { Schedule, TagRule } from '../base/schedule.js';
import { formatDuration } from '../base/units.js';

/** What is given by hand stays until a hand takes it off. */
const MANUAL_TAG = 'manual';

export interface Decision {
  readonly row: RevisionRow;
  readonly goes: boolean;
  /** Tags that leave it, whether it goes or stays. */
  readonly expired: readonly string[];
  /** Tags that stay. */
  readonly tags: readonly string[];
  /** Of `tags`, those that the schedule does not know. */
  readonly orphaned: readonly string[];
  /** Why it stays, or why it goes: clauses, the weightiest first. */
  readonly reasons: readonly string[];
}

/** Decisions in the order of `rows`, which are all of one disk, oldest first. */
export function retention(rows: readonly RevisionRow[], schedule: Schedule, nowMs: number): Decision[] {
  const lastGood = rows.findLast(isGood) ?? rows.at(-1);
  const newerByTag = new Map<string, number>();
  const decisions = rows.toReversed().map((row) => {
    const decision = decide(row, schedule, newerByTag, nowMs, row === lastGood);
    if (isGood(row)) for (const tag of row.tags) newerByTag.set(tag, (newerByTag.get(tag) ?? 0) + 1);
    return decision;
  });
  return decisions.reverse();
}

/** Whether `retention` would change anything: the same rules, for whoever asks often. */
export function hasExpired(rows: readonly RevisionRow[], schedule: Schedule, nowMs: number): boolean {
  const lastGood = rows.findLast(isGood) ?? rows.at(-1);
  const newerByTag = new Map<string, number>();
  for (const row of rows.toReversed()) {
    const isExpired = (tag: string) => {
      const rule = schedule.tags.get(tag);
      return tag !== MANUAL_TAG && rule !== undefined && expires(row, rule, newerByTag.get(tag) ?? 0, nowMs);
    };
    if (row.tags.some(isExpired) || (row.tags.length === 0 && !row.protected && row !== lastGood))
      return true;
    if (isGood(row)) for (const tag of row.tags) newerByTag.set(tag, (newerByTag.get(tag) ?? 0) + 1);
  }
  return false;
}

/** Whether it counts: towards `keep`, and as the last good one of its disk. */
export function isGood(row: RevisionRow): boolean {
  return row.trust !== 'distrusted';
}

function decide(
  row: RevisionRow,
  schedule: Schedule,
  newerByTag: ReadonlyMap<string, number>,
  nowMs: number,
  isLastGood: boolean,
): Decision {
  const verdicts = row.tags.map((tag) => ({
    tag,
    ...judge(row, tag, schedule, newerByTag.get(tag) ?? 0, nowMs),
  }));
  const staying = verdicts.filter((verdict) => verdict.stays);
  const special = [
    ...(row.protected ? ['protected'] : []),
    ...(isLastGood ? [isGood(row) ? 'the last good one of its disk' : 'the last one of its disk'] : []),
  ];
  const goes = staying.length === 0 && special.length === 0;
  const why = goes ? verdicts : staying;
  return {
    row,
    goes,
    expired: verdicts.filter((verdict) => !verdict.stays).map(({ tag }) => tag),
    tags: staying.map(({ tag }) => tag),
    orphaned: staying.filter(({ tag }) => isOrphaned(tag, schedule)).map(({ tag }) => tag),
    // Told on demand: most decisions are made without anybody reading why.
    get reasons() {
      if (goes && why.length === 0) return ['it has no tags'];
      return [...special, ...why.map(({ reason }) => reason())];
    },
  };
}

interface Verdict {
  readonly stays: boolean;
  readonly reason: () => string;
}

/** `newer` is how many trusted revisions with the tag are newer than this one. */
function judge(row: RevisionRow, tag: string, schedule: Schedule, newer: number, nowMs: number): Verdict {
  const rule = schedule.tags.get(tag);
  if (tag === MANUAL_TAG) return { stays: true, reason: () => `${tag}: never expires` };
  if (rule === undefined)
    return { stays: true, reason: () => `${tag}: not a tag of the schedule “${schedule.name}”` };
  const age = () => `older than ${formatDuration(rule.keep * rule.everyMs)}`;
  if (newer < rule.keep) return { stays: true, reason: () => `${tag}: ${fewer(newer, rule)}` };
  if (!expires(row, rule, newer, nowMs)) return { stays: true, reason: () => `${tag}: not ${age()}` };
  return { stays: false, reason: () => `${tag}: ${newer} newer ones have it, and it is ${age()}` };
}

function expires(row: RevisionRow, { keep, everyMs }: TagRule, newer: number, nowMs: number): boolean {
  return newer >= keep && nowMs - takenMs(row, nowMs) > keep * everyMs;
}

/** When a revision was taken, as far as clocks can be believed. Its id is never dated before an earlier revision, so
 *  where the clock had jumped back, it tells better than the clock did. An id that is dated into the future comes from
 *  a clock that had jumped ahead, and tells nothing. */
function takenMs({ createdAt, revision }: RevisionRow, nowMs: number): number {
  const [createdMs, idMs] = [Date.parse(createdAt), secondOfId(revision)];
  return idMs <= nowMs ? Math.max(createdMs, idMs) : createdMs;
}

function fewer(newer: number, { keep }: TagRule): string {
  return newer === 0 ? 'the newest that has it' : `only ${newer} newer of ${keep} to keep`;
}

function isOrphaned(tag: string, schedule: Schedule): boolean {
  return tag !== MANUAL_TAG && !schedule.tags.has(tag);
}
